// DDIMInverseScheduler: DDIM run backwards, from a picture to the noise that DDIM makes it from (Song et al. 2021, section 4.3).

import { ArgumentError } from "../../errors/index.ts";
import type { SamplingGrid } from "../grids/sampling-grid.ts";
import { timestepGrid } from "../grids/timestep-grid.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { predictedEpsilon, predictedX0, x0At } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions } from "./beta-scheduler.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { alphaBarLevel } from "./levels.ts";

const definition = defineScheduler({
  name: "DDIMInverseScheduler",
  defaults: {
    ...betaDefaults,
    clipSample: true,
    setAlphaToOne: true,
    stepsOffset: 0,
    predictionType: "epsilon",
    clipSampleRange: 1,
    timestepSpacing: "leading",
    rescaleBetasZeroSnr: false,
  },
  choices: { predictionType: predictions, timestepSpacing: ["leading", "trailing"] },
});

/** Options of `DDIMInverseScheduler`. */
export type DDIMInverseOptions = OptionsOf<typeof definition>;

/** What a run of DDIM's inversion may be given: a number of steps. */
export interface DDIMInverseRun extends SolverRun {
  readonly timesteps?: undefined;
  readonly sigmas?: undefined;
}

/**
 * DDIM's step (eq. 12, without noise) from s = t - T // n up to t, for the same timesteps as DDIM's in ascending order:
 * x_t = sqrt(alphaBar_t) x0 + sqrt(1 - alphaBar_t) epsilon. A run starts from pictures, which are x at the first s, and
 * not from noise. Both predictions are for x_s; as in diffusers the network is told t, where DDIM asks it on the way back.
 * Clipping, which is on by default, cannot be undone: switch it off in both.
 */
export class DDIMInverseScheduler extends BetaScheduler<keyof typeof definition.defaults, DDIMInverseRun> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: DDIMInverseOptions = {}) {
    super(definition, options);
  }

  /** The timesteps and sigmas of all calls; see `Scheduler.grid`. */
  override grid({ steps, timesteps, sigmas }: SolverRun): SamplingGrid {
    if (timesteps !== undefined || sigmas !== undefined)
      throw new ArgumentError({
        op: this.name,
        problem: `${timesteps === undefined ? "sigmas" : "timesteps"} are given.`,
        advice: "It goes up the timesteps of DDIM; give a number of steps.",
      });
    const { timestepSpacing: spacing, stepsOffset: offset } = this.options;
    const { steps: trainSteps } = this.schedule;
    const grid = timestepGrid({ steps: steps ?? NaN, trainSteps, spacing, offset });
    return { timesteps: grid.reverse(), initialNoise: 1 };
  }

  protected trajectory(run: DDIMInverseRun): Trajectory {
    const { timesteps, initialNoise } = this.grid(run);
    const apart = Math.floor(this.schedule.steps / timesteps.length);
    const calls = Array.from(timesteps, (t) => this.call(t - apart, t));
    return { calls: calls.slice(run.begin), initialNoise, end: alphaBarLevel(this.alphaBarAt(timesteps.at(-1)!)) };
  }

  private call(from: number, t: number): SolverCall {
    const level = alphaBarLevel(this.alphaBarAt(from));
    if (level.noise === 0 && this.options.predictionType === "sample")
      throw new ArgumentError({
        op: this.name,
        problem: `predictionType is "sample", and x0 as the prediction for a picture without noise does not say which noise to add.`,
        advice: "With setAlphaToOne: false a run starts at the first noise level of training.",
      });
    const target = alphaBarLevel(this.alphaBarAt(t));
    const at = this.at(level);
    const moved = x0At(at).times(target.signal).plus(predictedEpsilon(at).times(target.noise));
    return { t, level, x0: predictedX0(at), next: { x: moved } };
  }
}
