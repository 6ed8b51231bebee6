// DPMSolverSinglestepScheduler: DPM-Solver++ (Lu et al. 2022) with steps of two or three calls that stand alone.

import type { ExponentialAlgorithm } from "../solver/exponential-step.ts";
import { exponentialStep, lambdaOf } from "../solver/exponential-step.ts";
import { LinearForm } from "../solver/linear-form.ts";
import type { MultistepStep } from "../solver/multistep.ts";
import { before1, before2 } from "../solver/multistep.ts";
import type { NextState } from "../solver/solver-call.ts";
import { x } from "../solver/solver-call.ts";
import type { OptionsOf } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import type { StepPlace } from "./solver-scheduler.ts";
import { SolverScheduler, solverDefaults } from "./solver-scheduler.ts";

const definition = defineScheduler({
  name: "DPMSolverSinglestepScheduler",
  defaults: {
    ...solverDefaults,
    algorithmType: "dpmsolver++",
    solverType: "midpoint",
    lowerOrderFinal: false,
    finalSigmasType: "zero",
    lambdaMinClipped: -Infinity,
    varianceType: null,
  },
  choices: {
    algorithmType: ["dpmsolver", "dpmsolver++", "sde-dpmsolver++"],
    solverType: ["midpoint", "heun"],
    varianceType: [null, "learned", "learned_range"],
    timeShiftType: ["exponential"],
  },
});

/** Options of `DPMSolverSinglestepScheduler`. */
export type DPMSolverSinglestepOptions = OptionsOf<typeof definition>;

/** x at the beginning of a step. */
const start = LinearForm.of("start");

/**
 * Steps of order 2 or 3 are made of as many calls, of orders 1, 2, ..., all from the same x (Lu et al. 2022, DPM-Solver,
 * algorithms 1 and 2). Their number is `steps`, so that samplers can be compared; what does not make a whole step is of
 * lower order, and so is the last, which goes to sigma 0.
 *
 * With `sde-dpmsolver++` each call of a step adds noise of its own, so that order 2 gives errors of order 1, and order 3 of
 * `solverType: "heun"` does not converge (see `exponentialStep`). `DPMSolverMultistepScheduler` is the one for SDEs.
 */
export class DPMSolverSinglestepScheduler extends SolverScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: DPMSolverSinglestepOptions = {}) {
    super(definition, options);
  }

  protected get isOfX0(): boolean {
    return this.options.algorithmType.endsWith("++");
  }

  protected next({ i, levels, whole }: StepPlace, value: LinearForm): NextState {
    const skipped = whole - (levels.length - 1);
    // A run that begins within a step has not got its first calls.
    const order = Math.min(this.orderOf(i + skipped, whole), i + 1);
    const { algorithmType, solverType } = this.options;
    const algorithm = algorithmType as ExponentialAlgorithm;
    const step = singlestep({ algorithm, order, midpoint: solverType === "midpoint", levels, i, value });
    return { x: step, before1: value, before2: before1, ...(order === 1 && { start: x }) };
  }

  /** The order of call i of n. As in diffusers, the last one is of order 1 where that is needed, even if it is not asked for. */
  private orderOf(i: number, n: number): number {
    const { solverOrder, lowerOrderFinal, finalSigmasType } = this.options;
    const lowersWhole = lowerOrderFinal && n % solverOrder === 0;
    return i === n - 1 && (lowersWhole || finalSigmasType === "zero") ? 1 : (i % solverOrder) + 1;
  }
}

/** The call of this order within a step, from its beginning `order` - 1 calls ago. */
function singlestep({ algorithm, order, midpoint, levels, i, value }: MultistepStep): LinearForm {
  const first = i - order + 1;
  const lambda = (k: number): number => lambdaOf(levels[k]) - lambdaOf(levels[first]);
  const h = lambda(i + 1);
  const base = { algorithm, from: levels[first], to: levels[i + 1] };
  if (order === 1) return exponentialStep({ ...base, x, value });
  const beginning = order === 2 ? before1 : before2;
  const r0 = lambda(i) / h;
  const slope0 = value.minus(beginning).over(r0);
  if (order === 2) return exponentialStep({ ...base, x: start, value: beginning, first: slope0, midpoint });
  // Of the third order, "midpoint" takes the derivative from both ends alone.
  if (midpoint) return exponentialStep({ ...base, x: start, value: beginning, first: slope0 });
  const r1 = lambda(i - 1) / h;
  const slope1 = before1.minus(beginning).over(r1);
  return exponentialStep({
    ...base,
    x: start,
    value: beginning,
    first: slope1
      .times(r0)
      .minus(slope0.times(r1))
      .over(r0 - r1),
    second: slope0
      .minus(slope1)
      .times(2)
      .over(r0 - r1),
  });
}
