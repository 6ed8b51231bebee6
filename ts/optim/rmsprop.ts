// RMSprop, also centered and with momentum.

import { ops } from "../ops/index.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { applyInPlace } from "../tensor/tensor.ts";
import type { LearningRate, ParameterGroup, UpdateRule } from "./optimizer.ts";
import { Optimizer, expectRange } from "./optimizer.ts";

/** How RMSprop updates. */
export interface RMSpropOptions {
  /** Learning rate, default 0.01. May be changed between steps through `rmsprop.lr`. */
  readonly lr?: LearningRate;
  /** Decay of the mean of the squared gradients, default 0.99. */
  readonly alpha?: number;
  /** Added to the denominator, after the root; default 1e-8. */
  readonly epsilon?: number;
  /** weightDecay * p is added to the gradient; default 0. */
  readonly weightDecay?: number;
  /** Part of the velocity that stays from step to step; default 0. */
  readonly momentum?: number;
  /** Whether to divide by the root of the variance instead of the mean square; default false. */
  readonly centered?: boolean;
}

const rule: UpdateRule<RMSpropOptions> = {
  name: "RMSprop",
  defaults: { lr: 0.01, alpha: 0.99, epsilon: 1e-8, weightDecay: 0, momentum: 0, centered: false },
  check({ lr, alpha, epsilon, weightDecay, momentum }) {
    expectRange("RMSprop", "lr", lr, 0, Infinity);
    expectRange("RMSprop", "alpha", alpha, 0, 1);
    expectRange("RMSprop", "epsilon", epsilon, 0, Infinity);
    expectRange("RMSprop", "weightDecay", weightDecay, 0, Infinity);
    expectRange("RMSprop", "momentum", momentum, 0, Infinity);
  },
  state: ({ centered, momentum }) => [
    "square_avg",
    ...(centered ? ["grad_avg"] : []),
    ...(momentum === 0 ? [] : ["momentum_buffer"]),
  ],
  rates: ({ lr }) => [lr],
  update({ parameter, gradient, state }, { centered: _, ...attributes }, [lr]) {
    const operands = [parameter, gradient, state.square_avg, state.grad_avg, state.momentum_buffer];
    applyInPlace(ops.rmsprop, operands, { ...attributes, lr });
  },
};

/**
 * RMSprop, Hinton 2012 (`torch.optim.RMSprop`): s = alpha s + (1 - alpha) g^2, p -= lr g / (sqrt(s) + epsilon). Centered
 * (Graves 2013), the variance s - m^2 with m = alpha m + (1 - alpha) g stands in for s. With momentum the quotient enters a
 * velocity, v = momentum v + g / (...), and p -= lr v. Throws ArgumentError for options out of range.
 */
export class RMSprop extends Optimizer<RMSpropOptions> {
  constructor(
    parameters: Iterable<Parameter> | readonly ParameterGroup<RMSpropOptions>[],
    options: RMSpropOptions = {},
  ) {
    super(rule, parameters, options);
  }
}
