// One call of the network by a sampler, and what becomes of its output: the form in which every sampler is written.

import type { NoiseLevel, PredictionOptions, PredictionType } from "../predictions.ts";
import { convertPrediction } from "../predictions.ts";
import { LinearForm } from "./linear-form.ts";

/** x, the pictures as they are when the network is called. */
export const x = LinearForm.of("x");
/** What the network returned. */
export const output = LinearForm.of("output");
/** Noise of variance 1 that is drawn for this call. */
export const noise = LinearForm.of("noise");
/** The predicted x0 within its limit; only a sampler that limits x0 has it. */
export const limitedX0 = LinearForm.of("x0");

/** A call of the network, with all coefficients as numbers. */
export interface SolverCall {
  /** What the network is given for t. */
  readonly t: number;
  /** How much of x0 and of noise is in x before the call, and before its `churn`. */
  readonly level: NoiseLevel;
  /** What x is scaled by for the network. Default 1. */
  readonly inputScale?: number;
  /** Standard deviation of noise that is added to x before the network sees it (Karras et al. 2022, algorithm 2). Default 0. */
  readonly churn?: number;
  /** The predicted x0 before it is limited: a sum of `x`, `output`, `noise` and registers. */
  readonly x0: LinearForm;
  /**
   * What x and the registers are after the call, as sums of `x`, `output`, `noise`, `x0` and registers. A register that is
   * not named keeps its value.
   */
  readonly next: NextState;
  /** Logarithm of the standard deviation that the noise is given, for networks that learn it: constant + slope v. */
  readonly logDeviation?: LogDeviation;
}

/** x and the registers after a call. */
export type NextState = Readonly<{
  /** The pictures. */
  x: LinearForm;
  /** A register, by its name. */
  [register: string]: LinearForm;
}>;

/** A logarithm of a standard deviation, linear in what a network returns about it. */
export interface LogDeviation {
  /** Where the network returns 0. */
  readonly constant: number;
  /** For each unit that it returns. */
  readonly slope: number;
}

/** What a network's output says about a noise level. */
export interface PredictionAt extends PredictionOptions {
  /** What the network predicts. */
  readonly prediction: PredictionType;
  /** signal and noise of x. */
  readonly level: NoiseLevel;
  /** Whether x0 is limited. */
  readonly limited?: boolean;
}

/** x0 as x and the output of the network say it. */
export function predictedX0(at: PredictionAt): LinearForm {
  return convert(at, "sample");
}

/** epsilon as x and the output of the network say it, whether or not x0 is limited. */
export function predictedEpsilon(at: PredictionAt): LinearForm {
  return convert(at, "epsilon");
}

/** x0 within its limit. */
export function x0At(at: PredictionAt): LinearForm {
  return at.limited ? limitedX0 : predictedX0(at);
}

/** The epsilon that goes with x0 within its limit: (x - signal x0) / noise. */
export function epsilonAt(at: PredictionAt): LinearForm {
  if (!at.limited) return predictedEpsilon(at);
  return x.minus(limitedX0.times(at.level.signal)).over(at.level.noise);
}

function convert({ prediction, level, sigmaData }: PredictionAt, to: PredictionType): LinearForm {
  const factors = convertPrediction(prediction, to, level, { sigmaData });
  return x.times(factors.x).plus(output.times(factors.prediction));
}
