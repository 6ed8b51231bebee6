// What the solvers in lambda = ln(signal / noise) share: DPM-Solver, DEIS and UniPC on a noise schedule.

import type { NoiseLevel } from "../predictions.ts";
import type { LinearForm } from "../solver/linear-form.ts";
import type { NextState } from "../solver/solver-call.ts";
import { epsilonAt, predictedX0, x0At } from "../solver/solver-call.ts";
import { ArgumentError } from "../../errors/index.ts";
import { BetaScheduler, betaDefaults, thresholdDefaults } from "./beta-scheduler.ts";
import type { OptionName, SolverRun, Trajectory } from "./scheduler.ts";
import { flowLevel, preservingLevel } from "./levels.ts";

/** diffusers' defaults of what all of them have. */
export const solverDefaults = {
  ...betaDefaults,
  solverOrder: 2,
  predictionType: "epsilon",
  ...thresholdDefaults,
  lowerOrderFinal: true,
  useKarrasSigmas: false,
  useExponentialSigmas: false,
  useBetaSigmas: false,
  useFlowSigmas: false,
  flowShift: 1,
  useDynamicShifting: false,
  timeShiftType: "exponential",
} as const;

/** What a run of them may be given. */
export interface SolverSchedulerRun extends SolverRun {
  /** With `useDynamicShifting`: the flow's shift of this run is e^mu. */
  readonly mu?: number;
}

/** A call's number among the steps that are made, and the levels of these. */
export interface StepPlace {
  readonly i: number;
  readonly levels: readonly NoiseLevel[];
  /** Number of steps of the whole run, those that were left out at its beginning included. */
  readonly whole: number;
}

/** A solver in lambda. */
export abstract class SolverScheduler<
  K extends OptionName = never,
  R extends SolverSchedulerRun = SolverSchedulerRun,
> extends BetaScheduler<K, R> {
  protected trajectory(run: R): Trajectory {
    const { begin = 0 } = run;
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const level = this.all.useFlowSigmas ? flowLevel : preservingLevel;
    const levels = Array.from(sigmas!.subarray(begin), level);
    const end = level(sigmas!.at(-1)!);
    this.expectSignal(sigmas!);
    this.expectNoise(end);
    const calls = Array.from(timesteps.subarray(begin), (t, i) => {
      const at = this.at(levels[i]);
      const place = { i, levels, whole: timesteps.length };
      return {
        t,
        level: levels[i],
        x0: predictedX0(at),
        next: this.next(place, this.isOfX0 ? x0At(at) : epsilonAt(at)),
      };
    });
    return { calls, initialNoise, end };
  }

  /** Refuses sigmas of flow matching at which nothing is left of x0, so that lambda is not finite. */
  private expectSignal(sigmas: Float64Array): void {
    if (this.all.useFlowSigmas && !(sigmas[0] < 1))
      throw new ArgumentError({
        op: this.name,
        problem: `the first sigma is ${sigmas[0]}, expected less than 1.`,
        advice: "With useFlowSigmas x is (1 - sigma) x0 + sigma epsilon.",
      });
  }

  /** Refuses an end at sigma 0, where lambda is infinite, to samplers that cannot step there. */
  protected expectNoise(end: NoiseLevel): void {
    if (end.noise === 0 && !this.isOfX0)
      throw new ArgumentError({
        op: this.name,
        problem: "the last step goes to sigma 0, where the equation of epsilon has no solution in lambda.",
        advice: `Take finalSigmasType: "sigma_min", or solve the equation of x0 ("++", predictX0).`,
      });
  }

  /** Whether it is the equation of x0 that is solved, not that of epsilon. */
  protected abstract get isOfX0(): boolean;

  /** x and the registers after a step, from the prediction of it. */
  protected abstract next(place: StepPlace, value: LinearForm): NextState;

  protected override flowShift({ mu }: R): number {
    const { useDynamicShifting, flowShift } = this.all;
    if ((mu !== undefined) !== (useDynamicShifting ?? false))
      throw new ArgumentError({
        op: this.name,
        problem: `mu is ${mu} and useDynamicShifting is ${useDynamicShifting}.`,
        advice: "Runs with a dynamic shift are given mu, and others are not.",
      });
    return mu === undefined ? flowShift! : Math.exp(mu);
  }
}
