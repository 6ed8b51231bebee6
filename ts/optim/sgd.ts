// Stochastic gradient descent, with momentum.

import { ArgumentError } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { applyInPlace } from "../tensor/tensor.ts";
import type { LearningRate, ParameterGroup, UpdateRule } from "./optimizer.ts";
import { Optimizer, expectRange } from "./optimizer.ts";

/** How SGD updates. */
export interface SGDOptions {
  /** Learning rate, default 1e-3. May be changed between steps through `sgd.lr`. */
  readonly lr?: LearningRate;
  /** Part of the velocity that stays from step to step; default 0. */
  readonly momentum?: number;
  /** Part of the gradient that does not enter the velocity; default 0. */
  readonly dampening?: number;
  /** Whether to look ahead by one step of momentum (Nesterov 1983); needs momentum, and no dampening. Default false. */
  readonly nesterov?: boolean;
  /** weightDecay * p is added to the gradient; default 0. */
  readonly weightDecay?: number;
}

const rule: UpdateRule<SGDOptions> = {
  name: "SGD",
  defaults: { lr: 1e-3, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0 },
  check({ lr, momentum, dampening, nesterov, weightDecay }) {
    expectRange("SGD", "lr", lr, 0, Infinity);
    expectRange("SGD", "momentum", momentum, 0, Infinity);
    expectRange("SGD", "dampening", dampening, -Infinity, Infinity);
    expectRange("SGD", "weightDecay", weightDecay, 0, Infinity);
    if (nesterov && (momentum === 0 || dampening !== 0))
      throw new ArgumentError({
        op: "SGD",
        problem: `nesterov with momentum ${momentum} and dampening ${dampening}.`,
        advice: "Nesterov's momentum needs a momentum above 0 and no dampening.",
      });
  },
  state: ({ momentum }) => (momentum === 0 ? [] : ["momentum_buffer"]),
  // PyTorch's first velocity is the gradient itself; here the velocity is zero before the first step.
  rates: ({ lr, dampening }, count) => [lr, count === 1 ? 0 : dampening],
  update({ parameter, gradient, state }, options, [lr, dampening]) {
    applyInPlace(ops.sgd, [parameter, gradient, state.momentum_buffer], { ...options, lr, dampening });
  },
};

/**
 * Stochastic gradient descent (`torch.optim.SGD`): p -= lr g, or with momentum v = momentum v + (1 - dampening) g, where
 * the first v is g, and p -= lr v (Nesterov: p -= lr (g + momentum v)). Throws ArgumentError for options out of range.
 */
export class SGD extends Optimizer<SGDOptions> {
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup<SGDOptions>[], options: SGDOptions = {}) {
    super(rule, parameters, options);
  }
}
