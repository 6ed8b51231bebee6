// The reverse process as Gaussians p(x_{t-1} | x_t) whose variance may be learned: the variational bound, and steps by it.

import { ArgumentError } from "../errors/index.ts";
import { expectSameDType, expectShape } from "../ops/checks.ts";
import { fullLike, zerosLike } from "../tensor/creation.ts";
import { mse } from "../tensor/functional/losses.ts";
import { where } from "../tensor/functional/selection.ts";
import type { StepNumber } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Gaussian } from "./gaussians.ts";
import { discretizedLogLikelihood, gaussianKl } from "./gaussians.ts";
import type { NoiseSchedule } from "./noise-schedule.ts";
import type { PredictionType } from "./predictions.ts";
import type { NetworkOutput, VarianceType } from "./reverse-variance.ts";
import { ReverseVariance } from "./reverse-variance.ts";
import { StepTable } from "./step-table.ts";

/** What a Gaussian diffusion consists of. */
export interface GaussianDiffusionOptions {
  /** The forward process. */
  readonly schedule: NoiseSchedule;
  /** What the network predicts, or the first half of its channels. Default "epsilon". */
  readonly prediction?: PredictionType;
  /** Where the variance comes from. Default "learned_range". */
  readonly variance?: VarianceType;
  /**
   * What the term of the variational bound is multiplied by in `losses`. Default 1, as in DiT; T / 1000 is the hybrid loss of
   * Nichol & Dhariwal 2021 with lambda = 0.001, since one term stands for all T.
   */
  readonly boundWeight?: number;
}

/** Whether the predicted x0 is held within [-1, 1], where pictures are. */
export interface ClipOptions {
  /** Default true, but in `losses`, which never clips. */
  readonly clip?: boolean;
}

/** p(x_{t-1} | x_t), and the x0 that it is built on. */
export interface ReverseGaussian extends Gaussian {
  /** The predicted x0. */
  readonly x0: Tensor;
}

/** A step of a sampler. */
export interface ReverseStep {
  /** x_{t-1}. */
  readonly x: Tensor;
  /** The predicted x0. */
  readonly x0: Tensor;
}

/** What a training step knows of its pictures. */
export interface NoisedPictures {
  /** The pictures [N, ...]. */
  readonly x0: Tensor;
  /** x_t = addNoise(x0, t, noise). */
  readonly x: Tensor;
  /** int32 [N], or one timestep for all. */
  readonly t: Tensor | StepNumber;
  /** Of the shape of x0. */
  readonly noise: Tensor;
}

/** The losses of each picture [N]. */
export interface HybridLosses {
  /** mse + boundWeight bound: take the mean and call `backward`. */
  readonly loss: Tensor;
  /** The mean squared error of the prediction. */
  readonly mse: Tensor;
  /** The term of the variational bound in bits for each element; absent where the variance is not learned. */
  readonly bound?: Tensor;
}

/**
 * The Gaussian diffusion of Ho et al. 2020 and Nichol & Dhariwal 2021, with the numbers of guided-diffusion and DiT. Images
 * are [N, ..., C]; a network with a learned variance returns [N, ..., 2 C], first the prediction and then the variance. Where
 * a method takes t, it is int32 [N] or one number for all.
 *
 * ```ts
 * const diffusion = new GaussianDiffusion({ schedule });
 * const x = schedule.addNoise(x0, t, noise);
 * const { loss } = diffusion.losses(model.forward(x, t), { x0, x, t, noise });
 * loss.mean().backward();
 * ```
 */
export class GaussianDiffusion {
  /** The forward process. */
  readonly schedule: NoiseSchedule;
  /** What the network predicts. */
  readonly prediction: PredictionType;
  /** What the term of the variational bound is multiplied by in `losses`. */
  readonly boundWeight: number;
  private readonly reverseVariance: ReverseVariance;
  /** Factors of x0 and x_t in the mean of q(x_{t-1} | x_t, x_0), eq. 7 of Ho et al. 2020. */
  private readonly posteriorMean: StepTable;
  /** Factors of x0, x_t and z in a step of DDIM, for each eta. */
  private readonly ddimTables = new Map<number, { readonly mean: StepTable; readonly noise: StepTable }>();

  constructor(options: GaussianDiffusionOptions) {
    const { schedule, prediction = "epsilon", variance = "learned_range", boundWeight = 1 } = options;
    this.schedule = schedule;
    this.prediction = prediction;
    this.boundWeight = boundWeight;
    this.reverseVariance = new ReverseVariance(schedule, variance);
    const { alpha, alphaBar, beta } = schedule;
    this.posteriorMean = new StepTable([
      beta.map((value, t) => (value * Math.sqrt(stepBefore(alphaBar, t))) / (1 - alphaBar[t])),
      alpha.map((value, t) => (Math.sqrt(value) * (1 - stepBefore(alphaBar, t))) / (1 - alphaBar[t])),
    ]);
  }

