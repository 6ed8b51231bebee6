// The sigmas of EDM that a sampler steps through, as diffusers' EDMEulerScheduler and EDMDPMSolverMultistepScheduler have them.

import type { SamplingGrid } from "./sampling-grid.ts";
import { exponentialSigmas, karrasSigmas } from "./sigma-grid.ts";

/** What an EDM scheduler's configuration says of its grid. */
export interface EdmGridOptions {
  /** Number of sampling steps. */
  readonly steps: number;
  /** Least sigma before the end. Default 0.002. */
  readonly sigmaMin?: number;
  /** Greatest sigma. Default 80. */
  readonly sigmaMax?: number;
  /** How sigmas are spaced (diffusers' `sigma_schedule`). Default "karras". */
  readonly spacing?: "karras" | "exponential";
  /** Exponent of "karras": the greater, the more steps at low noise. Default 7. */
  readonly rho?: number;
  /** Where the last step goes (diffusers' `final_sigmas_type`). Default "zero". */
  readonly finalSigma?: "zero" | "sigma_min";
}

/** Karras et al. 2022, table 1: sigmas from eq. 5; the network is given cNoise = ln(sigma) / 4 for t. */
export function edmGrid(options: EdmGridOptions): SamplingGrid {
  const { steps, sigmaMin = 0.002, sigmaMax = 80, spacing = "karras", rho, finalSigma = "zero" } = options;
  const range = { steps, sigmaMin, sigmaMax };
  const levels = spacing === "karras" ? karrasSigmas({ ...range, rho }) : exponentialSigmas(range);
  return {
    timesteps: levels.map((sigma) => Math.log(sigma) / 4),
    sigmas: Float64Array.of(...levels, finalSigma === "zero" ? 0 : levels[steps - 1]),
    initialNoise: Math.hypot(sigmaMax, 1),
  };
}
