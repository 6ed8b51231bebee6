// Broadcasting arithmetic, broadcastTo, and the reductions sum and mean.

import { sizeOf } from "../../../ops/index.ts";
import type { ElementArray } from "../../executor.ts";
import type { Kernel, View } from "../view.ts";
import { stridesOf } from "../view.ts";
import { broadcastPath, pathOf, walk } from "../walk.ts";
import { elementWise } from "./functions.ts";

/** y[i] = op(a[i], b[i]) for n elements, each operand with its first position and step. */
type BinaryLoop = (
  n: number,
  y: ElementArray,
  y0: number,
  dy: number,
  a: ElementArray,
  a0: number,
  da: number,
  b: ElementArray,
  b0: number,
  db: number,
) => void;

function broadcasting(loopFor: (y: View) => BinaryLoop): Kernel<object> {
  return (y, [a, b]) => {
    const loop = loopFor(y);
    walk(y.shape, [pathOf(y), broadcastPath(a!, y.shape), broadcastPath(b!, y.shape)], (n, at, step) =>
      loop(n, y.data, at[0], step[0], a!.data, at[1], step[1], b!.data, at[2], step[2]),
    );
  };
}

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

/** Longest sum that is taken one term after the other; longer ones are halved. */
const block = 1024;

/** Sum of data[start + terms[k]] for from <= k < to, pairwise over blocks. */
function pairwiseSum(data: ElementArray, start: number, terms: Int32Array, from: number, to: number): number {
  if (to - from <= block) {
    let sum = 0;
    for (let k = from; k < to; k++) sum += data[start + terms[k]];
    return sum;
  }
  const middle = from + block * Math.ceil((to - from) / (2 * block));
  return pairwiseSum(data, start, terms, from, middle) + pairwiseSum(data, start, terms, middle, to);
}

/** Sum of the first `length` elements, pairwise over blocks. */
export function pairwiseSumOf(data: Float64Array, length: number, from = 0): number {
  if (length <= block) {
    let sum = 0;
    for (let k = from; k < from + length; k++) sum += data[k];
    return sum;
  }
  const first = block * Math.ceil(length / (2 * block));
  return pairwiseSumOf(data, first, from) + pairwiseSumOf(data, length - first, from + first);
}

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
  for (let row = 0, place = 0; row < y.rows; row++)
    for (let col = 0; col < y.cols; col++, place++)
      y.data[y.offset + row * y.pitch + col] =
        pairwiseSum(x.data, x.offset + places[place], terms, 0, terms.length) / by;
}

export const sum: Kernel<Reduction> = (y, [x], attributes) => reduce(y, x!, attributes, () => 1);
export const mean: Kernel<Reduction> = (y, [x], attributes) => reduce(y, x!, attributes, (terms) => terms);
