// EDMEulerScheduler and EDMDPMSolverMultistepScheduler: samplers for networks with EDM's preconditioning (Karras et al. 2022).

import { ArgumentError } from "../../errors/index.ts";
import { edmGrid } from "../grids/edm-grid.ts";
import type { SamplingGrid } from "../grids/sampling-grid.ts";
import type { ExponentialAlgorithm } from "../solver/exponential-step.ts";
import { multistep, orderOf } from "../solver/multistep.ts";
import type { PredictionAt, SolverCall } from "../solver/solver-call.ts";
import { output, predictedX0, x0At } from "../solver/solver-call.ts";
import { thresholdDefaults } from "./beta-scheduler.ts";
import type { Churn } from "./churn.ts";
import { churned, expectChurn } from "./churn.ts";
import type { SchedulerOptions } from "./options.ts";
import type { OptionName, OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { Scheduler, defineScheduler } from "./scheduler.ts";
import { explodingLevel } from "./levels.ts";

const edmDefaults = {
  sigmaMin: 0.002,
  sigmaMax: 80,
  sigmaData: 0.5,
  sigmaSchedule: "karras",
  numTrainTimesteps: 1000,
  predictionType: "epsilon",
  rho: 7,
  finalSigmasType: "zero",
} as const;

/** F of EDM is called "epsilon" by diffusers, and its negative "v_prediction". */
const edmPredictions = ["epsilon", "v_prediction"] as const;

const definition = defineScheduler({
  name: "EDMEulerScheduler",
  defaults: edmDefaults,
  choices: { predictionType: edmPredictions },
});

const solverDefinition = defineScheduler({
  name: "EDMDPMSolverMultistepScheduler",
  defaults: {
    ...edmDefaults,
    solverOrder: 2,
    ...thresholdDefaults,
    algorithmType: "dpmsolver++",
    solverType: "midpoint",
    lowerOrderFinal: true,
    eulerAtFinal: false,
  },
  choices: {
    predictionType: edmPredictions,
    algorithmType: ["dpmsolver++", "sde-dpmsolver++"],
    solverType: ["midpoint", "heun"],
  },
});

/** Options of `EDMEulerScheduler`. */
export type EDMEulerOptions = OptionsOf<typeof definition>;
/** Options of `EDMDPMSolverMultistepScheduler`. */
export type EDMDPMSolverMultistepOptions = OptionsOf<typeof solverDefinition>;

/** What a run of EDM's Euler method may be given. */
export interface EDMEulerRun extends EDMRun, Churn {}

/** What a run of EDM's samplers may be given: a number of steps. */
export interface EDMRun extends SolverRun {
  readonly timesteps?: undefined;
  readonly sigmas?: undefined;
}

/** A sampler of x = x0 + sigma epsilon that gives the network cIn x and cNoise(sigma) = ln(sigma) / 4. */
abstract class EDMScheduler<K extends OptionName, R extends EDMRun> extends Scheduler<K, R> {
  readonly family = "edm";

  private get all(): SchedulerOptions {
    return this.options as unknown as SchedulerOptions;
  }

  grid({ steps, timesteps, sigmas }: SolverRun): SamplingGrid {
    if (timesteps !== undefined || sigmas !== undefined || !Number.isInteger(steps) || steps! < 1)
      throw new ArgumentError({
        op: this.name,
        problem: `steps is ${steps}, expected an integer >= 1, and no timesteps or sigmas.`,
      });
    const { sigmaMin, sigmaMax, sigmaSchedule: spacing, rho, finalSigmasType: finalSigma } = this.all;
    return edmGrid({ steps: steps!, sigmaMin: sigmaMin!, sigmaMax: sigmaMax!, spacing, rho, finalSigma });
  }

  /** What the network's output says at sigma. */
  protected at(sigma: number): PredictionAt {
    const { predictionType, sigmaData } = this.all;
    const prediction = predictionType === "epsilon" ? "edm" : "v_prediction";
    return { prediction, level: explodingLevel(sigma), sigmaData, limited: this.limit() !== undefined };
  }

  /** cIn. */
  protected inputScale(sigma: number): number {
    return 1 / Math.hypot(sigma, this.all.sigmaData);
  }
}

/**
 * Karras et al. 2022, algorithm 2 without its correction. As in diffusers, the network is called before the noise of
 * `churn` comes.
 */
export class EDMEulerScheduler extends EDMScheduler<keyof typeof edmDefaults, EDMEulerRun> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: EDMEulerOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: EDMEulerRun): Trajectory {
    expectChurn(this.name, run);
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) => this.call(t, sigmas![i], sigmas![i + 1], run, timesteps.length));
    return { calls: calls.slice(run.begin), initialNoise, end: explodingLevel(sigmas!.at(-1)!) };
  }

  private call(t: number, sigma: number, next: number, run: EDMEulerRun, steps: number): SolverCall {
    const { sigmaHat, xHat } = churned(sigma, run, steps);
    const form = predictedX0(this.at(sigmaHat));
    const x0 = xHat.times(form.coefficient("x")).plus(output.times(form.coefficient("output")));
    const derivative = xHat.minus(x0).over(sigmaHat);
    return {
      t,
      level: explodingLevel(sigma),
      inputScale: this.inputScale(sigma),
      x0,
      next: { x: xHat.plus(derivative.times(next - sigmaHat)) },
    };
  }
}

/** DPM-Solver++ (Lu et al. 2022) as an ODE or an SDE, from earlier predictions. */
export class EDMDPMSolverMultistepScheduler extends EDMScheduler<keyof typeof solverDefinition.defaults, EDMRun> {
  /** @internal */
  static readonly definition = solverDefinition;

  constructor(options: EDMDPMSolverMultistepOptions = {}) {
    super(solverDefinition, options);
  }

  protected trajectory(run: EDMRun): Trajectory {
    const { begin = 0 } = run;
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const levels = Array.from(sigmas!.subarray(begin), explodingLevel);
    const { solverOrder, solverType, lowerOrderFinal, algorithmType } = this.options;
    const final = {
      lowerOrderFinal,
      eulerAtFinal: this.options.eulerAtFinal || this.options.finalSigmasType === "zero",
    };
    const calls = Array.from(timesteps.subarray(begin), (t, i) => {
      const at = this.at(sigmas![begin + i]);
      const order = orderOf(solverOrder, begin + i, timesteps.length, i, final);
      const algorithm = algorithmType as ExponentialAlgorithm;
      const next = multistep({ algorithm, order, midpoint: solverType === "midpoint", levels, i, value: x0At(at) });
      return { t, level: levels[i], inputScale: this.inputScale(sigmas![begin + i]), x0: predictedX0(at), next };
    });
    return { calls, initialNoise, end: levels.at(-1)! };
  }
}
