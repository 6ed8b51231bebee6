// KDPM2DiscreteScheduler and its ancestral sister: the midpoint rule on the probability-flow ODE, two calls for a step.

import type { SamplingGrid } from "../grids/sampling-grid.ts";
import { timestepsOfSigmas } from "../grids/sigma-grid.ts";
import { LinearForm } from "../solver/linear-form.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { noise, predictedX0, x } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions } from "./beta-scheduler.ts";
import { ancestral } from "./euler.ts";
import type { OptionName, OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { explodingLevel, inputScaleOf } from "./levels.ts";

const defaults = {
  ...betaDefaults,
  betaStart: 0.00085,
  betaEnd: 0.012,
  useKarrasSigmas: false,
  useExponentialSigmas: false,
  useBetaSigmas: false,
  predictionType: "epsilon",
  timestepSpacing: "linspace",
  stepsOffset: 0,
} as const;

const choices = { predictionType: predictions } as const;
const definition = defineScheduler({ name: "KDPM2DiscreteScheduler", defaults, choices });
const ancestralDefinition = defineScheduler({ name: "KDPM2AncestralDiscreteScheduler", defaults, choices });

/** Options of `KDPM2DiscreteScheduler`. */
export type KDPM2Options = OptionsOf<typeof definition>;
/** Options of `KDPM2AncestralDiscreteScheduler`. */
export type KDPM2AncestralOptions = OptionsOf<typeof ancestralDefinition>;

/** x at the start of the step. */
const start = LinearForm.of("start");

/** Where a step goes by the ODE, and the noise that is added there. */
interface Target {
  readonly down: number;
  readonly up: number;
}

/**
 * x' = x + (sigma' - sigma) d, d the derivative (x - x0) / sigma at the sigma in the middle of the logarithms, which Euler's
 * method goes to. The last step, to sigma 0, is Euler's.
 */
abstract class MidpointScheduler<K extends OptionName> extends BetaScheduler<K> {
  /** Where a step from sigma to `next` goes. */
  protected abstract target(sigma: number, next: number): Target;

  /** The timesteps and sigmas of all calls; see `Scheduler.grid`. */
  override grid(run: SolverRun): SamplingGrid {
    const { timesteps, sigmas: ends, initialNoise } = super.grid(run);
    const middles = Float64Array.from(ends!.slice(0, -2), (sigma, i) =>
      middleOf(sigma, this.target(sigma, ends![i + 1])),
    );
    const between = timestepsOfSigmas(middles, this.schedule.noiseToSignal());
    return {
      timesteps: interleaved(timesteps, between),
      sigmas: Float64Array.of(...interleaved(ends!.subarray(0, -1), middles), ends!.at(-1)!),
      initialNoise,
    };
  }

  protected trajectory(run: SolverRun): Trajectory {
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) =>
      i % 2 === 0 ? this.predict(t, sigmas![i], sigmas![i + 1]) : this.correct(t, sigmas!.subarray(i - 1, i + 2)),
    );
    return { calls: calls.slice(2 * (run.begin ?? 0)), initialNoise, end: explodingLevel(sigmas!.at(-1)!) };
  }

  private predict(t: number, sigma: number, middle: number): SolverCall {
    const call = this.callAt(t, sigma);
    return { ...call, next: { x: x.plus(call.derivative.times(middle - sigma)), start: x } };
  }

  private correct(t: number, [sigma, middle, next]: Float64Array): SolverCall {
    const { down, up } = this.target(sigma, next);
    const call = this.callAt(t, middle);
    return { ...call, next: { x: start.plus(call.derivative.times(down - sigma)).plus(noise.times(up)) } };
  }

  private callAt(t: number, sigma: number): Omit<SolverCall, "next"> & { readonly derivative: LinearForm } {
    const level = explodingLevel(sigma);
    const x0 = predictedX0(this.at(level));
    return { t, level, inputScale: inputScaleOf(sigma), x0, derivative: x.minus(x0).over(sigma) };
  }
}

/** The second order of DPM-Solver (Lu et al. 2022, algorithm 1) as k-diffusion has it: Karras et al. 2022's ODE by the midpoint rule. */
export class KDPM2DiscreteScheduler extends MidpointScheduler<keyof typeof defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: KDPM2Options = {}) {
    super(definition, options);
  }

  protected target(_sigma: number, next: number): Target {
    return { down: next, up: 0 };
  }
}

/** The same to sigmaDown < sigma', and then noise back to sigma', as in `EulerAncestralDiscreteScheduler`. */
export class KDPM2AncestralDiscreteScheduler extends MidpointScheduler<keyof typeof defaults> {
  /** @internal */
  static readonly definition = ancestralDefinition;

  constructor(options: KDPM2AncestralOptions = {}) {
    super(ancestralDefinition, options);
  }

  protected target(sigma: number, next: number): Target {
    return ancestral(sigma, next);
  }
}

/** The sigma in the middle of ln sigma on the way by the ODE. */
function middleOf(sigma: number, { down }: Target): number {
  return Math.sqrt(sigma * down);
}

/** a_0, b_0, a_1, b_1, ..., of which b is shorter by one. */
function interleaved(a: Float64Array, b: Float64Array): Float64Array {
  return Float64Array.from({ length: a.length + b.length }, (_, i) => (i % 2 === 0 ? a : b)[Math.floor(i / 2)]);
}
