// LMSDiscreteScheduler: linear multistep (Adams-Bashforth) on the probability-flow ODE, for any spacing of sigmas.

import { ArgumentError } from "../../errors/index.ts";
import { LinearForm } from "../solver/linear-form.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { predictedX0, x } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions } from "./beta-scheduler.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { explodingLevel, inputScaleOf } from "./levels.ts";

const definition = defineScheduler({
  name: "LMSDiscreteScheduler",
  defaults: {
    ...betaDefaults,
    useKarrasSigmas: false,
    useExponentialSigmas: false,
    useBetaSigmas: false,
    predictionType: "epsilon",
    timestepSpacing: "linspace",
    stepsOffset: 0,
  },
  choices: { predictionType: predictions },
});

/** Options of `LMSDiscreteScheduler`. */
export type LMSOptions = OptionsOf<typeof definition>;

/** What a run of LMS may be given. */
export interface LMSRun extends SolverRun {
  /** Number of derivatives that a step is made from, 1 to 4. Default 4. */
  readonly order?: number;
}

/** Derivatives of earlier steps, the latest first. */
const earlier = ["slope1", "slope2", "slope3"];

/**
 * x' = x + the integral from sigma to sigma' of the polynomial through the derivatives (x - x0) / sigma of this and the
 * last steps.
 */
export class LMSDiscreteScheduler extends BetaScheduler<keyof typeof definition.defaults, LMSRun> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: LMSOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: LMSRun): Trajectory {
    const { order = 4, begin = 0 } = run;
    if (!Number.isInteger(order) || order < 1 || order > 4)
      throw new ArgumentError({ op: this.name, problem: `order is ${order}, expected an integer from 1 to 4.` });
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps.subarray(begin), (t, i) =>
      this.call(t, sigmas!.subarray(begin), i, Math.min(order, i + 1)),
    );
    return { calls, initialNoise, end: explodingLevel(sigmas!.at(-1)!) };
  }

  private call(t: number, sigmas: Float64Array, i: number, order: number): SolverCall {
    const level = explodingLevel(sigmas[i]);
    const inputScale = inputScaleOf(sigmas[i]);
    const x0 = predictedX0(this.at(level));
    const derivative = x.minus(x0).over(sigmas[i]);
    const slopes = [derivative, ...earlier.map((name) => LinearForm.of(name))];
    const nodes = Array.from({ length: order }, (_, k) => sigmas[i - k]);
    const moved = nodes.reduce(
      (sum, _, k) => sum.plus(slopes[k].times(basisIntegral(nodes, k, sigmas[i], sigmas[i + 1]))),
      x,
    );
    const shifted = Object.fromEntries(earlier.map((name, k) => [name, slopes[k]]));
    return { t, level, inputScale, x0, next: { x: moved, ...shifted } };
  }
}

/** Places and weights of Gauss's quadrature on [-1, 1], which is exact for the polynomials here, of degree 3 at most. */
const gauss = [-1, 1].map((sign) => sign / Math.sqrt(3));

/** The integral of the k-th Lagrange basis polynomial through the nodes. */
function basisIntegral(nodes: readonly number[], k: number, from: number, to: number): number {
  const [middle, half] = [(from + to) / 2, (to - from) / 2];
  const basis = (at: number): number =>
    nodes.reduce((product, node, j) => (j === k ? product : (product * (at - node)) / (nodes[k] - node)), 1);
  return half * gauss.reduce((sum, place) => sum + basis(middle + half * place), 0);
}
