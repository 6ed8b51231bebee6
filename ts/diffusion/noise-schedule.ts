// The noise schedule of DDPM: its float64 tables, the forward process q(x_t | x_0), and the reverse step.

import { ArgumentError } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, seedKey } from "../tensor/random.ts";
import type { StepNumber } from "../tensor/recording.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { apply } from "../tensor/tensor.ts";
import type { AlphaBarCurve, BetaRange } from "./betas.ts";
import { betasOfCurve, betasOfRange, isAlphaBarCurve, isBetaRange, rescaleZeroTerminalSnr } from "./betas.ts";
import type { ConvertOptions } from "./gaussian-path.ts";
import { GaussianPath } from "./gaussian-path.ts";
import type { PredictionOptions, PredictionType } from "./predictions.ts";
import { StepTable, stepsOf } from "./step-table.ts";

/** What every schedule may be given. */
export interface SchedulePostprocessing {
  /**
   * Rescale the betas so that alphaBar ends at exactly 0 and x_T is noise alone (Lin et al. 2024; diffusers'
   * `rescale_betas_zero_snr`). The model then predicts v or x0: noise alone says nothing about x0. Default false.
   */
  readonly rescaleZeroTerminalSnr?: boolean;
}

/** A schedule from one beta to another. */
export interface BetaRangeOptions extends SchedulePostprocessing {
  /** Number T of timesteps; t runs from 0 to T - 1 (diffusers' `num_train_timesteps`). */
  readonly steps: number;
  /** beta at t = 0 (diffusers' `beta_start`). */
  readonly betaStart: number;
  /** beta at t = T - 1 (diffusers' `beta_end`). */
  readonly betaEnd: number;
  /** How beta goes from one to the other (diffusers' `beta_schedule`). Default "linear". */
  readonly schedule?: BetaRange;
}

/** A schedule that a curve of alphaBar gives. */
export interface AlphaBarCurveOptions extends SchedulePostprocessing {
  /** Number T of timesteps. */
  readonly steps: number;
  /** The curve (diffusers' `beta_schedule`): "squaredcos_cap_v2" is the cosine schedule of Nichol & Dhariwal 2021. */
  readonly schedule: AlphaBarCurve;
}

/** A schedule of any betas. */
export interface CustomBetasOptions extends SchedulePostprocessing {
  /** beta_t for t = 0, ..., T - 1 (diffusers' `trained_betas`). */
  readonly betas: ArrayLike<number>;
}

/** A noise schedule: linear from `betaStart` to `betaEnd` unless said otherwise. */
export type NoiseScheduleOptions = BetaRangeOptions | AlphaBarCurveOptions | CustomBetasOptions;

/** What the noise-to-signal ratio is where alphaBar is 0. */
export interface NoiseToSignalOptions {
  /**
   * Stands for a last alphaBar of 0, which has no finite ratio. diffusers takes 2^-24 in the Euler, DPM-Solver and UniPC
   * schedulers. Without it, a schedule that ends at 0 is an error.
   */
  readonly terminalAlphaBar?: number;
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
 * The variance-preserving schedule of Ho et al. 2020: alpha_t = 1 - beta_t, alphaBar_t = alpha_0 ... alpha_t. All tables
 * are computed in float64 and cast once, to the dtype that uses them.
 *
 * ```ts
 * new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
 * new NoiseSchedule({ steps: 1000, betaStart: 0.00085, betaEnd: 0.012, schedule: "scaled_linear" });
 * new NoiseSchedule({ steps: 1000, schedule: "squaredcos_cap_v2", rescaleZeroTerminalSnr: true });
 * new NoiseSchedule({ betas: [0.01, 0.1, 0.5] });
 * ```
 */
export class NoiseSchedule {
  /** T, the number of steps. */
  readonly steps: number;
  /** What it was made from. */
  readonly options: NoiseScheduleOptions;
  /** The name of the schedule, "custom" where betas were given. */
  readonly schedule: BetaRange | AlphaBarCurve | "custom";
  /** beta_t: variance of the noise that step t adds. */
  readonly beta: Float64Array;
  /** alpha_t = 1 - beta_t. */
  readonly alpha: Float64Array;
  /** alphaBar_t, the product of alpha_0 to alpha_t: what of the variance of x_0 is left in x_t. */
  readonly alphaBar: Float64Array;
  /** 1 / sqrt(alpha_t): what the mean of the reverse step is scaled by. Infinity where alphaBar ends at 0. */
  readonly meanScale: Float64Array;
  /** beta_t / sqrt(1 - alphaBar_t): what the predicted noise is scaled by. */
  readonly epsilonScale: Float64Array;
  /** sqrt((1 - alphaBar_{t-1}) / (1 - alphaBar_t) beta_t), with alphaBar_{-1} = 1: 0 at t = 0. */
  readonly sigma: Float64Array;
  /** x_t = sqrt(alphaBar_t) x0 + sqrt(1 - alphaBar_t) noise, as a path. */
  readonly path: GaussianPath;
  private readonly reverse: StepTable;

