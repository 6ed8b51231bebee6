// Dropout as a layer.

import { ArgumentError } from "../errors/index.ts";
import { dropout } from "../tensor/functional/dropout.ts";
import type { Seed } from "../tensor/random.ts";
import { nextDropout } from "../tensor/random.ts";
import { Counter, observe, perStep } from "../tensor/recording.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/**
 * While training, sets each element to zero with probability p and divides the others by 1 - p; in use (`eval`), passes
 * everything as it is (`torch.nn.Dropout`). Any floating tensor. Which elements: seeded, and different for each layer
 * and each forward.
 */
export class Dropout extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** Probability of an element to be dropped. */
  readonly p: number;
  /** What the layer draws for, see `draws`: the k-th layer since `manualSeed` has `draws.dropout + k`. */
  readonly draw: number;
  /** Forwards while training so far: where in the noise the next one draws. */
  get step(): number {
    return this.forwards.value;
  }
  /** Sets it, outside of captured functions. */
  set step(step: number) {
    this.forwards.set(step);
  }
  private readonly forwards = new Counter();
  private readonly seed: Seed | undefined;

  /** `seed`: default that of `manualSeed`. Throws ArgumentError unless 0 <= p <= 1. */
  constructor(p = 0.5, options: { readonly seed?: Seed } = {}) {
    super();
    if (!(p >= 0 && p <= 1))
      throw new ArgumentError({ op: "Dropout", problem: `p is ${p}, expected a probability from 0 to 1.` });
    this.p = p;
    this.draw = nextDropout();
    this.seed = options.seed;
  }

  forward(x: Tensor): Tensor {
    if (!observe(() => this.training) || this.p === 0) return x;
    return dropout(x, this.p, { seed: this.seed, draw: this.draw, step: perStep(() => this.forwards.add()) });
  }
}
