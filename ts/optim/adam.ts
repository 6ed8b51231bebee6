// Adam and AdamW: all parameters of a model updated in one pass over one flat buffer.

import { ArgumentError } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Parameter, ParameterPack } from "../tensor/parameter.ts";
import { packParameters } from "../tensor/parameter.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { applyInPlace } from "../tensor/tensor.ts";

/** How Adam updates. */
export interface AdamOptions {
  /** Learning rate, default 1e-3. May be changed between steps through `adam.lr`. */
  readonly lr?: number;
  /** Decay of the two moments, default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator, after the bias-corrected root; default 1e-8. */
  readonly epsilon?: number;
  /** Default 0. */
  readonly weightDecay?: number;
  /** Subtract lr * weightDecay * p (AdamW) instead of adding weightDecay * p to the gradient. Default false. */
  readonly decoupled?: boolean;
}

/**
 * Kingma and Ba 2015, algorithm 1 (`torch.optim.Adam`; with `decoupled` `torch.optim.AdamW`). The parameters move into
 * one flat buffer when the optimizer is made; an earlier optimizer that held some of them in another list can step no
 * more. `step` consumes the gradients that `backward` collected; parameters without one are left alone.
 */
export class Adam {
  lr: number;
  private readonly options: Required<Omit<AdamOptions, "lr">>;
  private readonly pack: ParameterPack;
  private readonly m: Tensor;
  private readonly v: Tensor;
  /** Steps that each parameter has taken. */
  private readonly steps: number[];

  constructor(parameters: Iterable<Parameter>, options: AdamOptions = {}) {
    const { lr = 1e-3, betas = [0.9, 0.999], epsilon = 1e-8, weightDecay = 0, decoupled = false } = options;
    const list = [...new Set(parameters)];
    if (list.length === 0)
      throw new ArgumentError({ op: "Adam", problem: "no parameters were given.", advice: "Pass model.parameters()." });
    expectRange("lr", lr, 0, Infinity);
    betas.forEach((beta, i) => {
      expectRange(`betas[${i}]`, beta, 0, 1);
    });
    expectRange("epsilon", epsilon, 0, Infinity);
    expectRange("weightDecay", weightDecay, 0, Infinity);
    this.lr = lr;
    this.options = { betas, epsilon, weightDecay, decoupled };
    this.pack = packParameters("Adam", list);
    this.m = this.pack.zeros();
    this.v = this.pack.zeros();
    this.steps = list.map(() => 0);
  }

  /** Updates every parameter that has a gradient, and consumes the gradients. */
  step(): void {
    expectRange("lr", this.lr, 0, Infinity);
    this.pack.expectWhole("Adam.step");
    const { parameters } = this.pack;
    const ready = parameters.map((parameter) => parameter.grad !== undefined);
    if (!ready.includes(true))
      throw new ArgumentError({
        op: "Adam.step",
        problem: "no parameter has a gradient.",
        advice: "Call loss.backward() before step().",
      });
    for (let first = 0; first < parameters.length;) {
      let last = first + 1;
      while (last < parameters.length && ready[last] === ready[first] && this.steps[last] === this.steps[first]) last++;
      if (ready[first]) this.update(first, last);
      first = last;
    }
  }

  /** Forgets the gradients without using them. */
  zeroGrad(): void {
    for (const parameter of this.pack.parameters) parameter.clearGrad();
  }

  /** Frees the optimizer's state. */
  dispose(): void {
    this.m.dispose();
    this.v.dispose();
  }

  /** One pass over neighbours in the pack that have taken equally many steps. */
  private update(first: number, last: number): void {
    const { betas, ...options } = this.options;
    const t = this.steps[first] + 1;
    const { values, gradients } = this.pack;
    const operands = [values, gradients, this.m, this.v].map((whole) =>
      this.pack.flat("Adam.step", whole, first, last),
    );
    applyInPlace(ops.adam, operands, {
      lr: this.lr,
      beta1: betas[0],
      beta2: betas[1],
      ...options,
      stepSize: this.lr / (1 - betas[0] ** t),
      correction: Math.sqrt(1 - betas[1] ** t),
    });
    for (const operand of operands) operand.dispose();
    for (let i = first; i < last; i++) {
      this.steps[i] = t;
      this.pack.parameters[i].version.count++;
      this.pack.parameters[i].clearGrad();
    }
  }
}

function expectRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high))
    throw new ArgumentError({
      op: "Adam",
      problem: `${name} is ${value}, expected ${low} <= ${name}${high === Infinity ? "" : ` < ${high}`}.`,
    });
}