  constructor(options: NoiseScheduleOptions) {
    const { schedule, betas } = betasOf(options);
    this.schedule = schedule;
    this.options = schedule === "custom" ? { ...options, betas } : { ...options };
    this.beta = options.rescaleZeroTerminalSnr ? rescaleZeroTerminalSnr(betas) : betas;
    this.steps = betas.length;
    this.alpha = this.beta.map((beta) => 1 - beta);
    let product = 1;
    this.alphaBar = this.alpha.map((alpha) => (product *= alpha));
    this.meanScale = this.alpha.map((alpha) => 1 / Math.sqrt(alpha));
    this.epsilonScale = this.beta.map((beta, t) => beta / Math.sqrt(1 - this.alphaBar[t]));
    this.sigma = this.beta.map((beta, t) => {
      const before = t === 0 ? 1 : this.alphaBar[t - 1];
      return Math.sqrt(((1 - before) / (1 - this.alphaBar[t])) * beta);
    });
    this.path = GaussianPath.variancePreserving(this.alphaBar);
    this.reverse = new StepTable([this.meanScale, this.epsilonScale, this.sigma]);
  }

  /**
   * q_sample, eq. 4: x_t = sqrt(alphaBar_t) x0 + sqrt(1 - alphaBar_t) noise. x0 and noise [N, ...]; t int32 [N], one
   * for each image, or one number for all. A timestep in a tensor that is not in 0..T-1 gives NaN.
   */
  addNoise(x0: Tensor, t: Tensor | StepNumber, noise: Tensor): Tensor {
    return this.path.addNoise(x0, t, noise);
  }

  /**
   * v = sqrt(alphaBar_t) noise - sqrt(1 - alphaBar_t) x0 (Salimans & Ho 2022; diffusers: get_velocity), which a network
   * that predicts v is trained to give. Arguments as in `addNoise`.
   */
  velocity(x0: Tensor, t: Tensor | StepNumber, noise: Tensor): Tensor {
    return this.path.target("v_prediction", x0, t, noise);
  }

  /** What a network that predicts `type` is trained to give for addNoise(x0, t, noise). */
  target(type: PredictionType, x0: Tensor, t: Tensor | StepNumber, noise: Tensor, options?: PredictionOptions): Tensor {
    return this.path.target(type, x0, t, noise, options);
  }

  /** A prediction as another one, such as the x0 that a predicted epsilon means; see `GaussianPath.convert`. */
  convert(prediction: Tensor, x: Tensor, t: Tensor | StepNumber, options: ConvertOptions): Tensor {
    return this.path.convert(prediction, x, t, options);
  }

