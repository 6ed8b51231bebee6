// LCMScheduler and TCDScheduler: few steps with networks that were distilled to jump along whole trajectories.

import { ArgumentError } from "../../errors/index.ts";
import type { SamplingGrid } from "../grids/sampling-grid.ts";
import { consistencyGrid } from "../grids/timestep-grid.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { noise, predictedEpsilon, predictedX0, x, x0At } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions, thresholdDefaults } from "./beta-scheduler.ts";
import type { OptionName, OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { alphaBarLevel } from "./levels.ts";

const defaults = {
  ...betaDefaults,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: "scaled_linear",
  originalInferenceSteps: 50,
  clipSample: false,
  clipSampleRange: 1,
  setAlphaToOne: true,
  stepsOffset: 0,
  predictionType: "epsilon",
  ...thresholdDefaults,
  timestepSpacing: "leading",
  timestepScaling: 10,
  rescaleBetasZeroSnr: false,
} as const;

const definition = defineScheduler({ name: "LCMScheduler", defaults, choices: { predictionType: predictions } });
const tcdDefinition = defineScheduler({ name: "TCDScheduler", defaults, choices: { predictionType: predictions } });

/** Options of `LCMScheduler`. */
export type LCMOptions = OptionsOf<typeof definition>;
/** Options of `TCDScheduler`. */
export type TCDOptions = OptionsOf<typeof tcdDefinition>;

/** What a run of a consistency model's sampler may be given. */
export interface ConsistencyRun extends SolverRun {
  /** Share of the way from the picture to noise that is gone, for a start from a picture. Default 1. */
  readonly strength?: number;
}

/** What a run of TCD may be given. */
export interface TCDRun extends ConsistencyRun {
  /** How much of each jump is noised again, from 0 for none to 1 (the paper's gamma). Default 0.3. */
  readonly eta?: number;
}

/** A sampler of a consistency model: a grid of the timesteps of its distillation. */
abstract class ConsistencyScheduler<K extends OptionName, R extends ConsistencyRun> extends BetaScheduler<K, R> {
  protected trajectory(run: R): Trajectory {
    const { timesteps, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) => this.call(t, timesteps.at(i + 1), run));
    return { calls: calls.slice(run.begin), initialNoise, end: alphaBarLevel(this.endAlphaBar) };
  }

  /** alphaBar after the last step. */
  protected abstract get endAlphaBar(): number;

  /** From t to the next timestep; undefined after the last. */
  protected abstract call(t: number, next: number | undefined, run: R): SolverCall;

  /** The timesteps of a run. */
  override grid({ steps, timesteps, strength }: R): SamplingGrid {
    const { steps: trainSteps } = this.schedule;
    if (timesteps === undefined) {
      const { originalInferenceSteps: originalSteps } = this.all;
      const grid = consistencyGrid({ steps: steps ?? NaN, trainSteps, originalSteps, strength });
      return { timesteps: grid, initialNoise: 1 };
    }
    const list = Float64Array.from(timesteps);
    const descends = list.every((t, i) => Number.isInteger(t) && t >= 0 && t < (i === 0 ? trainSteps : list[i - 1]));
    if (steps !== undefined || list.length === 0 || !descends)
      throw new ArgumentError({
        op: this.name,
        problem: `timesteps are [${list.join(", ")}]${steps === undefined ? "" : ` and steps is ${steps}`}.`,
        advice: `Expected integers that descend from below ${trainSteps} to 0, and no steps beside them.`,
      });
    return { timesteps: list, initialNoise: 1 };
  }
}

/**
 * Luo et al. 2023, algorithm 3: the consistency function cSkip x + cOut x0, noised again to the next timestep. With
 * s = timestepScaling t and sigmaData = 0.5: cSkip = sigmaData^2 / (s^2 + sigmaData^2), cOut = s / sqrt(s^2 + sigmaData^2).
 */
export class LCMScheduler extends ConsistencyScheduler<keyof typeof defaults, ConsistencyRun> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: LCMOptions = {}) {
    super(definition, options);
  }

  protected readonly endAlphaBar = 1;

  protected call(t: number, next: number | undefined): SolverCall {
    const { alphaBar } = this.schedule;
    const level = alphaBarLevel(alphaBar[t]);
    const at = this.at(level);
    const scaled = t * this.options.timestepScaling;
    const sigmaData = 0.5;
    const deviation = Math.hypot(scaled, sigmaData);
    const denoised = x0At(at)
      .times(scaled / deviation)
      .plus(x.times((sigmaData / deviation) ** 2));
    const x0 = predictedX0(at);
    if (next === undefined) return { t, level, x0, next: { x: denoised } };
    const { signal, noise: amount } = alphaBarLevel(alphaBar[next]);
    return { t, level, x0, next: { x: denoised.times(signal).plus(noise.times(amount)) } };
  }
}

/**
 * Zheng et al. 2024, algorithm 4: a jump to s = floor((1 - eta) t'), t' the next timestep, as DDIM goes, and noise from
 * there to t'. After the last step t' is 0.
 */
export class TCDScheduler extends ConsistencyScheduler<keyof typeof defaults, TCDRun> {
  /** @internal */
  static readonly definition = tcdDefinition;

  constructor(options: TCDOptions = {}) {
    super(tcdDefinition, options);
  }

  protected get endAlphaBar(): number {
    return this.schedule.alphaBar[0];
  }

  protected call(t: number, next: number | undefined, { eta = 0.3 }: TCDRun): SolverCall {
    if (!(eta >= 0 && eta <= 1))
      throw new ArgumentError({ op: this.name, problem: `eta is ${eta}, expected a number from 0 to 1.` });
    const { alphaBar } = this.schedule;
    const level = alphaBarLevel(alphaBar[t]);
    const at = this.at(level);
    const jump = alphaBar[Math.floor((1 - eta) * (next ?? 0))];
    const target = alphaBarLevel(jump);
    const jumped = predictedX0(at).times(target.signal).plus(predictedEpsilon(at).times(target.noise));
    const x0 = predictedX0(at);
    if (next === undefined || eta === 0) return { t, level, x0, next: { x: jumped } };
    const kept = alphaBar[next] / jump;
    return { t, level, x0, next: { x: jumped.times(Math.sqrt(kept)).plus(noise.times(Math.sqrt(1 - kept))) } };
  }
}
