// Comparisons, where, maximum, minimum and clamp.

import type { BinaryLoop } from "../element-wise.ts";
import { broadcasting, elementWise, fusedGradient } from "../element-wise.ts";
import type { Kernel, View } from "../view.ts";
import { broadcastPath, pathOf, walk } from "../walk.ts";

const equalLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] === b[b0 + i * db] ? 1 : 0;
};
const notEqualLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] === b[b0 + i * db] ? 0 : 1;
};
const lessLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] < b[b0 + i * db] ? 1 : 0;
};
const lessEqualLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] <= b[b0 + i * db] ? 1 : 0;
};
const greaterLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] > b[b0 + i * db] ? 1 : 0;
};
const greaterEqualLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] >= b[b0 + i * db] ? 1 : 0;
};
const maximumLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.max(a[a0 + i * da], b[b0 + i * db]);
};
const minimumLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.min(a[a0 + i * da], b[b0 + i * db]);
};

export const equal = broadcasting(() => equalLoop);
export const notEqual = broadcasting(() => notEqualLoop);
export const less = broadcasting(() => lessLoop);
export const lessEqual = broadcasting(() => lessEqualLoop);
export const greater = broadcasting(() => greaterLoop);
export const greaterEqual = broadcasting(() => greaterEqualLoop);
export const maximum = broadcasting(() => maximumLoop);
export const minimum = broadcasting(() => minimumLoop);

export const where: Kernel<object> = (y, [condition, a, b]) => {
  const paths = [condition!, a!, b!].map((x) => broadcastPath(x, y.shape));
  const [to, mask, yes, no] = [y.data, condition!.data, a!.data, b!.data];
  walk(y.shape, [pathOf(y), ...paths], (n, at, step) => {
    for (let i = 0; i < n; i++)
      to[at[0] + i * step[0]] = mask[at[1] + i * step[1]] !== 0 ? yes[at[2] + i * step[2]] : no[at[3] + i * step[3]];
  });
};

interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** Bounds as numbers of the operand's dtype, so that they compare as what would be stored. */
function boundsIn({ dtype }: View, { min, max }: Bounds): Bounds {
  return dtype === "float32" ? { min: Math.fround(min), max: Math.fround(max) } : { min, max };
}

export const clamp: Kernel<Bounds> = (output, inputs, attributes) => {
  const { min, max } = boundsIn(output, attributes);
  elementWise((n, y, y0, dy, x, x0, dx) => {
    for (let i = 0; i < n; i++) {
      const value = x[x0 + i * dx];
      y[y0 + i * dy] = value < min ? min : value > max ? max : value;
    }
  })(output, inputs, {});
};
export const clampGradient: Kernel<Bounds> = (output, inputs, attributes) => {
  const { min, max } = boundsIn(output, attributes);
  fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
    for (let i = 0; i < n; i++) {
      const x = kept[k0 + i * dk];
      result[r0 + i * dr] = x >= min && x <= max ? dy[g0 + i * dg] : 0;
    }
  })(output, inputs, {});
};