  /** Where the variance comes from. */
  get variance(): VarianceType {
    return this.reverseVariance.type;
  }

  /** q(x_{t-1} | x_t, x_0), eq. 6 of Ho et al. 2020; at t = 0 with the variance of t = 1. x0 and x = x_t [N, ...]. */
  posterior(x0: Tensor, x: Tensor, t: Tensor | StepNumber): Gaussian {
    const op = "GaussianDiffusion.posterior";
    return scope(() => {
      const rows = this.schedule.timesteps(t, x, op);
      return { mean: this.meanOf(op, x0, x, rows), logVariance: this.reverseVariance.logOfPosterior(op, rows, x) };
    });
  }

  /** p(x_{t-1} | x_t), by what the network returned for x = x_t [N, ...]. */
  reverse(output: Tensor, x: Tensor, t: Tensor | StepNumber, { clip = true }: ClipOptions = {}): ReverseGaussian {
    const op = "GaussianDiffusion.reverse";
    return scope(() => {
      const rows = this.schedule.timesteps(t, x, op);
      return this.reverseOf(op, this.reverseVariance.split(op, output, x), x, rows, clip);
    });
  }

  /**
   * One term of the variational bound in bits for each element, [N]: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), or at
   * t = 0 the negative log likelihood of x0. The terms of t = 0, ..., T - 1 and `priorTerm` add up to a bound of -log2 p(x0).
   */
  boundTerm(output: Tensor, { x0, x, t }: Omit<NoisedPictures, "noise">, { clip = true }: ClipOptions = {}): Tensor {
    const op = "GaussianDiffusion.boundTerm";
    return scope(() => {
      const rows = this.schedule.timesteps(t, x, op);
      const p = this.reverseOf(op, this.reverseVariance.split(op, output, x), x, rows, clip);
      return this.boundOf(op, p, x0, x, rows);
    });
  }

  /** KL(q(x_T | x_0) || N(0, 1)) in bits for each element, [N]: what the bound loses where x_T is not noise alone. */
  priorTerm(x0: Tensor): Tensor {
    const last = this.schedule.alphaBar[this.schedule.steps - 1];
    return scope(() => {
      const zero = zerosLike(x0);
      const end = { mean: x0.mul(Math.sqrt(last)), logVariance: fullLike(x0, Math.log(1 - last)) };
      return ofImages(gaussianKl(end, { mean: zero, logVariance: zero })).div(Math.LN2);
    });
  }

  /**
   * The hybrid loss of Nichol & Dhariwal 2021, eq. 16: the mean squared error of the prediction, and the bound, which teaches
   * the variance alone since no gradient goes through its mean. Of a fixed variance there is only the former.
   */
  losses(output: Tensor, { x0, x, t, noise }: NoisedPictures): HybridLosses {
    const op = "GaussianDiffusion.losses";
    return scope(() => {
      const rows = this.schedule.timesteps(t, x, op);
      const { prediction, variance } = this.reverseVariance.split(op, output, x);
      const target = this.schedule.target(this.prediction, x0, rows, noise);
      const errors = ofImages(mse(prediction, target, { reduction: "none" }));
      if (!variance) return { loss: errors, mse: errors };
      const p = this.reverseOf(op, { prediction: prediction.detach(), variance }, x, rows, false);
      const bound = this.boundOf(op, p, x0, x, rows);
      return { loss: errors.add(bound.mul(this.boundWeight)), mse: errors, bound };
    });
  }

  /**
   * A step of ancestral sampling, x_{t-1} = mean + sigma z, of x = x_t [N, ...] by what the network returned for it
   * (guided-diffusion: `p_sample`). No noise is added at t = 0.
   */
  ancestralStep(
    output: Tensor,
    x: Tensor,
    t: Tensor | StepNumber,
    z: Tensor,
    { clip = true }: ClipOptions = {},
  ): ReverseStep {
    const op = "GaussianDiffusion.ancestralStep";
    expectLike(op, "z", z, x);
    return scope(() => {
      const rows = this.schedule.timesteps(t, x, op);
      const p = this.reverseOf(op, this.reverseVariance.split(op, output, x), x, rows, clip);
      const isNoisy = rows.greater(0).to(x.dtype).reshape(perImage(x));
      return { x: p.mean.add(p.logVariance.div(2).exp().mul(isNoisy).mul(z)), x0: p.x0 };
    });
  }

