// Activations and their fused gradients.

import { elementWise, fusedGradient } from "../element-wise.ts";
import { logistic, normalBelow, normalDensity } from "../special-functions.ts";
import type { Kernel } from "../view.ts";

// Factors are held within +-1000, where the other factor is 0 or 1: infinities must not meet zeros.
const bounded = (x: number): number => (x < -1000 ? -1000 : x > 1000 ? 1000 : x);
const notBelow = (x: number): number => (x < -1000 ? -1000 : x);

export const relu = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = value <= 0 ? 0 : value; // NaN is not <= 0 and stays
  }
});
export const relu6 = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = value <= 0 ? 0 : value >= 6 ? 6 : value;
  }
});
export const leakyRelu: Kernel<{ readonly slope: number }> = (output, inputs, { slope }) =>
  elementWise((n, y, y0, dy, x, x0, dx) => {
    for (let i = 0; i < n; i++) {
      const value = x[x0 + i * dx];
      y[y0 + i * dy] = value > 0 ? value : slope * value;
    }
  })(output, inputs, {});
export const elu: Kernel<{ readonly alpha: number }> = (output, inputs, { alpha }) =>
  elementWise((n, y, y0, dy, x, x0, dx) => {
    for (let i = 0; i < n; i++) {
      const value = x[x0 + i * dx];
      y[y0 + i * dy] = value > 0 ? value : alpha * Math.expm1(value);
    }
  })(output, inputs, {});
export const sigmoid = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = logistic(x[x0 + i * dx]);
});
export const tanh = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.tanh(x[x0 + i * dx]);
});
export const silu = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = notBelow(value) * logistic(value);
  }
});
export const gelu = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = notBelow(value) * normalBelow(value);
  }
});

/** 2 sqrt(2 / pi) * (x + 0.044715 x^3), and its derivative. */
const tanhArgument = (x: number): number => Math.sqrt(8 / Math.PI) * (x + 0.044715 * x * x * x);
const tanhSlope = (x: number): number => Math.sqrt(8 / Math.PI) * (1 + 3 * 0.044715 * x * x);

export const geluTanh = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = notBelow(value) * logistic(tanhArgument(value));
  }
});
export const quickGelu = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = notBelow(value) * logistic(1.702 * value);
  }
});
export const softplus = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = Math.max(value, 0) + Math.log1p(Math.exp(-Math.abs(value)));
  }
});

/** tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2); 1 from 40 on. */
const tanhOfSoftplus = (e: number): number => (e * (e + 2)) / (e * (e + 2) + 2);
const exponentialTo40 = (x: number): number => Math.exp(x > 40 ? 40 : x);

export const mish = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) {
    const value = x[x0 + i * dx];
    y[y0 + i * dy] = notBelow(value) * tanhOfSoftplus(exponentialTo40(value));
  }
});

export const reluGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) result[r0 + i * dr] = kept[k0 + i * dk] > 0 ? dy[g0 + i * dg] : 0;
});
export const relu6Gradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const y = kept[k0 + i * dk];
    result[r0 + i * dr] = y > 0 && y < 6 ? dy[g0 + i * dg] : 0;
  }
});
export const leakyReluGradient: Kernel<{ readonly slope: number }> = (output, inputs, { slope }) =>
  fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
    for (let i = 0; i < n; i++) {
      const x = kept[k0 + i * dk];
      result[r0 + i * dr] = x > 0 ? dy[g0 + i * dg] : slope * dy[g0 + i * dg];
    }
  })(output, inputs, {});
export const eluGradient: Kernel<{ readonly alpha: number }> = (output, inputs, { alpha }) =>
  fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
    for (let i = 0; i < n; i++) {
      const x = kept[k0 + i * dk];
      result[r0 + i * dr] = x > 0 ? dy[g0 + i * dg] : dy[g0 + i * dg] * (alpha * Math.exp(x));
    }
  })(output, inputs, {});
export const sigmoidGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const y = kept[k0 + i * dk];
    result[r0 + i * dr] = dy[g0 + i * dg] * y * (1 - y);
  }
});
export const tanhGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const y = kept[k0 + i * dk];
    result[r0 + i * dr] = dy[g0 + i * dg] * (1 - y * y);
  }
});
export const siluGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const x = kept[k0 + i * dk];
    result[r0 + i * dr] = dy[g0 + i * dg] * logistic(x) * (1 + bounded(x) * logistic(-x));
  }
});
export const geluGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const x = kept[k0 + i * dk];
    result[r0 + i * dr] = dy[g0 + i * dg] * (normalBelow(x) + bounded(x) * normalDensity(x));
  }
});
export const geluTanhGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const x = kept[k0 + i * dk];
    const z = bounded(x);
    const u = tanhArgument(z);
    result[r0 + i * dr] = dy[g0 + i * dg] * logistic(u) * (1 + z * tanhSlope(z) * logistic(-u));
  }
});
export const quickGeluGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const x = kept[k0 + i * dk];
    const z = 1.702 * bounded(x);
    result[r0 + i * dr] = dy[g0 + i * dg] * logistic(z) * (1 + z * logistic(-z));
  }
});
export const mishGradient = fusedGradient((n, result, r0, dr, kept, k0, dk, dy, g0, dg) => {
  for (let i = 0; i < n; i++) {
    const x = kept[k0 + i * dk];
    const e = exponentialTo40(x);
    const m = e * (e + 2) + 2;
    result[r0 + i * dr] = dy[g0 + i * dg] * (tanhOfSoftplus(e) + bounded(x) * ((4 * e * (e + 1)) / (m * m)));
  }
});
