// The sampler of EDM (Karras et al. 2022, algorithms 1 and 2) for networks of any preconditioning, along any of its paths.

import { ArgumentError } from "../errors/index.ts";
import { tensor } from "../tensor/tensor.ts";
import { outsideRecording } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import { iddpmLevels } from "./grids/iddpm-levels.ts";
import { linearGrid, roundHalfToEven } from "./grids/linear-grid.ts";
import { exponentialSigmas, karrasSigmas } from "./grids/sigma-grid.ts";
import type { Preconditioning, PreconditioningFactors } from "./preconditioning.ts";
import { preconditioningTable } from "./preconditioning.ts";
import type { Churn } from "./schedulers/churn.ts";
import { expectChurn, raised } from "./schedulers/churn.ts";
import { LinearForm } from "./solver/linear-form.ts";
import type { SolverCall } from "./solver/solver-call.ts";
import { output, x } from "./solver/solver-call.ts";
import { Solver } from "./solver/solver.ts";
import { VariancePreservingTime } from "./variance-preserving-time.ts";

/** Where the noise levels lie: as EDM has them, or as the methods that it compares with have. */
export type EdmDiscretization = "edm" | "vp" | "ve" | "iddpm";

/** How the sampler of EDM goes. */
export interface EdmSamplerOptions extends Churn {
  /** The network's preconditioning. */
  readonly preconditioning: Preconditioning;
  /** Number of steps, at least 2. */
  readonly steps: number;
  /** Heun's method, two calls for a step but for the last, or Euler's. Default "heun". */
  readonly method?: "heun" | "euler";
  /** Where Heun's method looks, as a share of the step: 1 for its end, 1/2 for the midpoint rule. Default 1. */
  readonly alpha?: number;
  /** Where the noise levels lie. Default "edm". */
  readonly discretization?: EdmDiscretization;
  /** What time is: sigma itself, or that of the variance-preserving or the variance-exploding SDE. Default "linear". */
  readonly schedule?: "linear" | "vp" | "ve";
  /** Scale x with sigma, so that its variance is preserved. Default "none". */
  readonly scaling?: "none" | "vp";
  /** Least sigma. Default that of the discretization, within what the network knows. */
  readonly sigmaMin?: number;
  /** Greatest sigma. */
  readonly sigmaMax?: number;
  /** Exponent of "edm". Default 7. */
  readonly rho?: number;
}

/** sigma(t) of a path and s(t), what x is scaled by, with their derivatives. */
interface Path {
  sigma(t: number): number;
  sigmaSlope(t: number): number;
  timeOf(sigma: number): number;
  scale(t: number): number;
  scaleSlope(t: number): number;
}

/** The range of each discretization; that of VP is of times. */
const leastVpTime = 1e-3;
const standardVp = new VariancePreservingTime(19.9, 0.1);
const ranges: Readonly<Record<EdmDiscretization, readonly [least: number, greatest: number]>> = {
  edm: [0.002, 80],
  vp: [standardVp.sigma(leastVpTime), standardVp.sigma(1)],
  ve: [0.02, 100],
  iddpm: [0.002, 81],
};

const start = LinearForm.of("start");
const slope = LinearForm.of("slope");

/**
 * Solves dx/dt = (sigma'/sigma + s'/s) x - (s sigma'/sigma) D(x / s; sigma) (eq. 4 with D for the score) from noise to sigma
 * = 0, with `churn` as in algorithm 2. The network's output is F; `level` and x are scaled by s(t).
 *
 * ```ts
 * edmSampler({ preconditioning: edmPreconditioning(), steps: 18 }); // 35 calls
 * ```
 */
export function edmSampler(options: EdmSamplerOptions): Solver {
  const { steps, alpha = 1, method = "heun", preconditioning } = options;
  expectChurn("edmSampler", options);
  if (!Number.isInteger(steps) || steps < 2)
    throw new ArgumentError({ op: "edmSampler", problem: `steps is ${steps}, expected an integer >= 2.` });
  if (!(alpha > 0 && alpha <= 1))
    throw new ArgumentError({ op: "edmSampler", problem: `alpha is ${alpha}, expected a number above 0, at most 1.` });
  const { levels, path } = levelsAndPath(options);
  const times = [...levels.map((sigma) => path.timeOf(sigma)), 0];
  const hats = levels.map((sigma) => raisedTime(sigma, path, options));
  // x is scaled for the raised sigma of each step where the step before ends.
  const rescale = hats.map(({ time }, i) => path.scale(time) / path.scale(times[i]));
  const calls = hats.flatMap((hat, i): SolverCall[] => {
    const h = times[i + 1] - hat.time;
    const ending = rescale[i + 1] ?? 1;
    const first = callAt(hat, path, preconditioning);
    if (method === "euler" || i === steps - 1)
      return [{ ...first.call, next: { x: x.plus(first.derivative.times(h)).times(ending) } }];
    const time = hat.time + alpha * h;
    const second = callAt({ time, sigma: path.sigma(time), added: 0 }, path, preconditioning);
    const mean = slope.times(1 - 1 / (2 * alpha)).plus(second.derivative.times(1 / (2 * alpha)));
    const looked = x.plus(first.derivative.times(alpha * h));
    return [
      { ...first.call, next: { x: looked, start: x, slope: first.derivative } },
      { ...second.call, next: { x: start.plus(mean.times(h)).times(ending) } },
    ];
  });
  const initialNoise = levels[0] * path.scale(times[0]) * rescale[0];
  return new Solver({ name: "edmSampler", calls, initialNoise, end: { signal: 1, noise: 0 } });
}

