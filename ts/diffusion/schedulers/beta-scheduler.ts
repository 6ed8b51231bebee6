// What schedulers share that sample with a noise schedule: its options, its levels, and its grids of timesteps and sigmas.

import { ArgumentError } from "../../errors/index.ts";
import type { GridScheduler, SamplingGrid, SigmaGridName } from "../grids/sampling-grid.ts";
import { samplingGrid } from "../grids/sampling-grid.ts";
import { NoiseSchedule } from "../noise-schedule.ts";
import type { NoiseLevel } from "../predictions.ts";
import type { PredictionAt } from "../solver/solver-call.ts";
import type { SchedulerOptions } from "./options.ts";
import type { OptionName, SchedulerFamily, SolverRun } from "./scheduler.ts";
import { Scheduler } from "./scheduler.ts";

/** diffusers' defaults of the options of a noise schedule. */
export const betaDefaults = {
  numTrainTimesteps: 1000,
  betaStart: 1e-4,
  betaEnd: 0.02,
  betaSchedule: "linear",
  trainedBetas: null,
} as const;

/** diffusers' defaults of dynamic thresholding. */
export const thresholdDefaults = {
  thresholding: false,
  dynamicThresholdingRatio: 0.995,
  sampleMaxValue: 1,
} as const;

/** What networks predict on a noise schedule. */
export const predictions = ["epsilon", "sample", "v_prediction"] as const;

/** A sampler with a noise schedule. */
export abstract class BetaScheduler<K extends OptionName = never, R extends SolverRun = SolverRun> extends Scheduler<
  K,
  R
> {
  private made: NoiseSchedule | undefined;

  get family(): SchedulerFamily {
    return this.all.useFlowSigmas ? "flow" : "schedule";
  }

  /** The noise schedule that the options describe. */
  get schedule(): NoiseSchedule {
    this.made ??= scheduleOf(this.all);
    return this.made;
  }

  /** The options, whether or not this scheduler has them. */
  protected get all(): Partial<SchedulerOptions> {
    return this.options;
  }

  /** What the network's output says at a noise level. */
  protected at(level: NoiseLevel): PredictionAt {
    const prediction = this.all.predictionType!;
    if (level.signal === 0 && prediction === "epsilon")
      throw new ArgumentError({
        op: this.name,
        problem: `predictionType is "epsilon", and the schedule ends with noise alone, which says nothing about x0.`,
        advice: `Networks for zero terminal SNR predict "v_prediction" or "sample".`,
      });
    return { prediction, level, limited: this.limit() !== undefined };
  }

  /** alphaBar at a timestep; below 0 that of the end of a run. */
  protected alphaBarAt(t: number): number {
    const { alphaBar } = this.schedule;
    if (t >= 0) return alphaBar[t];
    return this.all.setAlphaToOne ? 1 : alphaBar[0];
  }

  grid(run: R): SamplingGrid {
    const { all } = this;
    return samplingGrid(this.name as GridScheduler, this.schedule, {
      steps: run.steps,
      timesteps: run.timesteps,
      spacing: all.timestepSpacing,
      offset: all.stepsOffset,
      sigmas: run.sigmas ?? this.namedSigmas(),
      sigmaMin: all.sigmaMin ?? undefined,
      sigmaMax: all.sigmaMax ?? undefined,
      flowShift: this.flowShift(run),
      terminal: all.shiftTerminal ?? undefined,
      finalSigma: all.finalSigmasType,
      lambdaMin: all.lambdaMinClipped,
      interpolation: all.interpolationType,
      continuous: all.timestepType && all.timestepType === "continuous" && all.predictionType === "v_prediction",
      skipRungeKutta: all.skipPrkSteps,
    });
  }

  /** The flow's shift in a run. */
  protected flowShift(_run: R): number | undefined {
    return this.all.flowShift;
  }

  private namedSigmas(): SigmaGridName | undefined {
    const { useKarrasSigmas, useExponentialSigmas, useBetaSigmas, useLuLambdas, useFlowSigmas } = this.all;
    const chosen: readonly (readonly [boolean | undefined, SigmaGridName])[] = [
      [useKarrasSigmas, "karras"],
      [useExponentialSigmas, "exponential"],
      [useBetaSigmas, "beta"],
      [useLuLambdas, "lu"],
      [useFlowSigmas, "flow"],
    ];
    const names = chosen.flatMap(([isChosen, name]) => (isChosen ? [name] : []));
    if (names.join() === "karras,flow") return "karras_flow";
    if (names.length > 1)
      throw new ArgumentError({
        op: this.name,
        problem: `more than one grid of sigmas is chosen: ${names.join(", ")}.`,
        advice: "Only one of the use...Sigmas options can be true.",
      });
    return names.at(0);
  }
}

function scheduleOf(options: Partial<SchedulerOptions>): NoiseSchedule {
  const { numTrainTimesteps: steps, betaStart, betaEnd, betaSchedule, trainedBetas } = options as SchedulerOptions;
  const rescaleZeroTerminalSnr = options.rescaleBetasZeroSnr;
  if (trainedBetas) return new NoiseSchedule({ betas: trainedBetas, rescaleZeroTerminalSnr });
  switch (betaSchedule) {
    case "linear":
    case "scaled_linear":
    case "sigmoid":
      return new NoiseSchedule({ steps, schedule: betaSchedule, betaStart, betaEnd, rescaleZeroTerminalSnr });
    default:
      return new NoiseSchedule({ steps, schedule: betaSchedule, rescaleZeroTerminalSnr });
  }
}
