// Adam and AdamW, both with AMSGrad.

import { ops } from "../ops/index.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { applyInPlace } from "../tensor/tensor.ts";
import type { LearningRate, ParameterGroup, UpdateRule } from "./optimizer.ts";
import { Optimizer, expectRange } from "./optimizer.ts";

/** How Adam and AdamW update. */
export interface AdamOptions {
  /** Learning rate, default 1e-3: a number, or a function of the steps taken. May be changed between steps through `adam.lr`. */
  readonly lr?: LearningRate;
  /** Decay of the two moments, default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator, after the bias-corrected root; default 1e-8. */
  readonly epsilon?: number;
  /**
   * Adam adds weightDecay * p to the gradient (default 0); AdamW subtracts lr * weightDecay * p from the parameter
   * (default 0.01).
   */
  readonly weightDecay?: number;
  /** Whether to divide by the largest second moment so far (Reddi, Kale and Kumar 2018); default false. */
  readonly amsgrad?: boolean;
}

function rule(name: string, weightDecay: number, decoupled: boolean): UpdateRule<AdamOptions> {
  return {
    name,
    defaults: { lr: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay, amsgrad: false },
    check({ lr, betas, epsilon, weightDecay }) {
      expectRange(name, "lr", lr, 0, Infinity);
      betas.forEach((beta, i) => {
        expectRange(name, `betas[${i}]`, beta, 0, 1);
      });
      expectRange(name, "epsilon", epsilon, 0, Infinity);
      expectRange(name, "weightDecay", weightDecay, 0, Infinity);
    },
    state: ({ amsgrad }) => ["exp_avg", "exp_avg_sq", ...(amsgrad ? ["max_exp_avg_sq"] : [])],
    rates: ({ lr, betas: [beta1, beta2] }, count) => [lr, lr / (1 - beta1 ** count), Math.sqrt(1 - beta2 ** count)],
    update({ parameter, gradient, state }, { betas, epsilon, weightDecay }, [lr, stepSize, correction]) {
      const [beta1, beta2] = betas;
      const operands = [parameter, gradient, state.exp_avg, state.exp_avg_sq, state.max_exp_avg_sq];
      applyInPlace(ops.adam, operands, {
        lr,
        beta1,
        beta2,
        epsilon,
        weightDecay,
        decoupled,
        stepSize,
        correction,
      });
    },
  };
}

const adam = rule("Adam", 0, false);
const adamW = rule("AdamW", 0.01, true);

/**
 * Kingma and Ba 2015, algorithm 1 (`torch.optim.Adam`):
 * m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p -= lr m' / (sqrt(v') + epsilon), with m' = m / (1 - beta1^t)
 * and v' = v / (1 - beta2^t). Throws ArgumentError for options out of range.
 */
export class Adam extends Optimizer<AdamOptions> {
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup<AdamOptions>[], options: AdamOptions = {}) {
    super(adam, parameters, options);
  }
}

/**
 * Adam with decoupled weight decay, Loshchilov and Hutter 2019 (`torch.optim.AdamW`): before the step of Adam,
 * p -= lr weightDecay p. Throws ArgumentError for options out of range.
 */
export class AdamW extends Optimizer<AdamOptions> {
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup<AdamOptions>[], options: AdamOptions = {}) {
    super(adamW, parameters, options);
  }
}