/** Where the network is called. */
interface Place {
  /** The time at which it is. */
  readonly time: number;
  /** sigma of x as it comes there. */
  readonly sigma: number;
  /** Standard deviation of the noise that is added then, before x is scaled. */
  readonly added: number;
}

/** Where a step starts after noise raised its sigma to what the network knows. */
function raisedTime(sigma: number, path: Path, options: EdmSamplerOptions): Place {
  const { sigmaHat } = raised(sigma, options, options.steps);
  if (sigmaHat === sigma) return { time: path.timeOf(sigma), sigma, added: 0 };
  const [rounded] = roundedTo(options.preconditioning, [sigmaHat]);
  const { churnNoise = 1 } = options;
  return { time: path.timeOf(rounded), sigma, added: churnNoise * Math.sqrt(Math.max(0, rounded ** 2 - sigma ** 2)) };
}

/** The call of the network at a place, and the derivative of x there. */
function callAt(
  { time, sigma: before, added }: Place,
  path: Path,
  preconditioning: Preconditioning,
): { readonly call: Omit<SolverCall, "next">; readonly derivative: LinearForm } {
  const [sigma, scale] = [path.sigma(time), path.scale(time)];
  const { skip, out, input, noise } = factorsAt(preconditioning, sigma);
  const denoised = x.times(skip / scale).plus(output.times(out));
  const growth = path.sigmaSlope(time) / sigma;
  const derivative = x.times(growth + path.scaleSlope(time) / scale).minus(denoised.times(growth * scale));
  const level = { signal: scale, noise: scale * before };
  const call = { t: noise, level, inputScale: input / scale, churn: added * scale, x0: denoised };
  return { call, derivative };
}

function factorsAt(preconditioning: Preconditioning, sigma: number): PreconditioningFactors<number> {
  const { skip, out, input, noise } = preconditioningTable(preconditioning, [sigma]);
  return { skip: skip[0], out: out[0], input: input[0], noise: noise[0] };
}

/** The noise levels of all steps, as the network knows them, and the path that leads through them. */
function levelsAndPath(options: EdmSamplerOptions): { readonly levels: readonly number[]; readonly path: Path } {
  const { preconditioning, steps, discretization = "edm", schedule = "linear", scaling = "none", rho } = options;
  const [least, greatest] = ranges[discretization];
  const sigmaMin = Math.max(options.sigmaMin ?? least, preconditioning.sigmaMin);
  const sigmaMax = Math.min(options.sigmaMax ?? greatest, preconditioning.sigmaMax);
  const range = { steps, sigmaMin, sigmaMax };
  const vp = VariancePreservingTime.between(sigmaMin, sigmaMax, leastVpTime);
  const grids: Readonly<Record<EdmDiscretization, () => Float64Array>> = {
    edm: () => karrasSigmas({ ...range, rho }),
    vp: () => linearGrid(1, leastVpTime, steps).map((t) => vp.sigma(t)),
    ve: () => exponentialSigmas(range),
    iddpm: () => spread(iddpmLevels({}).filter((level) => level >= sigmaMin && level <= sigmaMax), steps), // prettier-ignore
  };
  const levels = roundedTo(preconditioning, grids[discretization]());
  return { levels, path: { ...timeOf(schedule, vp), ...scaleOf(scaling, timeOf(schedule, vp)) } };
}

/** So many of the levels, evenly by their number, both ends included. */
function spread(levels: Float64Array, steps: number): Float64Array {
  return linearGrid(0, levels.length - 1, steps).map((index) => levels[roundHalfToEven(index)]);
}

function roundedTo(preconditioning: Preconditioning, sigmas: ArrayLike<number>): number[] {
  return outsideRecording(() =>
    scope(() => preconditioning.round(tensor(Float64Array.from(sigmas), { dtype: "float64", device: "ts" })).toArray()),
  ) as number[];
}

type TimePath = Pick<Path, "sigma" | "sigmaSlope" | "timeOf">;

function timeOf(schedule: "linear" | "vp" | "ve", vp: VariancePreservingTime): TimePath {
  switch (schedule) {
    case "linear":
      return { sigma: (t) => t, sigmaSlope: () => 1, timeOf: (sigma) => sigma };
    case "ve":
      return { sigma: Math.sqrt, sigmaSlope: (t) => 0.5 / Math.sqrt(t), timeOf: (sigma) => sigma ** 2 };
    case "vp":
      return {
        sigma: (t) => vp.sigma(t),
        sigmaSlope: (t) => vp.slope(t),
        timeOf: (sigma) => vp.timeOf(sigma),
      };
  }
}

function scaleOf(scaling: "none" | "vp", { sigma, sigmaSlope }: TimePath): Pick<Path, "scale" | "scaleSlope"> {
  if (scaling === "none") return { scale: () => 1, scaleSlope: () => 0 };
  const scale = (t: number): number => 1 / Math.hypot(1, sigma(t));
  return { scale, scaleSlope: (t) => -sigma(t) * sigmaSlope(t) * scale(t) ** 3 };
}
