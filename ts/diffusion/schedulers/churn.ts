// Noise that samplers add on the way, so that errors of earlier steps are forgotten (Karras et al. 2022, algorithm 2).

import { ArgumentError } from "../../errors/index.ts";
import type { LinearForm } from "../solver/linear-form.ts";
import { noise, x } from "../solver/solver-call.ts";

/** How much noise is added before a step. */
export interface Churn {
  /** S_churn: sigma is raised by the factor 1 + min(churn / steps, sqrt(2) - 1). Default 0. */
  readonly churn?: number;
  /** S_tmin: only where sigma is at least this. Default 0. */
  readonly churnMin?: number;
  /** S_tmax: only where sigma is at most this. Default none. */
  readonly churnMax?: number;
  /** S_noise: standard deviation of the noise that is added. Default 1. */
  readonly churnNoise?: number;
}

/** Refuses numbers that no churn has. */
export function expectChurn(op: string, { churn = 0, churnMin = 0, churnMax = Infinity, churnNoise = 1 }: Churn): void {
  for (const [name, value] of Object.entries({ churn, churnMin, churnMax, churnNoise }))
    if (!(value >= 0)) throw new ArgumentError({ op, problem: `${name} is ${value}, expected a number >= 0.` });
}

/** The raised sigma, and the standard deviation of the noise that raises it. */
export function raised(
  sigma: number,
  churn: Churn,
  steps: number,
): { readonly sigmaHat: number; readonly deviation: number } {
  const { churnMin = 0, churnMax = Infinity, churnNoise = 1 } = churn;
  const isIn = churnMin <= sigma && sigma <= churnMax;
  const gamma = isIn ? Math.min((churn.churn ?? 0) / steps, Math.SQRT2 - 1) : 0;
  const sigmaHat = sigma * (1 + gamma);
  return { sigmaHat, deviation: churnNoise * Math.sqrt(sigmaHat ** 2 - sigma ** 2) };
}

/** The raised sigma, and x with noise up to it. */
export function churned(
  sigma: number,
  churn: Churn,
  steps: number,
): { readonly sigmaHat: number; readonly xHat: LinearForm } {
  const { sigmaHat, deviation } = raised(sigma, churn, steps);
  return { sigmaHat, xHat: x.plus(noise.times(deviation)) };
}
