// DEISMultistepScheduler: the exponential integrator of Zhang & Chen 2023, with polynomials in ln(noise / signal).

import type { LinearForm } from "../solver/linear-form.ts";
import { before1, before2, orderOf } from "../solver/multistep.ts";
import type { NextState } from "../solver/solver-call.ts";
import { x } from "../solver/solver-call.ts";
import type { OptionsOf } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import type { StepPlace } from "./solver-scheduler.ts";
import { SolverScheduler, solverDefaults } from "./solver-scheduler.ts";

const definition = defineScheduler({
  name: "DEISMultistepScheduler",
  defaults: {
    ...solverDefaults,
    algorithmType: "deis",
    solverType: "logrho",
    timestepSpacing: "linspace",
    stepsOffset: 0,
  },
  choices: { algorithmType: ["deis"], solverType: ["logrho"], timeShiftType: ["exponential"] },
});

/** Options of `DEISMultistepScheduler`. */
export type DEISOptions = OptionsOf<typeof definition>;

/**
 * x' = signal' (x / signal + the integral from rho to rho' of epsilon), rho = noise / signal, where epsilon is the
 * polynomial in ln(rho) through the predictions of this and the last steps. Of order 1 this is DDIM.
 */
export class DEISMultistepScheduler extends SolverScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: DEISOptions = {}) {
    super(definition, options);
  }

  protected get isOfX0(): boolean {
    return false;
  }

  protected override expectNoise(): void {
    // Polynomials in ln(rho) have finite integrals to rho = 0.
  }

  protected next({ i, levels, whole }: StepPlace, value: LinearForm): NextState {
    const { solverOrder, lowerOrderFinal } = this.options;
    const skipped = whole - (levels.length - 1);
    const order = orderOf(solverOrder, i + skipped, whole, i, { lowerOrderFinal, eulerAtFinal: false });
    const rho = levels.map(({ signal, noise }) => noise / signal);
    const predictions = [value, before1, before2].slice(0, order);
    const nodes = predictions.map((_, k) => Math.log(rho[i - k]));
    const integral = predictions
      .map((prediction, k) => prediction.times(basisIntegral(nodes, k, rho[i], rho[i + 1])))
      .reduce((sum, term) => sum.plus(term));
    const moved = x
      .over(levels[i].signal)
      .plus(integral)
      .times(levels[i + 1].signal);
    return { x: moved, before1: value, before2: before1 };
  }
}

/** The integral over rho of the k-th Lagrange basis polynomial in ln(rho), of up to three nodes. */
function basisIntegral(nodes: readonly number[], k: number, from: number, to: number): number {
  const others = nodes.filter((_, j) => j !== k);
  const scale = others.reduce((product, node) => product * (nodes[k] - node), 1);
  return (antiderivative(others, to) - antiderivative(others, from)) / scale;
}

/** The antiderivative at rho of the product of ln(rho) - node over up to two nodes. */
function antiderivative(nodes: readonly number[], rho: number): number {
  if (rho === 0) return 0;
  const log = Math.log(rho);
  const [a, b] = nodes;
  if (nodes.length === 0) return rho;
  if (nodes.length === 1) return rho * (log - 1 - a);
  return rho * (log ** 2 - 2 * log + 2 - (a + b) * (log - 1) + a * b);
}
