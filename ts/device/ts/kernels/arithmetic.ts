// Broadcasting arithmetic, broadcastTo, and the reductions sum and mean.

import { sizeOf } from "../../../ops/index.ts";
import type { BinaryLoop } from "../element-wise.ts";
import { broadcasting, elementWise } from "../element-wise.ts";
import { pairwiseSum } from "../pairwise.ts";
import type { Kernel, View } from "../view.ts";
import { stridesOf } from "../view.ts";
import { broadcastPath, pathOf, walk } from "../walk.ts";

// An Int32Array stores doubles modulo 2^32, truncated, and Infinity and NaN as 0: just what int32 arithmetic wants.

const addLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] + b[b0 + i * db];
};
const subLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] - b[b0 + i * db];
};
const mulLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] * b[b0 + i * db];
};
/** A product of two int32 may need more digits than a double has. */
const mulIntegersLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.imul(a[a0 + i * da], b[b0 + i * db]);
};
const divLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] / b[b0 + i * db];
};

export const add = broadcasting(() => addLoop);
export const sub = broadcasting(() => subLoop);
export const mul = broadcasting((y) => (y.dtype === "int32" ? mulIntegersLoop : mulLoop));
export const div = broadcasting(() => divLoop);

export const neg = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = -x[x0 + i * dx];
});

export const broadcastTo: Kernel<object> = (y, [x]) => {
  walk(y.shape, [pathOf(y), broadcastPath(x!, y.shape)], (n, at, step) => {
    const [from, to] = [x!.data, y.data];
    for (let i = 0; i < n; i++) to[at[0] + i * step[0]] = from[at[1] + i * step[1]];
  });
};

/** Positions, relative to the first, of the elements that the listed axes of x span, in row-major order. */
function positionsAlong(x: View, axes: readonly number[]): Int32Array {
  const strides = stridesOf(x);
  const shape = axes.map((axis) => x.shape[axis]);
  const positions = new Int32Array(sizeOf(shape));
  let filled = 0;
  walk(shape, [{ offset: 0, strides: axes.map((axis) => strides[axis]) }], (n, [start], [step]) => {
    for (let i = 0; i < n; i++) positions[filled++] = start + i * step;
  });
  return positions;
}

interface Reduction {
  readonly axes: readonly number[];
}

/** Writes, for each place along the kept axes, the sum over the reduced ones divided by `divisor(terms)`. */
function reduce(y: View, x: View, { axes }: Reduction, divisor: (terms: number) => number): void {
  const rank = x.shape.length;
  const reduced = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const axesOf = (keep: boolean) => x.shape.map((_, axis) => axis).filter((axis) => reduced.has(axis) !== keep);
  const terms = positionsAlong(x, axesOf(false));
  const places = positionsAlong(x, axesOf(true));
  const by = divisor(terms.length);
  let start = 0;
  const sumBlock = (from: number, to: number): number => {
    const { data } = x;
    const first = start;
    let sum = 0;
    for (let k = from; k < to; k++) sum += data[first + terms[k]];
    return sum;
  };
  for (let row = 0, place = 0; row < y.rows; row++)
    for (let col = 0; col < y.cols; col++, place++) {
      start = x.offset + places[place];
      y.data[y.offset + row * y.pitch + col] = pairwiseSum(0, terms.length, sumBlock) / by;
    }
}

export const sum: Kernel<Reduction> = (y, [x], attributes) => reduce(y, x!, attributes, () => 1);
export const mean: Kernel<Reduction> = (y, [x], attributes) => reduce(y, x!, attributes, (terms) => terms);
