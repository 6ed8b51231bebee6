// Preconditioning: a network F of scaled inputs and outputs as a denoiser D of any noise level (Karras et al. 2022, table 1).

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { expectSameDType } from "../ops/checks.ts";
import { onesLike } from "../tensor/creation.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import { outsideRecording } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { tensor } from "../tensor/tensor.ts";
import type { IddpmLevelsOptions } from "./grids/iddpm-levels.ts";
import { iddpmLevels } from "./grids/iddpm-levels.ts";
import { StepTable } from "./step-table.ts";
import { VariancePreservingTime } from "./variance-preserving-time.ts";

/** What eq. 7 scales by, one number for each noise level: D(x) = skip x + out F(input x, noise). */
export interface PreconditioningFactors<T> {
  /** cSkip: how much of x is in the denoised picture as it is. */
  readonly skip: T;
  /** cOut: what the network's output is scaled by. */
  readonly out: T;
  /** cIn: what the network's input is scaled by. */
  readonly input: T;
  /** cNoise: what the network is told of the noise level. */
  readonly noise: T;
}

/** How a network is made a denoiser of x = x0 + sigma noise. */
export interface Preconditioning {
  /** Least sigma that it is meant for. */
  readonly sigmaMin: number;
  /** Greatest sigma that it is meant for. */
  readonly sigmaMax: number;
  /** The factors at each of sigma [N]. */
  factors(sigma: Tensor): PreconditioningFactors<Tensor>;
  /** The nearest sigmas [N] that the network was trained at. */
  round(sigma: Tensor): Tensor;
}

/** Options of `edmPreconditioning`. */
export interface EdmPreconditioningOptions {
  /** Standard deviation of the data. Default 0.5. */
  readonly sigmaData?: number;
}

/** EDM (Karras et al. 2022): the network's inputs and targets have variance 1 at every noise level. */
export function edmPreconditioning({ sigmaData = 0.5 }: EdmPreconditioningOptions = {}): Preconditioning {
  expectPositive("edmPreconditioning", { sigmaData });
  return {
    sigmaMin: 0,
    sigmaMax: Infinity,
    round: (sigma) => sigma,
    factors(sigma) {
      const variance = sigma.square().add(sigmaData ** 2);
      return {
        skip: variance.reciprocal().mul(sigmaData ** 2),
        out: sigma.mul(sigmaData).div(variance.sqrt()),
        input: variance.rsqrt(),
        noise: sigma.log().div(4),
      };
    },
  };
}

/** Options of `vpPreconditioning`. */
export interface VpPreconditioningOptions {
  /** Extent of the noise schedule. Default 19.9. */
  readonly betaD?: number;
  /** Its slope at the start. Default 0.1. */
  readonly betaMin?: number;
  /** Number of timesteps of DDPM. Default 1000. */
  readonly steps?: number;
  /** The least time in training. Default 1e-5. */
  readonly leastTime?: number;
}

/** DDPM in continuous time, the variance-preserving SDE of Song et al. 2021: F predicts the noise. */
export function vpPreconditioning(options: VpPreconditioningOptions = {}): Preconditioning {
  const { betaD = 19.9, betaMin = 0.1, steps = 1000, leastTime = 1e-5 } = options;
  expectPositive("vpPreconditioning", { betaD, betaMin, steps, leastTime });
  const times = new VariancePreservingTime(betaD, betaMin);
  return {
    sigmaMin: times.sigma(leastTime),
    sigmaMax: times.sigma(1),
    round: (sigma) => sigma,
    factors(sigma) {
      const variance = sigma.square().add(1);
      const time = variance.log().mul(2 * betaD).add(betaMin ** 2).sqrt().sub(betaMin).div(betaD); // prettier-ignore
      return { ...predictsNoise(sigma, variance), noise: time.mul(steps - 1) };
    },
  };
}

/** Options of `vePreconditioning`. */
export interface VePreconditioningOptions {
  /** Least sigma in training. Default 0.02. */
  readonly sigmaMin?: number;
  /** Greatest sigma in training. Default 100. */
  readonly sigmaMax?: number;
}

/** The variance-exploding SDE of Song et al. 2021 (NCSN++): F predicts minus the noise. */
export function vePreconditioning({ sigmaMin = 0.02, sigmaMax = 100 }: VePreconditioningOptions = {}): Preconditioning {
  expectPositive("vePreconditioning", { sigmaMin, sigmaMax });
  return {
    sigmaMin,
    sigmaMax,
    round: (sigma) => sigma,
    factors(sigma) {
      const one = onesLike(sigma);
      return { skip: one, out: sigma, input: one, noise: sigma.mul(0.5).log() };
    },
  };
}

