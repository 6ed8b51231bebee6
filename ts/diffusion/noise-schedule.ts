// The noise schedule of DDPM: its float64 tables, the forward process q(x_t | x_0), and the reverse step.

import type { Executor } from "../device/executor.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { DType } from "../ops/index.ts";
import { PerStep, ops } from "../ops/index.ts";
import { full } from "../tensor/creation.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, seedKey } from "../tensor/random.ts";
import type { StepNumber } from "../tensor/recording.ts";
import { outsideRecording } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor, apply, tensor } from "../tensor/tensor.ts";

/** A linear schedule. */
export interface NoiseScheduleOptions {
  /** Number T of timesteps; t runs from 0 to T - 1. */
  readonly steps: number;
  /** beta at t = 0. */
  readonly betaStart: number;
  /** beta at t = T - 1. */
  readonly betaEnd: number;
}

/** Noise of a reverse step: either drawn at a place in the seeded noise, or given. */
export type ReverseNoise =
  | {
      /** Seed of the noise. */
      readonly seed: Seed;
      /** Number of the image in row 0, default 0. */
      readonly image?: StepNumber;
      /** Number of this step in the sampling run, default 0. */
      readonly step?: StepNumber;
    }
  | {
      /** The noise itself, of the shape of x. */
      readonly z: Tensor;
    };

/** Largest alphaBar_T at which x_T counts as noise: beyond it a sampler would start from what training never saw. */
export const largestResidualSignal = 0.05;

/**
 * Linear schedule of Ho et al. 2020: beta_t from `betaStart` to `betaEnd`, alpha_t = 1 - beta_t,
 * alphaBar_t = alpha_0 ... alpha_t. All tables are computed in float64 and cast once, to the dtype that uses them.
 */
export class NoiseSchedule {
  /** T, the number of steps. */
  readonly steps: number;
  /** beta_t: variance of the noise that step t adds. */
  readonly beta: Float64Array;
  /** alpha_t = 1 - beta_t. */
  readonly alpha: Float64Array;
  /** alphaBar_t, the product of alpha_0 to alpha_t: what of the variance of x_0 is left in x_t. */
  readonly alphaBar: Float64Array;
  /** 1 / sqrt(alpha_t): what the mean of the reverse step is scaled by. */
  readonly meanScale: Float64Array;
  /** beta_t / sqrt(1 - alphaBar_t): what the predicted noise is scaled by. */
  readonly epsilonScale: Float64Array;
  /** sqrt((1 - alphaBar_{t-1}) / (1 - alphaBar_t) beta_t), with alphaBar_{-1} = 1: 0 at t = 0. */
  readonly sigma: Float64Array;
  private readonly tables = new Map<string, Tensor>();

  constructor({ steps, betaStart, betaEnd }: NoiseScheduleOptions) {
    if (!Number.isInteger(steps) || steps < 1)
      throw new ArgumentError({ op: "NoiseSchedule", problem: `steps is ${steps}, expected an integer >= 1.` });
    for (const [name, beta] of Object.entries({ betaStart, betaEnd }))
      if (!(beta > 0 && beta < 1))
        throw new ArgumentError({ op: "NoiseSchedule", problem: `${name} is ${beta}, expected 0 < ${name} < 1.` });
    this.steps = steps;
    this.beta = Float64Array.from({ length: steps }, (_, t) =>
      steps === 1 ? betaStart : betaStart + ((betaEnd - betaStart) * t) / (steps - 1),
    );
    this.alpha = this.beta.map((beta) => 1 - beta);
    let product = 1;
    this.alphaBar = this.alpha.map((alpha) => (product *= alpha));
    this.meanScale = this.alpha.map((alpha) => 1 / Math.sqrt(alpha));
    this.epsilonScale = this.beta.map((beta, t) => beta / Math.sqrt(1 - this.alphaBar[t]));
    this.sigma = this.beta.map((beta, t) => {
      const before = t === 0 ? 1 : this.alphaBar[t - 1];
      return Math.sqrt(((1 - before) / (1 - this.alphaBar[t])) * beta);
    });
  }

