// The multistep samplers of DPM-Solver: steps in lambda with derivatives from the predictions of earlier steps.

import type { NoiseLevel } from "../predictions.ts";
import type { ExponentialAlgorithm } from "./exponential-step.ts";
import { exponentialStep, lambdaOf } from "./exponential-step.ts";
import { LinearForm } from "./linear-form.ts";
import type { NextState } from "./solver-call.ts";
import { x } from "./solver-call.ts";

/** The prediction of the step before. */
export const before1 = LinearForm.of("before1");
/** The prediction of the step before that. */
export const before2 = LinearForm.of("before2");

/** What happens to the orders of steps at the end of a run. */
export interface FinalOrders {
  /** Lower orders in the last of fewer than 15 steps. */
  readonly lowerOrderFinal: boolean;
  /** The last step is of order 1. */
  readonly eulerAtFinal: boolean;
}

/** The order of step i of n, `known` predictions being there from earlier steps. */
export function orderOf(order: number, i: number, n: number, known: number, final: FinalOrders): number {
  const left = n - i;
  const lowers = final.lowerOrderFinal && n < 15;
  const most = left === 1 && (final.eulerAtFinal || lowers) ? 1 : left === 2 && lowers ? 2 : 3;
  return Math.min(order, most, known + 1);
}

/** A step of a sampler that remembers predictions. */
export interface MultistepStep {
  readonly algorithm: ExponentialAlgorithm;
  /** 1, 2 or 3. */
  readonly order: number;
  /** The second order's derivative as in the midpoint rule. */
  readonly midpoint: boolean;
  /** Levels of all steps, the end included. */
  readonly levels: readonly NoiseLevel[];
  /** The number of the step. */
  readonly i: number;
  /** The prediction of this step. */
  readonly value: LinearForm;
}

/**
 * x and the registers after the step (Lu et al. 2022, DPM-Solver++, algorithm 2, and its third order).
 *
 * As in diffusers, the third order takes the divided difference for the second derivative,
 * which is twice as much. So its errors fall as h^2, if from a lower start than the second order's; with twice
 * `change` it would be h^3. The SDE of x0 has a wrong sign in its factor besides (see `exponentialStep`).
 */
export function multistep({ algorithm, order, midpoint, levels, i, value }: MultistepStep): NextState {
  const lambda = (k: number): number => lambdaOf(levels[k]);
  const h = lambda(i + 1) - lambda(i);
  const remembered = { before1: value, before2: before1 };
  const base = { algorithm, from: levels[i], to: levels[i + 1], x, value };
  if (order === 1) return { x: exponentialStep(base), ...remembered };
  const r0 = (lambda(i) - lambda(i - 1)) / h;
  const slope0 = value.minus(before1).over(r0);
  if (order === 2) return { x: exponentialStep({ ...base, first: slope0, midpoint }), ...remembered };
  const r1 = (lambda(i - 1) - lambda(i - 2)) / h;
  const slope1 = before1.minus(before2).over(r1);
  const change = slope0.minus(slope1);
  const first = slope0.plus(change.times(r0 / (r0 + r1)));
  return { x: exponentialStep({ ...base, first, second: change.over(r0 + r1) }), ...remembered };
}
