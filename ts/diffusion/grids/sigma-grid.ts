// Grids of noise levels sigma that samplers step through, each a function, in float64; and where sigmas lie in training.

import { ArgumentError } from "../../errors/index.ts";
import { betaQuantile } from "../beta-distribution.ts";
import { linearGrid } from "./linear-grid.ts";

/** Number of levels and the range they span. */
export interface SigmaRange {
  /** Number of levels, sigma 0 at the end not among them. */
  readonly steps: number;
  /** The last and least level. */
  readonly sigmaMin: number;
  /** The first and greatest level. */
  readonly sigmaMax: number;
}

/**
 * Karras et al. 2022, eq. 5: evenly spaced in sigma^(1 / rho), from sigmaMax down to sigmaMin. With rho 7 this is
 * diffusers' `use_karras_sigmas`, and the grid of the EDM schedulers.
 */
export function karrasSigmas({ rho = 7, ...range }: SigmaRange & { readonly rho?: number }): Float64Array {
  const { steps, sigmaMin, sigmaMax } = expectRange("karrasSigmas", range);
  const [least, greatest] = [sigmaMin ** (1 / rho), sigmaMax ** (1 / rho)];
  return linearGrid(0, 1, steps).map((ramp) => (greatest + ramp * (least - greatest)) ** rho);
}

/**
 * Evenly spaced in ln sigma (diffusers' `use_exponential_sigmas`). Lu et al. 2022 space lambda = -ln sigma evenly, which
 * is the same grid: diffusers' `use_lu_lambdas`.
 */
export function exponentialSigmas(range: SigmaRange): Float64Array {
  const { steps, sigmaMin, sigmaMax } = expectRange("exponentialSigmas", range);
  return linearGrid(Math.log(sigmaMax), Math.log(sigmaMin), steps).map(Math.exp);
}

/** Lee et al. 2024: quantiles of the beta distribution, dense at both ends (diffusers' `use_beta_sigmas`). */
export function betaSigmas(
  { alpha = 0.6, beta = 0.6, ...range }: SigmaRange & { readonly alpha?: number; readonly beta?: number }, // prettier-ignore
): Float64Array {
  const { steps, sigmaMin, sigmaMax } = expectRange("betaSigmas", range);
  return linearGrid(0, 1, steps).map((ramp) => sigmaMin + betaQuantile(1 - ramp, alpha, beta) * (sigmaMax - sigmaMin));
}

/** Esser et al. 2024, eq. 23: times of flow matching moved towards noise, shift t / (1 + (shift - 1) t). */
export function shiftTimes(times: Float64Array, shift: number): Float64Array {
  if (!(shift > 0))
    throw new ArgumentError({ op: "shiftTimes", problem: `shift is ${shift}, expected a positive number.` });
  return times.map((t) => (shift * t) / (1 + (shift - 1) * t));
}

/** Stretches times so that the last is `terminal` (diffusers' `shift_terminal`). */
export function stretchTimes(times: Float64Array, terminal: number): Float64Array {
  const last = times[times.length - 1];
  if (!(last < 1) || !(terminal > 0 && terminal < 1))
    throw new ArgumentError({
      op: "stretchTimes",
      problem: `times that end at ${last} cannot be stretched to end at ${terminal}.`,
      advice: "Both must be below 1, and the new end above 0.",
    });
  const scale = (1 - last) / (1 - terminal);
  return times.map((t) => 1 - (1 - t) / scale);
}

/** The value of a table at fractional indexes, linear between entries and constant beyond the ends (numpy.interp). */
export function interpolate(table: Float64Array, indexes: Float64Array): Float64Array {
  const last = table.length - 1;
  return indexes.map((index) => {
    const at = Math.min(Math.max(index, 0), last);
    const low = Math.min(Math.floor(at), Math.max(last - 1, 0));
    return at === low ? table[low] : table[low] + (table[low + 1] - table[low]) * (at - low);
  });
}

/**
 * The fractional training timesteps at which sigmas lie, linear in ln sigma between those of training and bounded by their
 * ends (diffusers: _sigma_to_t). `trainSigmas` ascend, except that a rescaled schedule's last may be below the ones before.
 */
export function timestepsOfSigmas(sigmas: Float64Array, trainSigmas: Float64Array): Float64Array {
  const logs = trainSigmas.map(Math.log);
  return sigmas.map((sigma) => {
    const logSigma = Math.log(Math.max(sigma, 1e-10));
    const low = Math.min(Math.max(logs.findLastIndex((log) => log <= logSigma), 0), logs.length - 2); // prettier-ignore
    const share = Math.min(Math.max((logs[low] - logSigma) / (logs[low] - logs[low + 1]), 0), 1);
    return (1 - share) * low + share * (low + 1);
  });
}

function expectRange(op: string, range: SigmaRange): SigmaRange {
  const { steps, sigmaMin, sigmaMax } = range;
  if (!Number.isInteger(steps) || steps < 1)
    throw new ArgumentError({ op, problem: `steps is ${steps}, expected an integer >= 1.` });
  if (!(sigmaMin > 0 && sigmaMin <= sigmaMax && sigmaMax < Infinity))
    throw new ArgumentError({
      op,
      problem: `sigmas go from ${sigmaMax} down to ${sigmaMin}, expected 0 < sigmaMin <= sigmaMax.`,
    });
  return range;
}