  /**
   * q_sample, eq. 4: x_t = sqrt(alphaBar_t) x0 + sqrt(1 - alphaBar_t) noise. x0 and noise [N, ...]; t int32 [N], one
   * for each image, or one number for all. A timestep in a tensor that is not in 0..T-1 gives NaN.
   */
  addNoise(x0: Tensor, t: Tensor | StepNumber, noise: Tensor): Tensor {
    const coefficients = this.table("addNoise", x0, () => [
      this.alphaBar.map(Math.sqrt),
      this.alphaBar.map((a) => Math.sqrt(1 - a)),
    ]);
    return apply(ops.addNoise, [x0, noise, this.timesteps(t, x0, "addNoise"), coefficients], {});
  }

  /**
   * One reverse step, algorithm 2: x_{t-1} = (x_t - beta_t / sqrt(1 - alphaBar_t) epsilon) / sqrt(alpha_t) + sigma_t z
   * in one pass, its noise z drawn inside unless given; where t = 0 no noise is added. x and epsilon [N, ...]; t as in
   * `addNoise`. Has no gradient.
   */
  reverseStep(x: Tensor, t: Tensor | StepNumber, epsilon: Tensor, noise: ReverseNoise): Tensor {
    const coefficients = this.table("reverseStep", x, () => [this.meanScale, this.epsilonScale, this.sigma]);
    const given = "z" in noise ? noise.z : undefined;
    const at = "z" in noise ? { seed: 0n, image: 0, step: 0 } : noise;
    return apply(ops.ddpmStep, [x, epsilon, this.timesteps(t, x, "reverseStep"), coefficients, given], {
      seed: seedKey("reverseStep", at.seed),
      draw: draws.reverseNoise,
      image: at.image ?? 0,
      step: at.step ?? 0,
    });
  }

  /** Throws when x_T still holds signal, so that sampling would not start from what the model was trained on. */
  expectNoiseAtEnd(op: string, allowResidualSignal = false): void {
    const residual = this.alphaBar[this.steps - 1];
    if (!allowResidualSignal && residual > largestResidualSignal)
      throw new ArgumentError({
        op,
        problem: `after ${this.steps} steps alphaBar is still ${residual.toPrecision(3)}, more than ${largestResidualSignal}: x_T is not noise.`,
        advice: "Raise betaEnd or steps (24 steps go with betaEnd 0.6), or pass allowResidualSignal: true.",
      });
  }

  /** t, one number for all images or int32 [N], as int32 [N] on the device of x [N, ...]. */
  timesteps(t: Tensor | StepNumber, x: Tensor, op = "timesteps"): Tensor {
    if (t instanceof Tensor) return t;
    if (t instanceof PerStep) return apply(ops.fill, [], { shape: [x.shape[0]], dtype: "int32", value: t }, x.executor);
    if (!Number.isInteger(t) || t < 0 || t >= this.steps)
      throw new ArgumentError({ op, problem: `t is ${t}, expected an integer from 0 to ${this.steps - 1}.` });
    if (x.rank === 0) throw new ShapeError({ op, problem: `x has shape ${showShape(x.shape)}, expected [N, ...].` });
    return full([x.shape[0]], t, { dtype: "int32", device: x.device });
  }

  /** The columns as a device table [T, columns], made once for each device and dtype. */
  private table(name: string, like: Tensor, columns: () => readonly Float64Array[]): Tensor {
    const key = `${name} ${like.device} ${like.dtype}`;
    const known = this.tables.get(key);
    if (known) return known;
    const made = tabulate(columns(), like.executor, like.dtype === "float64" ? "float64" : "float32");
    this.tables.set(key, made);
    return made;
  }
}

function tabulate(columns: readonly Float64Array[], executor: Executor, dtype: DType): Tensor {
  const rows = columns[0].length;
  const flat = Float64Array.from(
    { length: rows * columns.length },
    (_, i) => columns[i % columns.length][Math.floor(i / columns.length)],
  );
  const shape = [rows, columns.length];
  return outsideRecording(() => scope(() => tensor(flat, { shape, dtype, device: executor.name }).keep()));
}
