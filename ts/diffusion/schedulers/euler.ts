// EulerDiscreteScheduler and its ancestral sister: Euler's method on the probability-flow ODE of Karras et al. 2022.

import type { LinearForm } from "../solver/linear-form.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { noise, output, predictedX0, x } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions } from "./beta-scheduler.ts";
import type { Churn } from "./churn.ts";
import { churned, expectChurn } from "./churn.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { explodingLevel, inputScaleOf } from "./levels.ts";

const definition = defineScheduler({
  name: "EulerDiscreteScheduler",
  defaults: {
    ...betaDefaults,
    predictionType: "epsilon",
    interpolationType: "linear",
    useKarrasSigmas: false,
    useExponentialSigmas: false,
    useBetaSigmas: false,
    sigmaMin: null,
    sigmaMax: null,
    timestepSpacing: "linspace",
    timestepType: "discrete",
    stepsOffset: 0,
    rescaleBetasZeroSnr: false,
    finalSigmasType: "zero",
  },
  choices: { predictionType: predictions },
});

/** Options of `EulerDiscreteScheduler`. */
export type EulerOptions = OptionsOf<typeof definition>;

/** What a run of Euler's method may be given. */
export interface EulerRun extends SolverRun, Churn {}

/**
 * x' = x + (sigma' - sigma) (x - x0) / sigma (Karras et al. 2022, algorithm 1 without its correction), with noise of
 * `churn` added before. As in diffusers, the network is called before that noise comes, and v-prediction takes x0 at the
 * noise level without it.
 */
export class EulerDiscreteScheduler extends BetaScheduler<keyof typeof definition.defaults, EulerRun> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: EulerOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: EulerRun): Trajectory {
    expectChurn(this.name, run);
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) => this.call(t, sigmas![i], sigmas![i + 1], run, timesteps.length));
    return { calls: calls.slice(run.begin), initialNoise, end: explodingLevel(sigmas!.at(-1)!) };
  }

  private call(t: number, sigma: number, next: number, run: EulerRun, steps: number): SolverCall {
    const level = explodingLevel(sigma);
    const inputScale = inputScaleOf(sigma);
    const { sigmaHat, xHat } = churned(sigma, run, steps);
    const x0 = this.x0(sigma, sigmaHat, xHat);
    const derivative = xHat.minus(x0).over(sigmaHat);
    return { t, level, inputScale, x0, next: { x: xHat.plus(derivative.times(next - sigmaHat)) } };
  }

  private x0(sigma: number, sigmaHat: number, xHat: LinearForm): LinearForm {
    if (this.options.predictionType === "epsilon") return xHat.minus(output.times(sigmaHat));
    const form = predictedX0(this.at({ signal: 1, noise: sigma }));
    return xHat.times(form.coefficient("x")).plus(output.times(form.coefficient("output")));
  }
}

const ancestralDefinition = defineScheduler({
  name: "EulerAncestralDiscreteScheduler",
  defaults: {
    ...betaDefaults,
    predictionType: "epsilon",
    timestepSpacing: "linspace",
    stepsOffset: 0,
    rescaleBetasZeroSnr: false,
  },
  choices: { predictionType: predictions },
});

/** Options of `EulerAncestralDiscreteScheduler`. */
export type EulerAncestralOptions = OptionsOf<typeof ancestralDefinition>;

/**
 * How a step from sigma to `next` is made of the ODE down to less noise, and noise of deviation `up` back, as much as DDPM
 * adds: up^2 = next^2 (sigma^2 - next^2) / sigma^2, down^2 = next^2 - up^2.
 */
export function ancestral(sigma: number, next: number): { readonly down: number; readonly up: number } {
  const up = (next / sigma) * Math.sqrt(sigma ** 2 - next ** 2);
  return { down: Math.sqrt(next ** 2 - up ** 2), up };
}

/** Euler's method to sigmaDown < sigma', and then noise of deviation sigmaUp back to sigma', see `ancestral`. */
export class EulerAncestralDiscreteScheduler extends BetaScheduler<keyof typeof ancestralDefinition.defaults> {
  /** @internal */
  static readonly definition = ancestralDefinition;

  constructor(options: EulerAncestralOptions = {}) {
    super(ancestralDefinition, options);
  }

  protected trajectory(run: SolverRun): Trajectory {
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) => this.call(t, sigmas![i], sigmas![i + 1]));
    return { calls: calls.slice(run.begin), initialNoise, end: explodingLevel(sigmas!.at(-1)!) };
  }

  private call(t: number, sigma: number, next: number): SolverCall {
    const level = explodingLevel(sigma);
    const inputScale = inputScaleOf(sigma);
    const { up, down } = ancestral(sigma, next);
    const x0 = predictedX0(this.at(level));
    const derivative = x.minus(x0).over(sigma);
    return {
      t,
      level,
      inputScale,
      x0,
      next: { x: x.plus(derivative.times(down - sigma)).plus(noise.times(up)) },
    };
  }
}
