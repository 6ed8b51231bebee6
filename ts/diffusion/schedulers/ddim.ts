// DDIMScheduler: the deterministic and partly stochastic samplers of Song et al. 2021.

import { ArgumentError } from "../../errors/index.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { epsilonAt, noise, predictedEpsilon, predictedX0, x0At } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions, thresholdDefaults } from "./beta-scheduler.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { alphaBarLevel } from "./levels.ts";

const definition = defineScheduler({
  name: "DDIMScheduler",
  defaults: {
    ...betaDefaults,
    clipSample: true,
    setAlphaToOne: true,
    stepsOffset: 0,
    predictionType: "epsilon",
    ...thresholdDefaults,
    clipSampleRange: 1,
    timestepSpacing: "leading",
    rescaleBetasZeroSnr: false,
  },
  choices: { predictionType: predictions },
});

/** Options of `DDIMScheduler`. */
export type DDIMOptions = OptionsOf<typeof definition>;

/** What a run of DDIM may be given. */
export interface DDIMRun extends SolverRun {
  /** How much noise is added again: 0 for none (DDIM), 1 for as much as DDPM adds. Default 0. */
  readonly eta?: number;
  /**
   * Derive epsilon from the limited x0, as in GLIDE (diffusers' `use_clipped_model_output`). Default false. Where guidance is
   * strong either set it or leave `clipSample` off: an epsilon that was not limited goes with another x0, and pictures keep noise.
   */
  readonly useClippedModelOutput?: boolean;
}

/**
 * Song et al. 2021, eq. 12, from t to s = t - T // n whatever the timesteps are spaced like:
 * x_s = sqrt(alphaBar_s) x0 + sqrt(1 - alphaBar_s - sigma^2) epsilon + sigma z,
 * sigma = eta sqrt((1 - alphaBar_s) / (1 - alphaBar_t)) sqrt(1 - alphaBar_t / alphaBar_s) (eq. 16).
 */
export class DDIMScheduler extends BetaScheduler<keyof typeof definition.defaults, DDIMRun> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: DDIMOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: DDIMRun): Trajectory {
    const { eta = 0 } = run;
    if (!(eta >= 0 && eta <= 1))
      throw new ArgumentError({ op: this.name, problem: `eta is ${eta}, expected a number from 0 to 1.` });
    const { timesteps, initialNoise } = this.grid(run);
    const apart = Math.floor(this.schedule.steps / timesteps.length);
    const calls = Array.from(timesteps, (t) => this.call(t, t - apart, run));
    return {
      calls: calls.slice(run.begin),
      initialNoise,
      end: alphaBarLevel(this.alphaBarAt(timesteps.at(-1)! - apart)),
    };
  }

  private call(t: number, next: number, { eta = 0, useClippedModelOutput = false }: DDIMRun): SolverCall {
    const { alphaBar } = this.schedule;
    const now = alphaBar[t];
    const then = this.alphaBarAt(next);
    const level = alphaBarLevel(now);
    const at = this.at(level);
    const epsilon = useClippedModelOutput ? epsilonAt(at) : predictedEpsilon(at);
    const deviation = eta * Math.sqrt(((1 - then) / (1 - now)) * (1 - now / then));
    const moved = x0At(at)
      .times(Math.sqrt(then))
      .plus(epsilon.times(Math.sqrt(Math.max(0, 1 - then - deviation ** 2))))
      .plus(noise.times(deviation));
    return { t, level, x0: predictedX0(at), next: { x: moved } };
  }
}
