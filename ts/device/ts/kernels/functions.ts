// Element-wise functions of one operand, powers, copies and conversions.

import type { DType } from "../../../ops/index.ts";
import type { BinaryLoop, UnaryLoop } from "../element-wise.ts";
import { broadcasting, elementWise, fusedGradient } from "../element-wise.ts";
import { erf as erfOf, erfSlope, power } from "../special-functions.ts";
import type { Kernel } from "../view.ts";

const copyLoop: UnaryLoop = (n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = x[x0 + i * dx];
};

export const copy = elementWise(copyLoop);

const castToInteger = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    // The array would wrap around where C, Python and a reader expect the nearest int32; NaN becomes 0 by itself.
    y[y0 + i * dy] = value > 0x7fffffff ? 0x7fffffff : value < -0x80000000 ? -0x80000000 : value;
  }
});

export const cast: Kernel<{ readonly dtype: DType }> = (y, inputs, attributes) =>
  (attributes.dtype === "int32" ? castToInteger : copy)(y, inputs, attributes);

export const sign = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.sign(x[x0 + i * dx]);
});
export const abs = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.abs(x[x0 + i * dx]);
});
export const square = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = x[x0 + i * dx] * x[x0 + i * dx];
});
export const sqrt = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.sqrt(x[x0 + i * dx]);
});
export const rsqrt = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = 1 / Math.sqrt(x[x0 + i * dx]);
});
export const reciprocal = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = 1 / x[x0 + i * dx];
});
export const floor = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.floor(x[x0 + i * dx]);
});
export const ceil = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.ceil(x[x0 + i * dx]);
});
export const round = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    const low = Math.floor(value);
    const rest = value - low;
    // Halves go to the even neighbour; Math.round would take the upper one. Infinity minus itself is no half.
    const up = rest > 0.5 || (rest === 0.5 && low % 2 !== 0);
    y[y0 + i * dy] = up ? Math.ceil(value) : low;
  }
});
export const exp = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.exp(x[x0 + i * dx]);
});
export const log = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.log(x[x0 + i * dx]);
});
export const expm1 = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.expm1(x[x0 + i * dx]);
});
export const log1p = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.log1p(x[x0 + i * dx]);
});
export const sin = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.sin(x[x0 + i * dx]);
});
export const cos = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.cos(x[x0 + i * dx]);
});
export const erf = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = erfOf(x[x0 + i * dx]);
});
export const erfGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) result[r0 + i * dr] = dy[g0 + i * dg] * erfSlope(kept[k0 + i * dk]);
});

const powLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = power(a[a0 + i * da], b[b0 + i * db]);
};
export const pow = broadcasting(() => powLoop);