  /**
   * A step of DDIM (Song et al. 2021, eq. 12) of x = x_t [N, ...] by what the network returned for it (guided-diffusion:
   * `ddim_sample`): sqrt(alphaBar_{t-1}) x0 + sqrt(1 - alphaBar_{t-1} - sigma²) epsilon + sigma z, with the epsilon that the
   * clipped x0 means and sigma = eta sqrt((1 - alphaBar_{t-1}) / (1 - alphaBar_t) (1 - alphaBar_t / alphaBar_{t-1})). With
   * eta 0, the default, there is no noise; else z is needed.
   */
  ddimStep(
    output: Tensor,
    x: Tensor,
    t: Tensor | StepNumber,
    { eta = 0, z, clip = true }: ClipOptions & { readonly eta?: number; readonly z?: Tensor } = {},
  ): ReverseStep {
    const op = "GaussianDiffusion.ddimStep";
    if (!(eta >= 0 && eta <= 1))
      throw new ArgumentError({ op, problem: `eta is ${eta}, expected a number from 0 to 1.` });
    if (eta > 0 && !z) throw new ArgumentError({ op, problem: `eta is ${eta} and no noise z was given.` });
    if (z) expectLike(op, "z", z, x);
    return scope(() => {
      const rows = this.schedule.timesteps(t, x, op);
      const { prediction } = this.reverseVariance.split(op, output, x);
      const x0 = this.x0Of(prediction, x, rows, clip);
      const { mean, noise } = this.ddimTable(eta);
      const towards = mean.mix(op, { a: x0, b: x, t: rows, names: ["x0", "x"] });
      return { x: eta > 0 ? towards.add(noise.factors(op, rows, x)[0].mul(z!)) : towards, x0 };
    });
  }

  private reverseOf(
    op: string,
    { prediction, variance }: NetworkOutput,
    x: Tensor,
    rows: Tensor,
    clip: boolean,
  ): ReverseGaussian {
    const x0 = this.x0Of(prediction, x, rows, clip);
    return { mean: this.meanOf(op, x0, x, rows), logVariance: this.reverseVariance.log(op, variance, rows, x), x0 };
  }

  private x0Of(prediction: Tensor, x: Tensor, rows: Tensor, clip: boolean): Tensor {
    const x0 = this.schedule.convert(prediction, x, rows, { from: this.prediction, to: "sample" });
    return clip ? x0.clamp({ min: -1, max: 1 }) : x0;
  }

  private meanOf(op: string, x0: Tensor, x: Tensor, rows: Tensor): Tensor {
    return this.posteriorMean.mix(op, { a: x0, b: x, t: rows, names: ["x0", "x"] });
  }

  private boundOf(op: string, p: Gaussian, x0: Tensor, x: Tensor, rows: Tensor): Tensor {
    const q = { mean: this.meanOf(op, x0, x, rows), logVariance: this.reverseVariance.logOfPosterior(op, rows, x) };
    const divergence = ofImages(gaussianKl(q, p));
    const unlikeliness = ofImages(discretizedLogLikelihood(x0, p)).neg();
    return where(rows.equal(0), unlikeliness, divergence).div(Math.LN2);
  }

  private ddimTable(eta: number): { readonly mean: StepTable; readonly noise: StepTable } {
    const known = this.ddimTables.get(eta);
    if (known) return known;
    const { alphaBar } = this.schedule;
    const sigma = alphaBar.map((now, t) => {
      const earlier = stepBefore(alphaBar, t);
      return eta * Math.sqrt(((1 - earlier) / (1 - now)) * (1 - now / earlier));
    });
    // epsilon = (x - sqrt(alphaBar) x0) / sqrt(1 - alphaBar), put into eq. 12.
    // From noise alone eta 1 leaves no epsilon, and rounding may leave less.
    const ofX = alphaBar.map((now, t) =>
      Math.sqrt(Math.max(0, 1 - stepBefore(alphaBar, t) - sigma[t] ** 2) / (1 - now)),
    );
    const ofX0 = alphaBar.map((now, t) => Math.sqrt(stepBefore(alphaBar, t)) - ofX[t] * Math.sqrt(now));
    const made = { mean: new StepTable([ofX0, ofX]), noise: new StepTable([sigma]) };
    this.ddimTables.set(eta, made);
    return made;
  }
}

/** alphaBar_{t-1}, which is 1 before the first step. */
function stepBefore(alphaBar: Float64Array, t: number): number {
  return t === 0 ? 1 : alphaBar[t - 1];
}

/** The mean of each image, [N, ...] -> [N]. */
function ofImages(errors: Tensor): Tensor {
  return errors.mean(errors.shape.map((_, axis) => axis).slice(1));
}

/** [N, 1, ...] for x [N, ...]. */
function perImage(x: Tensor): number[] {
  return x.shape.map((n, axis) => (axis === 0 ? n : 1));
}

function expectLike(op: string, name: string, value: Tensor, x: Tensor): void {
  expectSameDType(op, [name, "x"], value, x);
  expectShape(op, name, value, x.shape, "as x");
}
