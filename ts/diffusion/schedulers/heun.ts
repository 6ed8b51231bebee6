// HeunDiscreteScheduler: Heun's method on the probability-flow ODE, two calls of the network for a step.

import type { SolverCall } from "../solver/solver-call.ts";
import { predictedX0, x, x0At } from "../solver/solver-call.ts";
import { LinearForm } from "../solver/linear-form.ts";
import { BetaScheduler, betaDefaults, predictions } from "./beta-scheduler.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { explodingLevel, inputScaleOf } from "./levels.ts";

const definition = defineScheduler({
  name: "HeunDiscreteScheduler",
  defaults: {
    ...betaDefaults,
    betaStart: 0.00085,
    betaEnd: 0.012,
    predictionType: "epsilon",
    useKarrasSigmas: false,
    useExponentialSigmas: false,
    useBetaSigmas: false,
    clipSample: false,
    clipSampleRange: 1,
    timestepSpacing: "linspace",
    stepsOffset: 0,
  },
  choices: { predictionType: predictions },
});

/** Options of `HeunDiscreteScheduler`. */
export type HeunOptions = OptionsOf<typeof definition>;

/** x and its derivative at the start of the step. */
const start = LinearForm.of("start");
const slope = LinearForm.of("slope");

/**
 * Karras et al. 2022, algorithm 1: Euler's method to sigma', and then again with the mean of the derivatives
 * (x - x0) / sigma at both ends. The last step, to sigma = 0, is Euler's.
 */
export class HeunDiscreteScheduler extends BetaScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: HeunOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: SolverRun): Trajectory {
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) =>
      i % 2 === 0 ? this.predict(t, sigmas![i], sigmas![i + 1]) : this.correct(t, sigmas![i - 1], sigmas![i]),
    );
    return { calls: calls.slice(2 * (run.begin ?? 0)), initialNoise, end: explodingLevel(sigmas!.at(-1)!) };
  }

  private predict(t: number, sigma: number, next: number): SolverCall {
    const call = this.callAt(t, sigma);
    const moved = x.plus(call.derivative.times(next - sigma));
    return { ...call, next: { x: moved, start: x, slope: call.derivative } };
  }

  private correct(t: number, sigma: number, next: number): SolverCall {
    const call = this.callAt(t, next);
    const mean = slope.plus(call.derivative).times(0.5);
    return { ...call, next: { x: start.plus(mean.times(next - sigma)) } };
  }

  private callAt(t: number, sigma: number): Omit<SolverCall, "next"> & { readonly derivative: LinearForm } {
    const level = explodingLevel(sigma);
    const inputScale = inputScaleOf(sigma);
    const at = this.at(level);
    return { t, level, inputScale, x0: predictedX0(at), derivative: x.minus(x0At(at)).over(sigma) };
  }
}
