// FlowMatchEulerDiscreteScheduler: Euler's method on the straight paths of flow matching (Lipman et al. 2023; Esser et al. 2024).

import { ArgumentError } from "../../errors/index.ts";
import { flowMatchGrid } from "../grids/flow-match-grid.ts";
import type { SamplingGrid } from "../grids/sampling-grid.ts";
import type { NoiseLevel } from "../predictions.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { noise, output, x } from "../solver/solver-call.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { Scheduler, defineScheduler } from "./scheduler.ts";
import { flowLevel } from "./levels.ts";

const definition = defineScheduler({
  name: "FlowMatchEulerDiscreteScheduler",
  defaults: {
    numTrainTimesteps: 1000,
    shift: 1,
    useDynamicShifting: false,
    baseShift: 0.5,
    maxShift: 1.15,
    baseImageSeqLen: 256,
    maxImageSeqLen: 4096,
    invertSigmas: false,
    shiftTerminal: null,
    useKarrasSigmas: false,
    useExponentialSigmas: false,
    useBetaSigmas: false,
    timeShiftType: "exponential",
    stochasticSampling: false,
  },
});

/** Options of `FlowMatchEulerDiscreteScheduler`. */
export type FlowMatchEulerOptions = OptionsOf<typeof definition>;

/** What a run of flow matching may be given. */
export interface FlowMatchRun extends SolverRun {
  readonly timesteps?: undefined;
  /** With `useDynamicShifting`: how much the times of this run are shifted. */
  readonly mu?: number;
}

/**
 * x' = x + (sigma' - sigma) v for x = (1 - sigma) x0 + sigma epsilon and a network that predicts v = epsilon - x0. With
 * `stochasticSampling` x' = (1 - sigma') x0 + sigma' z, x0 = x - sigma v. With `invertSigmas` sigma is the share of x0 instead,
 * which grows from 0 to 1, and v = x0 - epsilon.
 */
export class FlowMatchEulerDiscreteScheduler extends Scheduler<keyof typeof definition.defaults, FlowMatchRun> {
  /** @internal */
  static readonly definition = definition;
  readonly family = "flow";

  constructor(options: FlowMatchEulerOptions = {}) {
    super(definition, options);
  }

  grid(run: FlowMatchRun): SamplingGrid {
    const { useDynamicShifting, timeShiftType: type, shiftTerminal } = this.options;
    if ((run.mu !== undefined) !== useDynamicShifting)
      throw new ArgumentError({
        op: this.name,
        problem: `mu is ${run.mu} and useDynamicShifting is ${useDynamicShifting}.`,
        advice: "Runs with a dynamic shift are given mu, and others are not.",
      });
    return flowMatchGrid({
      steps: run.steps,
      times: run.sigmas,
      trainSteps: this.options.numTrainTimesteps,
      shift: this.options.shift,
      dynamicShift: run.mu === undefined ? undefined : { mu: run.mu, type },
      terminal: shiftTerminal ?? undefined,
      sigmas: this.otherTimes(),
      invert: this.options.invertSigmas,
    });
  }

  protected trajectory(run: FlowMatchRun): Trajectory {
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) => this.call(t, sigmas![i], sigmas![i + 1]));
    return { calls: calls.slice(run.begin), initialNoise, end: this.levelAt(sigmas!.at(-1)!) };
  }

  private call(t: number, sigma: number, next: number): SolverCall {
    const { invertSigmas, stochasticSampling } = this.options;
    const [level, target] = [this.levelAt(sigma), this.levelAt(next)];
    const x0 = invertSigmas ? x.plus(output.times(level.noise)) : x.minus(output.times(level.noise));
    const moved = stochasticSampling
      ? x0.times(target.signal).plus(noise.times(target.noise))
      : x.plus(output.times(next - sigma));
    return { t, level, x0, next: { x: moved } };
  }

  private levelAt(sigma: number): NoiseLevel {
    return this.options.invertSigmas ? { signal: sigma, noise: 1 - sigma } : flowLevel(sigma);
  }

  private otherTimes(): "karras" | "exponential" | "beta" | undefined {
    const { useKarrasSigmas, useExponentialSigmas, useBetaSigmas } = this.options;
    const chosen = [
      useKarrasSigmas && "karras",
      useExponentialSigmas && "exponential",
      useBetaSigmas && "beta",
    ] as const;
    const names = chosen.filter((name) => name !== false);
    if (names.length > 1)
      throw new ArgumentError({
        op: this.name,
        problem: `more than one grid of sigmas is chosen: ${names.join(", ")}.`,
        advice: "Only one of the use...Sigmas options can be true.",
      });
    return names.at(0);
  }
}
