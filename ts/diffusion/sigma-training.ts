// Training of denoisers of any noise level: which levels are drawn, and how their errors are weighted (Karras et al. 2022, table 1).

import { expectShape } from "../ops/checks.ts";
import type { Reduction } from "../tensor/functional/losses.ts";
import { mse } from "../tensor/functional/losses.ts";
import type { NoiseOptions } from "../tensor/random.ts";
import { draws, rand, randn } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../tensor/tensor.ts";
import type { Preconditioning } from "./preconditioning.ts";
import { denoise, expectPositive } from "./preconditioning.ts";

/** Noise levels in training. */
export interface SigmaTraining {
  /** Draws sigma [count] for as many images; by default as the timesteps of a training step are drawn (`draws.timestep`). */
  draw(count: number, options?: TensorOptions & NoiseOptions): Tensor;
  /** The sigma [N] that random numbers [N] stand for: standard normal ones in `edmTraining`, else uniform ones in [0, 1). */
  sigma(random: Tensor): Tensor;
  /** The weights [N] of squared errors of the denoised picture at sigma [N]. */
  weight(sigma: Tensor): Tensor;
}

/** Options of `edmTraining`. */
export interface EdmTrainingOptions {
  /** Mean of ln sigma. Default -1.2. */
  readonly mean?: number;
  /** Standard deviation of ln sigma. Default 1.2. */
  readonly deviation?: number;
  /** Standard deviation of the data. Default 0.5. */
  readonly sigmaData?: number;
}

/** EDM: ln sigma is normal, and the weight (sigma² + sigmaData²) / (sigma sigmaData)² makes losses alike at every level. */
export function edmTraining({ mean = -1.2, deviation = 1.2, sigmaData = 0.5 }: EdmTrainingOptions = {}): SigmaTraining {
  expectPositive("edmTraining", { deviation, sigmaData });
  const sigma = (normal: Tensor): Tensor => normal.mul(deviation).add(mean).exp();
  return {
    sigma,
    draw: (count, options) => scope(() => sigma(randn([count], { draw: draws.timestep, ...options }))),
    // 1 / sigma² + 1 / sigmaData²
    weight: (level) =>
      level
        .square()
        .reciprocal()
        .add(1 / sigmaData ** 2),
  };
}

/** Options of `vpTraining`; see `VpPreconditioningOptions`. */
export interface VpTrainingOptions {
  /** Extent of the noise schedule. Default 19.9. */
  readonly betaD?: number;
  /** Its slope at the start. Default 0.1. */
  readonly betaMin?: number;
  /** The least time. Default 1e-5. */
  readonly leastTime?: number;
}

/** DDPM in continuous time: times are uniform in [leastTime, 1], and the weight 1 / sigma² is that of the predicted noise. */
export function vpTraining({ betaD = 19.9, betaMin = 0.1, leastTime = 1e-5 }: VpTrainingOptions = {}): SigmaTraining {
  expectPositive("vpTraining", { betaD, betaMin, leastTime });
  const sigma = (uniform: Tensor): Tensor => {
    const time = uniform.neg().add(1).add(uniform.mul(leastTime)); // 1 - u is exact where it is small
    return time.mul(0.5 * betaD).add(betaMin).mul(time).expm1().sqrt(); // prettier-ignore
  };
  return uniformly(sigma);
}

/** Options of `veTraining`. */
export interface VeTrainingOptions {
  /** Least sigma. Default 0.02. */
  readonly sigmaMin?: number;
  /** Greatest sigma. Default 100. */
  readonly sigmaMax?: number;
}

/** The variance-exploding SDE: ln sigma is uniform, with the weight 1 / sigma². */
export function veTraining({ sigmaMin = 0.02, sigmaMax = 100 }: VeTrainingOptions = {}): SigmaTraining {
  expectPositive("veTraining", { sigmaMin, sigmaMax });
  return uniformly((uniform) => uniform.mul(Math.log(sigmaMax / sigmaMin)).exp().mul(sigmaMin)); // prettier-ignore
}

function uniformly(sigma: (uniform: Tensor) => Tensor): SigmaTraining {
  return {
    sigma,
    draw: (count, options) => scope(() => sigma(rand([count], { draw: draws.timestep, ...options }))),
    weight: (level) => level.square().reciprocal(),
  };
}

/** What `denoisingLoss` is given. */
export interface DenoisingLossOptions {
  /** How the network is made a denoiser. */
  readonly preconditioning: Preconditioning;
  /** How errors are weighted. */
  readonly training: SigmaTraining;
  /** The noise level of each image, [N], as `training.draw` gives them. */
  readonly sigma: Tensor;
  /** Standard normal, of the shape of x0. */
  readonly noise: Tensor;
  /** Default "mean". */
  readonly reduction?: Reduction;
}

/**
 * weight(sigma) (D(x0 + sigma noise; sigma) - x0)², the loss of Karras et al. 2022, eq. 8: x0 [N, ...]. The network F is
 * given scaled pictures and cNoise [N]; see `denoise`.
 *
 * ```ts
 * const [preconditioning, training] = [edmPreconditioning(), edmTraining()];
 * // in the step of train:
 * const sigma = training.draw(x0.shape[0], { seed: 1, step: iteration });
 * const loss = denoisingLoss((x, level) => model.forward(x, level), x0, { preconditioning, training, sigma, noise });
 * ```
 */
export function denoisingLoss(
  network: (x: Tensor, noise: Tensor) => Tensor,
  x0: Tensor,
  { preconditioning, training, sigma, noise, reduction }: DenoisingLossOptions,
): Tensor {
  expectShape("denoisingLoss", "noise", noise, x0.shape, "as x0");
  expectShape("denoisingLoss", "sigma", sigma, x0.shape.slice(0, 1), "(one noise level for each image)");
  return scope(() => {
    const spread = sigma.reshape(x0.shape.map((n, axis) => (axis === 0 ? n : 1)));
    const denoised = denoise(preconditioning, network, x0.add(noise.mul(spread)), sigma);
    return mse(denoised, x0, { weight: training.weight(sigma), reduction });
  });
}