  /** sqrt((1 - alphaBar_t) / alphaBar_t), the sigma of x_t / sqrt(alphaBar_t) = x0 + sigma noise (Karras et al. 2022). */
  noiseToSignal({ terminalAlphaBar }: NoiseToSignalOptions = {}): Float64Array {
    return this.alphaBar.map((value) => {
      const alphaBar = value === 0 ? terminalAlphaBar : value;
      if (alphaBar === undefined)
        throw new ArgumentError({
          op: "NoiseSchedule.noiseToSignal",
          problem: `alphaBar is 0 at t = ${this.steps - 1}: the ratio of noise to signal is infinite there.`,
          advice: "Give terminalAlphaBar (diffusers takes 2 ** -24), or do not rescale to zero terminal SNR.",
        });
      return Math.sqrt((1 - alphaBar) / alphaBar);
    });
  }

  /**
   * One reverse step, algorithm 2: x_{t-1} = (x_t - beta_t / sqrt(1 - alphaBar_t) epsilon) / sqrt(alpha_t) + sigma_t z
   * in one pass, its noise z drawn inside unless given; where t = 0 no noise is added. x and epsilon [N, ...]; t as in
   * `addNoise`. Has no gradient.
   */
  reverseStep(x: Tensor, t: Tensor | StepNumber, epsilon: Tensor, noise: ReverseNoise): Tensor {
    if (this.alphaBar[this.steps - 1] === 0)
      throw new ArgumentError({
        op: "reverseStep",
        problem: `alphaBar is 0 at t = ${this.steps - 1}: x_T is noise alone, and a prediction of it does not say where to go.`,
        advice: "With zero terminal SNR a network predicts v or x0 and a scheduler for those makes the step.",
      });
    const given = "z" in noise ? noise.z : undefined;
    const at = "z" in noise ? { seed: 0n, image: 0, step: 0 } : noise;
    return apply(ops.ddpmStep, [x, epsilon, this.timesteps(t, x, "reverseStep"), this.reverse.on(x), given], {
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
    return stepsOf(t, x, this.steps, op);
  }
}

/** The betas that the options ask for, before rescaling. */
function betasOf(options: NoiseScheduleOptions): { schedule: NoiseSchedule["schedule"]; betas: Float64Array } {
  if ("betas" in options && options.betas !== undefined)
    return { schedule: "custom", betas: checkedBetas(options.betas) };
  const { steps, schedule = "linear" } = options as BetaRangeOptions | AlphaBarCurveOptions;
  const refuse = (problem: string, advice?: string): never => {
    throw new ArgumentError({ op: "NoiseSchedule", problem, advice });
  };
  if (!Number.isInteger(steps) || steps < 1) refuse(`steps is ${steps}, expected an integer >= 1.`);
  const { betaStart, betaEnd } = options as Partial<BetaRangeOptions>;
  if (isBetaRange(schedule)) {
    for (const [name, beta] of Object.entries({ betaStart, betaEnd }))
      if (!(beta! > 0 && beta! < 1)) refuse(`${name} is ${beta}, expected 0 < ${name} < 1.`);
    return { schedule, betas: betasOfRange(schedule, betaStart!, betaEnd!, steps) };
  }
  if (!isAlphaBarCurve(schedule))
    return refuse(
      `the schedule is ${JSON.stringify(schedule)}.`,
      `Expected "linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2", "exp" or "laplace".`,
    );
  for (const [name, beta] of Object.entries({ betaStart, betaEnd }))
    if (beta !== undefined)
      refuse(`${name} does not enter the schedule ${schedule}.`, "Leave it out, or choose another schedule.");
  return { schedule, betas: betasOfCurve(schedule, steps) };
}

function checkedBetas(betas: ArrayLike<number>): Float64Array {
  if (betas.length === 0) throw new ArgumentError({ op: "NoiseSchedule", problem: "betas is empty." });
  const wrong = Array.from(betas).findIndex(
    (beta, t) => !(beta > 0 && (beta < 1 || (beta === 1 && t === betas.length - 1))),
  );
  if (wrong >= 0)
    throw new ArgumentError({
      op: "NoiseSchedule",
      problem: `betas[${wrong}] is ${betas[wrong]}, expected 0 < beta < 1.`,
      advice: "Only the last beta may be 1: then x_T is noise alone.",
    });
  return Float64Array.from(betas);
}
