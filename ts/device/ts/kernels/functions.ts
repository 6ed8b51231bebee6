// Element-wise functions of one operand, copies and conversions, and the fused gradients of the activations.

import type { DType } from "../../../ops/index.ts";
import type { UnaryLoop } from "../element-wise.ts";
import { activationGradient, elementWise } from "../element-wise.ts";
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
export const exp = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.exp(x[x0 + i * dx]);
});
export const log = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.log(x[x0 + i * dx]);
});
export const relu = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = value <= 0 ? 0 : value; // NaN is not <= 0 and stays
  }
});
export const sigmoid = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = 1 / (1 + Math.exp(-x[x0 + i * dx]));
});
export const tanh = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.tanh(x[x0 + i * dx]);
});
export const silu = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = x[x0 + i * dx] / (1 + Math.exp(-x[x0 + i * dx]));
});

export const reluGradient = activationGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) result[r0 + i * dr] = kept[k0 + i * dk] > 0 ? dy[g0 + i * dg] : 0;
});
export const sigmoidGradient = activationGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const y = kept[k0 + i * dk];
    result[r0 + i * dr] = dy[g0 + i * dg] * y * (1 - y);
  }
});
export const tanhGradient = activationGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const y = kept[k0 + i * dk];
    result[r0 + i * dr] = dy[g0 + i * dg] * (1 - y * y);
  }
});
export const siluGradient = activationGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const x = kept[k0 + i * dk];
    const s = 1 / (1 + Math.exp(-x));
    result[r0 + i * dr] = dy[g0 + i * dg] * s * (1 + x * (1 - s));
  }
});
