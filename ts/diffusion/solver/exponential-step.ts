// One step of DPM-Solver in lambda = ln(signal / noise): what its single- and multistep samplers share (Lu et al. 2022).

import type { NoiseLevel } from "../predictions.ts";
import type { LinearForm } from "./linear-form.ts";
import { noise } from "./solver-call.ts";

/** Which equation is solved: that of epsilon, or that of x0 (`++`), as an ODE or an SDE (diffusers' `algorithm_type`). */
export type ExponentialAlgorithm = "dpmsolver" | "dpmsolver++" | "sde-dpmsolver" | "sde-dpmsolver++";

/** A step from a noise level to another one. */
export interface ExponentialStep {
  readonly algorithm: ExponentialAlgorithm;
  readonly from: NoiseLevel;
  readonly to: NoiseLevel;
  /** x at the level `from`. */
  readonly x: LinearForm;
  /** The prediction at `from`: of x0 in `++`, else of epsilon. */
  readonly value: LinearForm;
  /** Its first derivative by lambda, times the step h. */
  readonly first?: LinearForm;
  /** Its second derivative, times h^2. */
  readonly second?: LinearForm;
  /** Take half of the first derivative's step, as the midpoint rule does, instead of its exact integral. */
  readonly midpoint?: boolean;
}

/** ln(signal / noise), half the logarithm of the signal-to-noise ratio. */
export function lambdaOf({ signal, noise: deviation }: NoiseLevel): number {
  return Math.log(signal) - Math.log(deviation);
}

/** What x, the prediction and its derivatives are multiplied by. */
interface Factors {
  readonly x: number;
  readonly value: number;
  readonly first: number;
  readonly second: number;
  readonly noise: number;
}

/**
 * The exact solution of the semi-linear equation where the prediction is a polynomial in lambda: Lu et al. 2022 (DPM-Solver,
 * eq. 3.4 and B.4; DPM-Solver++, eq. 9), and its SDE (DPM-Solver++, eq. 17). h = lambda' - lambda.
 */
export function exponentialStep(step: ExponentialStep): LinearForm {
  // diffusers' grids to "sigma_min" repeat it: a last step of no length.
  if (lambdaOf(step.to) === lambdaOf(step.from)) return step.x;
  const factors = factorsOf[step.algorithm](step.from, step.to);
  let sum = step.x.times(factors.x).plus(step.value.times(factors.value));
  if (step.first) sum = sum.plus(step.first.times(step.midpoint ? factors.value / 2 : factors.first));
  if (step.second) sum = sum.plus(step.second.times(factors.second));
  return sum.plus(noise.times(factors.noise));
}

const factorsOf: Readonly<Record<ExponentialAlgorithm, (from: NoiseLevel, to: NoiseLevel) => Factors>> = {
  "dpmsolver++"(from, to) {
    const { h, growth } = extent(from, to, -1);
    return {
      x: to.noise / from.noise,
      value: -to.signal * growth,
      first: to.signal * (growth / h + 1),
      second: -to.signal * ((growth + h) / h ** 2 - 0.5),
      noise: 0,
    };
  },
  dpmsolver(from, to) {
    const { h, growth } = extent(from, to, 1);
    return {
      x: to.signal / from.signal,
      value: -to.noise * growth,
      first: -to.noise * (growth / h - 1),
      second: -to.noise * ((growth - h) / h ** 2 - 0.5),
      noise: 0,
    };
  },
  "sde-dpmsolver++"(from, to) {
    const { h, growth } = extent(from, to, -2);
    // `second` as in diffusers, where it goes to -1 with h instead of h / 3: its last term has the wrong sign. So a third
    // order makes this of first order.
    return {
      x: (to.noise / from.noise) * Math.exp(-h),
      value: -to.signal * growth,
      first: to.signal * (growth / (2 * h) + 1),
      second: -to.signal * ((growth + 2 * h) / (2 * h) ** 2 + 0.5),
      noise: to.noise * Math.sqrt(-growth),
    };
  },
  "sde-dpmsolver"(from, to) {
    const { h, growth } = extent(from, to, 1);
    return {
      x: to.signal / from.signal,
      value: -2 * to.noise * growth,
      first: -2 * to.noise * (growth / h - 1),
      second: -2 * to.noise * ((growth - h) / h ** 2 - 0.5),
      noise: to.noise * Math.sqrt(Math.expm1(2 * h)),
    };
  },
};

/** h, and e^(rate h) - 1. */
function extent(from: NoiseLevel, to: NoiseLevel, rate: number): { readonly h: number; readonly growth: number } {
  const h = lambdaOf(to) - lambdaOf(from);
  return { h, growth: Math.expm1(rate * h) };
}
