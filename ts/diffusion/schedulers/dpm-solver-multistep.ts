// DPMSolverMultistepScheduler: DPM-Solver++ (Lu et al. 2022) from earlier predictions, as an ODE or an SDE.

import { defineScheduler } from "./scheduler.ts";
import type { OptionsOf } from "./scheduler.ts";
import type { ExponentialAlgorithm } from "../solver/exponential-step.ts";
import type { LinearForm } from "../solver/linear-form.ts";
import { multistep, orderOf } from "../solver/multistep.ts";
import type { NextState } from "../solver/solver-call.ts";
import type { StepPlace } from "./solver-scheduler.ts";
import { SolverScheduler, solverDefaults } from "./solver-scheduler.ts";

const definition = defineScheduler({
  name: "DPMSolverMultistepScheduler",
  defaults: {
    ...solverDefaults,
    algorithmType: "dpmsolver++",
    solverType: "midpoint",
    eulerAtFinal: false,
    useLuLambdas: false,
    finalSigmasType: "zero",
    lambdaMinClipped: -Infinity,
    varianceType: null,
    timestepSpacing: "linspace",
    stepsOffset: 0,
    rescaleBetasZeroSnr: false,
  },
  choices: {
    algorithmType: ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"],
    solverType: ["midpoint", "heun"],
    varianceType: [null, "learned", "learned_range"],
    timeShiftType: ["exponential"],
  },
});

/** Options of `DPMSolverMultistepScheduler`. */
export type DPMSolverMultistepOptions = OptionsOf<typeof definition>;

/**
 * DPM-Solver++ 2M with the defaults: second order at one call of the network for a step. `algorithmType: "sde-dpmsolver++"`
 * is DPM++ 2M SDE, `useKarrasSigmas` its Karras version. The last step to sigma 0 is of first order.
 *
 * `solverOrder: 3` is diffusers' formula, whose errors fall as those of order 2, and in `sde-dpmsolver++` as those of order 1
 * (see `multistep`): UniPC or DEIS are of third order.
 */
export class DPMSolverMultistepScheduler extends SolverScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: DPMSolverMultistepOptions = {}) {
    super(definition, options);
  }

  protected get isOfX0(): boolean {
    return this.options.algorithmType.endsWith("++");
  }

  protected next({ i, levels, whole }: StepPlace, value: LinearForm): NextState {
    const { algorithmType, solverType, solverOrder, lowerOrderFinal, eulerAtFinal, finalSigmasType } = this.options;
    const skipped = whole - (levels.length - 1);
    const final = { lowerOrderFinal, eulerAtFinal: eulerAtFinal || finalSigmasType === "zero" };
    const order = orderOf(solverOrder, i + skipped, whole, i, final);
    const algorithm = algorithmType as ExponentialAlgorithm;
    return multistep({ algorithm, order, midpoint: solverType === "midpoint", levels, i, value });
  }
}
