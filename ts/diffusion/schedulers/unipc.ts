// UniPCMultistepScheduler: a predictor and a corrector of any order that call the network once a step (Zhao et al. 2023).

import type { NoiseLevel } from "../predictions.ts";
import { lambdaOf } from "../solver/exponential-step.ts";
import { LinearForm } from "../solver/linear-form.ts";
import { before1, before2 } from "../solver/multistep.ts";
import type { NextState } from "../solver/solver-call.ts";
import { x } from "../solver/solver-call.ts";
import { solveLinear } from "../solver/solve-linear.ts";
import type { OptionsOf } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import type { StepPlace } from "./solver-scheduler.ts";
import { SolverScheduler, solverDefaults } from "./solver-scheduler.ts";

const definition = defineScheduler({
  name: "UniPCMultistepScheduler",
  defaults: {
    ...solverDefaults,
    predictX0: true,
    solverType: "bh2",
    disableCorrector: [],
    solverP: null,
    timestepSpacing: "linspace",
    stepsOffset: 0,
    finalSigmasType: "zero",
    rescaleBetasZeroSnr: false,
    sigmaMin: null,
    sigmaMax: null,
    shiftTerminal: null,
  },
  choices: { solverType: ["bh1", "bh2"], timeShiftType: ["exponential"] },
});

/** Options of `UniPCMultistepScheduler`. */
export type UniPCOptions = OptionsOf<typeof definition>;

/** x at the step before, as it was corrected. */
const last = LinearForm.of("last");
/** The prediction of the third step before. */
const before3 = LinearForm.of("before3");

/**
 * Zhao et al. 2023, algorithms 5 to 8: the prediction at x first corrects the step that led to x (UniC), and then the next
 * step is made from there (UniP). `predictX0` solves the equation of x0 (the paper's B), else that of epsilon.
 */
export class UniPCMultistepScheduler extends SolverScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: UniPCOptions = {}) {
    super(definition, options);
  }

  protected get isOfX0(): boolean {
    return this.options.predictX0;
  }

  protected next({ i, levels, whole }: StepPlace, value: LinearForm): NextState {
    const skipped = whole - (levels.length - 1);
    const orderAt = (step: number): number => this.orderOf(step, skipped, whole);
    const corrects = i > 0 && !this.options.disableCorrector.includes(i + skipped - 1);
    const corrected = corrects
      ? this.move(levels, i - 1, last, [before1, before2, before3].slice(0, orderAt(i - 1)), value)
      : x;
    const moved = this.move(levels, i, corrected, [value, before1, before2].slice(0, orderAt(i)));
    return { x: moved, last: corrected, before1: value, before2: before1, before3: before2 };
  }

  /** The order of step i of those made, which rises at the beginning of a run and falls at its end. */
  private orderOf(i: number, skipped: number, whole: number): number {
    const { solverOrder, lowerOrderFinal } = this.options;
    return Math.min(solverOrder, lowerOrderFinal ? whole - skipped - i : Infinity, i + 1);
  }

  /**
   * From x at step i to the next level, by the predictions of step i and those before it, the latest first; with that of
   * the level to go to, it is a correction.
   */
  private move(
    levels: readonly NoiseLevel[],
    i: number,
    from: LinearForm,
    [value, ...earlier]: readonly LinearForm[],
    target?: LinearForm,
  ): LinearForm {
    const [start, end] = [levels[i], levels[i + 1]];
    const h = lambdaOf(end) - lambdaOf(start);
    // As in `exponentialStep`.
    if (h === 0) return from;
    const others = earlier.map((form, k) => ({ form, place: (lambdaOf(levels[i - 1 - k]) - lambdaOf(start)) / h }));
    if (target) others.push({ form: target, place: 1 });
    const extent = this.options.predictX0 ? -h : h;
    const growth = Math.expm1(extent);
    const scale = this.options.solverType === "bh1" ? extent : growth;
    const weights = weightsOf(others.map(({ place }) => place), extent, scale); // prettier-ignore
    const slope = others.reduce(
      (sum, { form, place }, k) => sum.plus(form.minus(value).times(weights[k] / place)),
      LinearForm.zero,
    );
    const [kept, factor] = this.options.predictX0
      ? [end.noise / start.noise, end.signal]
      : [end.signal / start.signal, end.noise];
    return from.times(kept).minus(value.times(growth).plus(slope.times(scale)).times(factor));
  }
}

/**
 * Zhao et al. 2023, eq. 5: weights of the differences at the places r_k (in steps h, from the start of the step) so that
 * sum_k weight_k r_k^(p - 1) = p! phi_(p + 1)(h) h / B(h) for p = 1, 2, ... A single difference weighs 1/2.
 */
function weightsOf(places: readonly number[], extent: number, scale: number): number[] {
  if (places.length === 1) return [0.5];
  const sides: number[] = [];
  let phi = Math.expm1(extent) / extent - 1;
  let factorial = 1;
  for (let p = 1; p <= places.length; p++) {
    sides.push((phi * factorial) / scale);
    factorial *= p + 1;
    phi = phi / extent - 1 / factorial;
  }
  const powers = sides.map((_, p) => places.map((place) => place ** p));
  return solveLinear(powers, sides);
}
