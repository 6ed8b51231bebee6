// Softmax and its logarithm along an axis, and their gradients.

import type { ElementArray } from "../../executor.ts";
import type { Kernel, View } from "../view.ts";
import { pathOf, walk } from "../walk.ts";

interface Along {
  readonly axis: number;
}

/** Calls `visit` for every line along the axis with its first position in each operand. */
function forEachLine(operands: readonly View[], axis: number, visit: (starts: readonly number[]) => void): void {
  const across = operands[0].shape.map((n, i) => (i === axis ? Math.min(n, 1) : n));
  const starts = operands.map(() => 0);
  walk(across, operands.map(pathOf), (count, offsets, steps) => {
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < starts.length; k++) starts[k] = offsets[k] + i * steps[k];
      visit(starts);
    }
  });
}

/** Largest of n elements; NaN is passed over. */
function largest(n: number, x: ElementArray, start: number, step: number): number {
  let max = -Infinity;
  for (let i = 0; i < n; i++) if (x[start + i * step] > max) max = x[start + i * step];
  return max;
}

/** Sum of e^(x - max). */
function sumOfExponentials(n: number, x: ElementArray, start: number, step: number, max: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += Math.exp(x[start + i * step] - max);
  return sum;
}

/** The size of the axis, and its stride in each operand. */
function lineOf(operands: readonly View[], axis: number): { axis: number; n: number; steps: number[] } {
  const resolved = axis < 0 ? axis + operands[0].shape.length : axis;
  return {
    axis: resolved,
    n: operands[0].shape[resolved],
    steps: operands.map((view) => pathOf(view).strides[resolved]),
  };
}

export const softmax: Kernel<Along> = (y, [x], attributes) => {
  const operands = [y, x!];
  const { axis, n, steps } = lineOf(operands, attributes.axis);
  const [toStep, step] = steps;
  forEachLine(operands, axis, ([to, from]) => {
    const [out, data] = [y.data, x!.data];
    const max = largest(n, data, from, step);
    const sum = sumOfExponentials(n, data, from, step, max);
    for (let i = 0; i < n; i++) out[to + i * toStep] = Math.exp(data[from + i * step] - max) / sum;
  });
};

export const logSoftmax: Kernel<Along> = (y, [x], attributes) => {
  const operands = [y, x!];
  const { axis, n, steps } = lineOf(operands, attributes.axis);
  const [toStep, step] = steps;
  forEachLine(operands, axis, ([to, from]) => {
    const [out, data] = [y.data, x!.data];
    const max = largest(n, data, from, step);
    const log = Math.log(sumOfExponentials(n, data, from, step, max));
    for (let i = 0; i < n; i++) out[to + i * toStep] = data[from + i * step] - max - log;
  });
};

export const softmaxGradient: Kernel<Along> = (dx, [y, dy], attributes) => {
  const operands = [dx, y!, dy!];
  const { axis, n, steps } = lineOf(operands, attributes.axis);
  const [toStep, yStep, dyStep] = steps;
  forEachLine(operands, axis, ([to, fromY, fromDy]) => {
    const [out, kept, gradient] = [dx.data, y!.data, dy!.data];
    let sum = 0;
    for (let i = 0; i < n; i++) sum += kept[fromY + i * yStep] * gradient[fromDy + i * dyStep];
    for (let i = 0; i < n; i++) out[to + i * toStep] = kept[fromY + i * yStep] * (gradient[fromDy + i * dyStep] - sum);
  });
};

export const logSoftmaxGradient: Kernel<Along> = (dx, [y, dy], attributes) => {
  const operands = [dx, y!, dy!];
  const { axis, n, steps } = lineOf(operands, attributes.axis);
  const [toStep, yStep, dyStep] = steps;
  forEachLine(operands, axis, ([to, fromY, fromDy]) => {
    const [out, kept, gradient] = [dx.data, y!.data, dy!.data];
    let sum = 0;
    for (let i = 0; i < n; i++) sum += gradient[fromDy + i * dyStep];
    for (let i = 0; i < n; i++)
      out[to + i * toStep] = gradient[fromDy + i * dyStep] - Math.exp(kept[fromY + i * yStep]) * sum;
  });
};
