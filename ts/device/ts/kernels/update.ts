// Ops that write in place.

import type { Kernel } from "../view.ts";
import { pathOf, walk } from "../walk.ts";
import { copy } from "./functions.ts";

export const assign: Kernel<object> = (target, [, source], attributes) => copy(target, [source], attributes);

export const accumulate: Kernel<object> = (target, [, source]) => {
  walk(target.shape, [pathOf(target), pathOf(source!)], (n, at, step) => {
    const [to, from] = [target.data, source!.data];
    for (let i = 0; i < n; i++) to[at[0] + i * step[0]] += from[at[1] + i * step[1]];
  });
};

interface AdamAttributes {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  readonly decoupled: boolean;
  readonly stepSize: number;
  readonly correction: number;
}

/** Kingma and Ba 2015, algorithm 1, in PyTorch's order of operations. */
export const adam: Kernel<AdamAttributes> = (parameter, [, gradient, m, v], attributes) => {
  const { lr, beta1, beta2, epsilon, weightDecay, decoupled, stepSize, correction } = attributes;
  const decay = decoupled ? 0 : weightDecay;
  const shrink = decoupled ? 1 - lr * weightDecay : 1;
  const paths = [parameter, gradient!, m!, v!].map(pathOf);
  walk(parameter.shape, paths, (n, at, step) => {
    const [p, g, first, second] = [parameter.data, gradient!.data, m!.data, v!.data];
    for (let i = 0; i < n; i++) {
      const atP = at[0] + i * step[0];
      const atM = at[2] + i * step[2];
      const atV = at[3] + i * step[3];
      const old = p[atP];
      const slope = g[at[1] + i * step[1]] + decay * old;
      const mean = beta1 * first[atM] + (1 - beta1) * slope;
      const variance = beta2 * second[atV] + (1 - beta2) * slope * slope;
      first[atM] = mean;
      second[atV] = variance;
      p[atP] = shrink * old - (stepSize * mean) / (Math.sqrt(variance) / correction + epsilon);
    }
  });
};
