// The squared error and its gradient.

import { sizeOf } from "../../../ops/index.ts";
import { pairwiseSum } from "../pairwise.ts";
import type { Kernel } from "../view.ts";
import { pathOf, walk } from "../walk.ts";

interface Reduction {
  readonly reduction: "mean" | "sum";
}

export const mseLoss: Kernel<Reduction> = (y, [prediction, target], { reduction }) => {
  const count = sizeOf(prediction!.shape);
  const squares = new Float64Array(count);
  let filled = 0;
  walk(prediction!.shape, [pathOf(prediction!), pathOf(target!)], (n, at, step) => {
    const [p, t] = [prediction!.data, target!.data];
    for (let i = 0; i < n; i++) {
      const error = p[at[0] + i * step[0]] - t[at[1] + i * step[1]];
      squares[filled++] = error * error;
    }
  });
  const total = pairwiseSum(0, count, (from, to) => {
    let sum = 0;
    for (let k = from; k < to; k++) sum += squares[k];
    return sum;
  });
  y.data[y.offset] = reduction === "mean" ? total / count : total;
};

export const mseLossGradient: Kernel<Reduction> = (dx, [prediction, target, dy], { reduction }) => {
  const scale = (2 * dy!.data[dy!.offset]) / (reduction === "mean" ? sizeOf(dx.shape) : 1);
  walk(dx.shape, [pathOf(dx), pathOf(prediction!), pathOf(target!)], (n, at, step) => {
    const [to, p, t] = [dx.data, prediction!.data, target!.data];
    for (let i = 0; i < n; i++) to[at[0] + i * step[0]] = scale * (p[at[1] + i * step[1]] - t[at[2] + i * step[2]]);
  });
};

export const mseLossWithGradient: Kernel<Reduction> = (loss, [, gradient, prediction, target, dy], attributes) => {
  mseLoss(loss, [prediction, target], attributes);
  mseLossGradient(gradient!, [prediction, target, dy], attributes);
};