/**
 * Improved DDPM (Nichol & Dhariwal 2021): F predicts the noise and knows `steps` noise levels, u_0 > u_1 > ... of Karras
 * et al. 2022, table 1; others are rounded to the nearest. Of a network that predicts a variance, too, F is the first half.
 */
export function iddpmPreconditioning(options: IddpmLevelsOptions = {}): Preconditioning {
  const { leastRatio = 0.001, offset = 0.008, steps = 1000 } = options;
  expectPositive("iddpmPreconditioning", { leastRatio, offset, steps });
  if (!Number.isInteger(steps))
    throw new ArgumentError({ op: "iddpmPreconditioning", problem: `steps is ${steps}, expected an integer.` });
  const levels = iddpmLevels(options);
  const table = new StepTable([levels]);
  const nearest = (sigma: Tensor): Tensor =>
    sigma.reshape([-1, 1]).sub(table.on(sigma).reshape([1, -1])).abs().argmin(1); // prettier-ignore
  return {
    sigmaMin: levels[steps - 1],
    sigmaMax: levels[0],
    round: (sigma) => table.on(sigma).indexSelect(0, nearest(sigma)).reshape(sigma.shape),
    factors(sigma) {
      const index = nearest(sigma).to(sigma.dtype).reshape(sigma.shape);
      return { ...predictsNoise(sigma, sigma.square().add(1)), noise: index.neg().add(steps - 1) };
    },
  };
}

/** D(x) = x - sigma F(x / sqrt(1 + sigma²)). */
function predictsNoise(sigma: Tensor, variance: Tensor): Omit<PreconditioningFactors<Tensor>, "noise"> {
  return { skip: onesLike(sigma), out: sigma.neg(), input: variance.rsqrt() };
}

/**
 * The denoised picture D(x; sigma) = cSkip x + cOut F(cIn x, cNoise), eq. 7: x [N, ...] = x0 + sigma noise, sigma [N]. The
 * network F is given the scaled x and cNoise [N].
 */
export function denoise(
  preconditioning: Preconditioning,
  network: (x: Tensor, noise: Tensor) => Tensor,
  x: Tensor,
  sigma: Tensor,
): Tensor {
  if (x.rank === 0 || showShape(sigma.shape) !== showShape(x.shape.slice(0, 1)))
    throw new ShapeError({
      op: "denoise",
      problem: `sigma has shape ${showShape(sigma.shape)} for x ${showShape(x.shape)}.`,
      advice: "Expected one sigma for each image: [N] for x [N, ...].",
    });
  expectSameDType("denoise", ["x", "sigma"], x, sigma);
  const { skip, out, input, noise } = preconditioning.factors(sigma);
  const perImage = (factor: Tensor): Tensor => factor.reshape(x.shape.map((n, i) => (i === 0 ? n : 1)));
  const raw = network(x.mul(perImage(input)), noise);
  if (showShape(raw.shape) !== showShape(x.shape))
    throw new ShapeError({
      op: "denoise",
      problem: `the network returned shape ${showShape(raw.shape)} for x ${showShape(x.shape)}.`,
      advice: "F is shaped as x; of a network that predicts a variance, too, take the first half of the channels.",
    });
  return x.mul(perImage(skip)).add(raw.mul(perImage(out)));
}

/** The factors at noise levels that are known beforehand, such as a sampler's, as float64 tables. */
export function preconditioningTable(
  preconditioning: Preconditioning,
  sigmas: ArrayLike<number>,
): PreconditioningFactors<Float64Array> {
  const read = (values: Tensor): Float64Array => Float64Array.from(values.toArray() as number[]);
  return outsideRecording(() =>
    noGrad(() =>
      scope(() => {
        const levels = tensor(Float64Array.from(sigmas), { dtype: "float64", device: "ts" });
        const { skip, out, input, noise } = preconditioning.factors(levels);
        return { skip: read(skip), out: read(out), input: read(input), noise: read(noise) };
      }),
    ),
  );
}

/** @internal Refuses numbers that are not above 0. */
export function expectPositive(op: string, values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values))
    if (!(value > 0 && value < Infinity))
      throw new ArgumentError({ op, problem: `${name} is ${value}, expected a positive number.` });
}
