// The variance of the reverse process p(x_{t-1} | x_t): fixed by the schedule, or learned.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NoiseSchedule } from "./noise-schedule.ts";
import { StepTable } from "./step-table.ts";

/**
 * The variance of p(x_{t-1} | x_t); diffusers' `variance_type`.
 *
 * - `fixed_small`: that of q(x_{t-1} | x_t, x_0), betaTilde_t = (1 - alphaBar_{t-1}) / (1 - alphaBar_t) beta_t.
 * - `fixed_large`: beta_t.
 * - `learned`: its logarithm is the second half of the network's channels.
 * - `learned_range`: the second half v of the channels lies between them, v = -1 being log betaTilde_t and v = 1 log beta_t
 *   (Nichol & Dhariwal 2021, eq. 15).
 *
 * betaTilde_0 is 0; betaTilde_1 stands for it, and in `fixed_large` for beta_0, for a better likelihood of the last step.
 */
export type VarianceType = "fixed_small" | "fixed_large" | "learned" | "learned_range";

const types: readonly VarianceType[] = ["fixed_small", "fixed_large", "learned", "learned_range"];

/** What a network returned, taken apart. */
export interface NetworkOutput {
  /** The prediction, of the shape of x. */
  readonly prediction: Tensor;
  /** What it says of the variance, of the shape of x; undefined where that is fixed. */
  readonly variance: Tensor | undefined;
}

/** The variances of one type along a schedule. */
export class ReverseVariance {
  readonly type: VarianceType;
  /** log betaTilde_t. */
  private readonly small: StepTable;
  /** What the type makes of the schedule: log variances, or where v lies in the middle and by how much it moves them. */
  private readonly table: StepTable;

  constructor({ beta, sigma, steps }: NoiseSchedule, type: VarianceType) {
    if (!types.includes(type))
      throw new ArgumentError({
        op: "GaussianDiffusion",
        problem: `variance is ${JSON.stringify(type)}.`,
        advice: `Expected ${types.map((name) => `"${name}"`).join(", ")}.`,
      });
    this.type = type;
    const large = beta.map(Math.log);
    // A schedule of one step has no betaTilde_1.
    const small = sigma.map((_, t) => (steps === 1 ? large[0] : 2 * Math.log(sigma[Math.max(t, 1)])));
    this.small = new StepTable([small]);
    this.table =
      type === "learned_range"
        ? new StepTable([large.map((log, t) => (log + small[t]) / 2), large.map((log, t) => (log - small[t]) / 2)])
        : new StepTable([type === "fixed_large" ? large.map((log, t) => (t === 0 ? small[0] : log)) : small]);
  }

  /** The prediction in what a network returned for x [N, ..., C], and what it says of the variance. */
  split(op: string, output: Tensor, x: Tensor): NetworkOutput {
    const channels = x.shape.at(-1) ?? 0;
    const isLearned = this.type.startsWith("learned");
    const expected = isLearned ? [...x.shape.slice(0, -1), 2 * channels] : x.shape;
    if (showShape(output.shape) !== showShape(expected))
      throw new ShapeError({
        op,
        problem: `the network returned shape ${showShape(output.shape)} for x ${showShape(x.shape)}, expected ${showShape(expected)}.`,
        advice: isLearned
          ? `With variance "${this.type}" the second half of its channels says the variance.`
          : `With variance "${this.type}" it returns the prediction alone.`,
      });
    if (!isLearned) return { prediction: output, variance: undefined };
    const [prediction, variance] = output.split(channels, -1);
    return { prediction, variance };
  }

  /** log sigma² at steps t, int32 [N], of x [N, ...]; shaped as x, or [N, 1, ...] where it is fixed. */
  log(op: string, said: Tensor | undefined, t: Tensor, x: Tensor): Tensor {
    if (said && this.type === "learned") return said;
    const [middle, half] = this.table.factors(op, t, x);
    return said ? said.mul(half).add(middle) : middle;
  }

  /** log betaTilde at steps t: that of q(x_{t-1} | x_t, x_0), [N, 1, ...]. */
  logOfPosterior(op: string, t: Tensor, x: Tensor): Tensor {
    return this.small.factors(op, t, x)[0];
  }
}
