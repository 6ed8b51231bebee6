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

/** From the nearer end, so that weight 1 gives the source itself. */
export const ema: Kernel<{ readonly weight: number }> = (average, [, source], { weight }) => {
  walk(average.shape, [pathOf(average), pathOf(source!)], (n, at, step) => {
    const [to, from] = [average.data, source!.data];
    for (let i = 0; i < n; i++) {
      const [before, now] = [to[at[0] + i * step[0]], from[at[1] + i * step[1]]];
      const way = before - now;
      to[at[0] + i * step[0]] = weight < 0.5 ? before - weight * way : now + (1 - weight) * way;
    }
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
export const adam: Kernel<AdamAttributes> = (parameter, [, gradient, m, v, vMax], attributes) => {
  const { lr, beta1, beta2, epsilon, weightDecay, decoupled, stepSize, correction } = attributes;
  const decay = decoupled ? 0 : weightDecay;
  const shrink = decoupled ? 1 - lr * weightDecay : 1;
  // Without AMSGrad the variance stands in for its maximum, which the loop then leaves as it is.
  const maximum = vMax ?? v!;
  const paths = [parameter, gradient!, m!, v!, maximum].map(pathOf);
  walk(parameter.shape, paths, (n, at, step) => {
    const [p, g, first, second, largest] = [parameter.data, gradient!.data, m!.data, v!.data, maximum.data];
    for (let i = 0; i < n; i++) {
      const atP = at[0] + i * step[0];
      const atM = at[2] + i * step[2];
      const atV = at[3] + i * step[3];
      const atMax = at[4] + i * step[4];
      const old = p[atP];
      const slope = g[at[1] + i * step[1]] + decay * old;
      const mean = beta1 * first[atM] + (1 - beta1) * slope;
      const variance = beta2 * second[atV] + (1 - beta2) * slope * slope;
      const held = vMax ? Math.max(largest[atMax], variance) : variance;
      first[atM] = mean;
      second[atV] = variance;
      largest[atMax] = held;
      p[atP] = shrink * old - (stepSize * mean) / (Math.sqrt(held) / correction + epsilon);
    }
  });
};

interface SgdAttributes {
  readonly lr: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

/** Gradient descent with momentum, in PyTorch's order of operations. */
export const sgd: Kernel<SgdAttributes> = (parameter, [, gradient, velocity], attributes) => {
  const { lr, momentum, dampening, nesterov, weightDecay } = attributes;
  const paths = [parameter, gradient!, velocity ?? gradient!].map(pathOf);
  walk(parameter.shape, paths, (n, at, step) => {
    const [p, g, speed] = [parameter.data, gradient!.data, velocity?.data];
    for (let i = 0; i < n; i++) {
      const atP = at[0] + i * step[0];
      let slope = g[at[1] + i * step[1]] + weightDecay * p[atP];
      if (speed) {
        const atV = at[2] + i * step[2];
        const fast = momentum * speed[atV] + (1 - dampening) * slope;
        speed[atV] = fast;
        slope = nesterov ? slope + momentum * fast : fast;
      }
      p[atP] -= lr * slope;
    }
  });
};

interface RmspropAttributes {
  readonly lr: number;
  readonly alpha: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  readonly momentum: number;
}

/** Hinton 2012; centered: Graves 2013. In PyTorch's order of operations. */
export const rmsprop: Kernel<RmspropAttributes> = (parameter, [, gradient, square, mean, velocity], attributes) => {
  const { lr, alpha, epsilon, weightDecay, momentum } = attributes;
  const paths = [parameter, gradient!, square!, mean ?? square!, velocity ?? square!].map(pathOf);
  walk(parameter.shape, paths, (n, at, step) => {
    const [p, g, second, first, speed] = [parameter.data, gradient!.data, square!.data, mean?.data, velocity?.data];
    for (let i = 0; i < n; i++) {
      const atP = at[0] + i * step[0];
      const atSquare = at[2] + i * step[2];
      const slope = g[at[1] + i * step[1]] + weightDecay * p[atP];
      let variance = alpha * second[atSquare] + (1 - alpha) * slope * slope;
      second[atSquare] = variance;
      if (first) {
        const atMean = at[3] + i * step[3];
        const average = alpha * first[atMean] + (1 - alpha) * slope;
        first[atMean] = average;
        // Rounding may bring a gradient that hardly varies below 0.
        variance = Math.max(0, variance - average * average);
      }
      let change = slope / (Math.sqrt(variance) + epsilon);
      if (speed) {
        const atV = at[4] + i * step[4];
        change += momentum * speed[atV];
        speed[atV] = change;
      }
      p[atP] -= lr * change;
    }
  });
};
