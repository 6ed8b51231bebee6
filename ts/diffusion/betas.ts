// Beta schedules: the variance of the noise that each step of the forward process adds, in float64.

import { ArgumentError } from "../errors/index.ts";
import { linearGrid } from "./grids/linear-grid.ts";

/** Schedules that go from betaStart to betaEnd; names as diffusers writes them in `beta_schedule`. */
export type BetaRange = "linear" | "scaled_linear" | "sigmoid";

/** Schedules that follow from a curve of alphaBar; names as diffusers writes them in `beta_schedule`. */
export type AlphaBarCurve = "squaredcos_cap_v2" | "exp" | "laplace";

/** No step may take away more than this much of the variance: the cap of `squaredcos_cap_v2`. */
const largestBeta = 0.999;

const ranges: Readonly<Record<BetaRange, (start: number, end: number, steps: number) => Float64Array>> = {
  /** Ho et al. 2020, section 4. */
  linear: linearGrid,
  /** Rombach et al. 2022 (latent diffusion): linear in sqrt(beta). */
  scaled_linear: (start, end, steps) => linearGrid(Math.sqrt(start), Math.sqrt(end), steps).map((root) => root ** 2),
  /** Xu et al. 2022 (GeoDiff): a sigmoid from -6 to 6. */
  sigmoid: (start, end, steps) => linearGrid(-6, 6, steps).map((x) => start + (end - start) / (1 + Math.exp(-x))),
};

/** alphaBar of a time from 0 to 1. */
const curves: Readonly<Record<AlphaBarCurve, (time: number) => number>> = {
  /** Nichol & Dhariwal 2021, eq. 17. */
  squaredcos_cap_v2: (time) => Math.cos((((time + 0.008) / 1.008) * Math.PI) / 2) ** 2,
  exp: (time) => Math.exp(-12 * time),
  /** Hang et al. 2024: log SNR follows a Laplace distribution around time 1/2. */
  laplace: (time) => {
    const logSnr = (time <= 0.5 ? -0.5 : 0.5) * Math.log(1 - 2 * Math.abs(0.5 - time) + 1e-6);
    return 1 / Math.sqrt(1 + Math.exp(-logSnr));
  },
};

/** Whether a schedule is given by where it starts and ends. */
export function isBetaRange(schedule: string): schedule is BetaRange {
  return Object.hasOwn(ranges, schedule);
}

/** Whether a schedule is given by a curve of alphaBar. */
export function isAlphaBarCurve(schedule: string): schedule is AlphaBarCurve {
  return Object.hasOwn(curves, schedule);
}

/** beta_t from `start` to `end`. */
export function betasOfRange(schedule: BetaRange, start: number, end: number, steps: number): Float64Array {
  return ranges[schedule](start, end, steps);
}

/** beta_t = 1 - alphaBar((t + 1) / T) / alphaBar(t / T), at most 0.999 (diffusers: betas_for_alpha_bar). */
export function betasOfCurve(curve: AlphaBarCurve, steps: number): Float64Array {
  const alphaBar = curves[curve];
  return Float64Array.from({ length: steps }, (_, t) =>
    Math.min(1 - alphaBar((t + 1) / steps) / alphaBar(t / steps), largestBeta),
  );
}

/**
 * Lin et al. 2024, algorithm 1 (diffusers: rescale_zero_terminal_snr): shifts and scales sqrt(alphaBar) so that the last
 * is 0, x_T being noise alone, and the first stays. The last beta becomes 1.
 */
export function rescaleZeroTerminalSnr(betas: Float64Array): Float64Array {
  let product = 1;
  const roots = betas.map((beta) => Math.sqrt((product *= 1 - beta)));
  const [first, last] = [roots[0], roots[roots.length - 1]];
  if (!(first > last))
    throw new ArgumentError({
      op: "NoiseSchedule",
      problem: `${betas.length === 1 ? "one step" : "these betas"} cannot be rescaled to zero terminal SNR: alphaBar does not fall.`,
      advice: "Rescaling keeps the first alphaBar and brings the last to 0, which takes two steps or more.",
    });
  const alphaBar = roots.map((root) => (((root - last) * first) / (first - last)) ** 2);
  return alphaBar.map((now, t) => 1 - (t === 0 ? now : now / alphaBar[t - 1]));
}
