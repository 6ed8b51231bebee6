// Learning rates as functions of the step: warm-up, and then a constant, a line, a cosine, a power or stairs.

import { ArgumentError } from "../errors/index.ts";

/** A learning rate by the number of steps that the optimizer has taken; float64, and so for each step of a plan. */
export type LearningRateSchedule = (step: number) => number;

/** What all schedules with a warm-up are given. */
export interface WarmupOptions {
  /** The learning rate after the warm-up; all others are fractions of it (diffusers: that of the optimizer). */
  readonly peak: number;
  /** Steps W in which it rises, step k having peak k / W, from 0 at step 0 (`num_warmup_steps`). Default 0: none. */
  readonly warmup?: number;
}

/** What schedules that come to an end are given. */
export interface DecayOptions extends WarmupOptions {
  /** The step T at which the schedule ends, with the warm-up counted (`num_training_steps`). */
  readonly steps: number;
}

/** peak, after the warm-up (diffusers: `constant_with_warmup`). A constant without one is just a number. */
export function constantLr(options: WarmupOptions): LearningRateSchedule {
  expectWarmup("constantLr", options);
  return warmedUp(options, () => options.peak);
}

/**
 * A line from peak to `end` (diffusers: `linear`): end + (peak - end) (T - k) / (T - W) at step k, and `end` from step T
 * on. `end` is 0 by default.
 */
export function linearLr({ end = 0, ...options }: DecayOptions & { readonly end?: number }): LearningRateSchedule {
  const length = decayLength("linearLr", options);
  expectEnd("linearLr", options, end);
  const { peak, steps } = options;
  return warmedUp(options, (step) => end + (peak - end) * Math.max(0, (steps - step) / length));
}

/**
 * A cosine from peak to 0 (diffusers: `cosine`; Loshchilov and Hutter 2017, eq. 5): peak (1 + cos(2 pi cycles p)) / 2 with
 * p = (k - W) / (T - W) at step k. `cycles` is 0.5 by default: half a period. Past step T the cosine goes on, and so rises
 * again, as diffusers' does.
 */
export function cosineLr({
  cycles = 0.5,
  ...options
}: DecayOptions & { readonly cycles?: number }): LearningRateSchedule {
  const length = decayLength("cosineLr", options);
  expectPositive("cosineLr", "cycles", cycles);
  const { peak, warmup = 0 } = options;
  const wave = (progress: number): number => (1 + Math.cos(Math.PI * cycles * 2 * progress)) / 2;
  return warmedUp(options, (step) => peak * Math.max(0, wave((step - warmup) / length)));
}

/**
 * `cycles` half cosines from peak to 0, one after the other (diffusers: `cosine_with_restarts`; Loshchilov and Hutter 2017):
 * peak (1 + cos(pi (cycles p mod 1))) / 2 with p = (k - W) / (T - W) at step k, and 0 from step T on. `cycles` is 1 by
 * default.
 */
export function cosineWithRestartsLr({
  cycles = 1,
  ...options
}: DecayOptions & { readonly cycles?: number }): LearningRateSchedule {
  const length = decayLength("cosineWithRestartsLr", options);
  expectPositive("cosineWithRestartsLr", "cycles", cycles);
  const { peak, warmup = 0 } = options;
  return warmedUp(options, (step) => {
    const progress = (step - warmup) / length;
    return progress >= 1 ? 0 : (peak * (1 + Math.cos(Math.PI * ((cycles * progress) % 1)))) / 2;
  });
}

/**
 * A power from peak to `end` (diffusers: `polynomial`): end + (peak - end) (1 - p)^power with p = (k - W) / (T - W) at step
 * k, and `end` from step T on. `power` is 1 by default and `end` 1e-7.
 */
export function polynomialLr({
  power = 1,
  end = 1e-7,
  ...options
}: DecayOptions & { readonly power?: number; readonly end?: number }): LearningRateSchedule {
  const length = decayLength("polynomialLr", options);
  expectEnd("polynomialLr", options, end);
  expectPositive("polynomialLr", "power", power);
  const { peak, warmup = 0 } = options;
  return warmedUp(options, (step) => end + (peak - end) * Math.max(0, 1 - (step - warmup) / length) ** power);
}

/** A stair of `piecewiseConstantLr`. */
export interface LearningRateStair {
  /** The step at which the stair ends: it is for those before. */
  readonly until: number;
  /** Its learning rate. */
  readonly lr: number;
}

/**
 * Stairs (diffusers: `piecewise_constant`, whose rules are factors of the optimizer's rate): at step k the rate of the
 * first stair that ends after k, and past all of them `rest`.
 *
 * ```ts
 * piecewiseConstantLr({ stairs: [{ until: 10_000, lr: 1e-3 }, { until: 20_000, lr: 1e-4 }], rest: 1e-5 });
 * ```
 */
export function piecewiseConstantLr({
  stairs,
  rest,
}: {
  readonly stairs: readonly LearningRateStair[];
  readonly rest: number;
}): LearningRateSchedule {
  const op = "piecewiseConstantLr";
  expectRate(op, "rest", rest);
  stairs.forEach(({ until, lr }, i) => {
    expectRate(op, `stairs[${i}].lr`, lr);
    expectCount(op, `stairs[${i}].until`, until, 1);
    const before = stairs[i - 1]?.until ?? 0;
    if (until <= before)
      throw new ArgumentError({
        op,
        problem: `stairs[${i}] ends at step ${until}, the one before it at ${before}.`,
        advice: "Give the stairs in the order of their ends.",
      });
  });
  return (step) => stairs.find(({ until }) => step < until)?.lr ?? rest;
}

/** A line from 0 to the peak, and then `after`. */
function warmedUp({ peak, warmup = 0 }: WarmupOptions, after: LearningRateSchedule): LearningRateSchedule {
  return (step) => (step < warmup ? (peak * step) / warmup : after(step));
}

function expectWarmup(op: string, { peak, warmup = 0 }: WarmupOptions): void {
  expectRate(op, "peak", peak);
  expectCount(op, "warmup", warmup, 0);
}

/** The number of steps after the warm-up, at least 1; refuses a schedule that ends before it. */
function decayLength(op: string, options: DecayOptions): number {
  expectWarmup(op, options);
  const { warmup = 0, steps } = options;
  expectCount(op, "steps", steps, 1);
  if (steps < warmup)
    throw new ArgumentError({
      op,
      problem: `steps is ${steps} and warmup ${warmup}.`,
      advice: "The warm-up is counted among the steps.",
    });
  return Math.max(1, steps - warmup);
}

function expectEnd(op: string, { peak }: WarmupOptions, end: number): void {
  expectRate(op, "end", end);
  if (end > peak) throw new ArgumentError({ op, problem: `end is ${end} and peak ${peak}, expected end <= peak.` });
}

function expectRate(op: string, name: string, rate: number): void {
  if (!(rate >= 0 && rate < Infinity))
    throw new ArgumentError({ op, problem: `${name} is ${rate}, expected a learning rate >= 0.` });
}

function expectCount(op: string, name: string, count: number, least: number): void {
  if (!Number.isInteger(count) || count < least)
    throw new ArgumentError({ op, problem: `${name} is ${count}, expected an integer >= ${least}.` });
}

function expectPositive(op: string, name: string, value: number): void {
  if (!(value > 0 && value < Infinity))
    throw new ArgumentError({ op, problem: `${name} is ${value}, expected a number > 0.` });
}
