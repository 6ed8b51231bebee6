// Respacing: a noise schedule that takes fewer, larger steps, those of chosen timesteps of another one.

import { ArgumentError } from "../errors/index.ts";
import type { StepNumber } from "../tensor/recording.ts";
import { outsideRecording } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { tensor } from "../tensor/tensor.ts";
import { roundHalfToEven } from "./grids/linear-grid.ts";
import { NoiseSchedule } from "./noise-schedule.ts";

/**
 * How many timesteps are taken: a number of all; a list, with a number for each of equally long sections, from the least
 * noisy one; such a list with commas; or "ddim50", for 50 timesteps that are whole numbers apart, from 0 on.
 */
export type Spacing = number | readonly number[] | string;

/**
 * The timesteps that are taken of `steps`, rising (guided-diffusion: `space_timesteps`). In each section they are evenly
 * spaced from its first to its last timestep and rounded, halves to even. Throws ArgumentError where there are not so many.
 */
export function spacedTimesteps(steps: number, spacing: Spacing): number[] {
  const stride = typeof spacing === "string" ? /^ddim(\d+)$/.exec(spacing) : null;
  if (stride) return stridedTimesteps(steps, Number(stride[1]));
  const sections = sectionsOf(spacing);
  const [least, longer] = [Math.floor(steps / sections.length), steps % sections.length];
  let start = 0;
  return sections.flatMap((count, i) => {
    const length = least + (i < longer ? 1 : 0);
    if (length < count)
      throw refusal(spacing, `${count} timesteps in section ${i}, which has ${length} of all ${steps}.`);
    const first = start;
    start += length;
    return evenly(count, length).map((t) => first + t);
  });
}

/** `count` of the timesteps 0, s, 2 s, ... below `steps`, with the least whole s that gives so many. */
function stridedTimesteps(steps: number, count: number): number[] {
  for (let stride = 1; stride < steps; stride++)
    if (Math.ceil(steps / stride) === count) return Array.from({ length: count }, (_, i) => i * stride);
  throw refusal(`ddim${count}`, `no whole stride through ${steps} timesteps takes ${count} of them.`);
}

/** `count` places from 0 to `length` - 1. */
function evenly(count: number, length: number): number[] {
  const stride = count <= 1 ? 1 : (length - 1) / (count - 1);
  // A sum of strides and not their multiple, which rounds differently.
  let place = 0;
  return Array.from({ length: count }, () => {
    const t = roundHalfToEven(place);
    place += stride;
    return t;
  });
}

function sectionsOf(spacing: Spacing): readonly number[] {
  const counts =
    typeof spacing === "number" ? [spacing] : typeof spacing === "string" ? spacing.split(",").map(Number) : spacing;
  if (counts.length === 0 || counts.some((count) => !Number.isInteger(count) || count < 1))
    throw refusal(spacing, "it is no list of numbers of timesteps.");
  return counts;
}

function refusal(spacing: Spacing, problem: string): ArgumentError {
  return new ArgumentError({
    op: "spacedTimesteps",
    problem: `spacing ${JSON.stringify(spacing)}: ${problem}`,
    advice: 'Expected a number, numbers for sections such as [10, 15, 20] or "10,15,20", or such as "ddim50".',
  });
}

/** A network that is told timesteps. */
export interface TimestepModel<X extends readonly unknown[], R> {
  /** What it returns for x [N, ...] at timesteps t, int32 [N]. */
  forward(x: Tensor, t: Tensor, ...others: X): R;
}

/**
 * A respaced schedule (guided-diffusion: `SpacedDiffusion`). Its step k goes from the original timestep `timesteps[k]` to
 * the one before: alphaBar_k is alphaBar there, and beta_k = 1 - alphaBar_k / alphaBar_{k-1}.
 *
 * ```ts
 * const { schedule, wrap } = respace(trained, 250);
 * const pictures = await sample({ model: wrap(model), schedule, count: 64, size: [32, 32, 3] });
 * ```
 */
export interface Respacing {
  /** The schedule of fewer steps. */
  readonly schedule: NoiseSchedule;
  /** The original timestep of each step. */
  readonly timesteps: readonly number[];
  /** The original timesteps, int32 [N], of steps t of the respaced schedule for x [N, ...]. */
  original(t: Tensor | StepNumber, x: Tensor): Tensor;
  /** A network that is asked about steps of the respaced schedule and knows the original timesteps. */
  wrap<X extends readonly unknown[], R>(model: TimestepModel<X, R>): TimestepModel<X, R>;
}

/** The schedule that takes only some of the timesteps of `schedule`; see `spacedTimesteps`. */
export function respace(schedule: NoiseSchedule, spacing: Spacing): Respacing {
  const timesteps = spacedTimesteps(schedule.steps, spacing);
  let before = 1;
  const betas = timesteps.map((t) => {
    const beta = 1 - schedule.alphaBar[t] / before;
    before = schedule.alphaBar[t];
    return beta;
  });
  const respaced = new NoiseSchedule({ betas });
  const tables = new Map<string, Tensor>();
  const tableOn = (x: Tensor): Tensor => {
    const made =
      tables.get(x.device) ??
      outsideRecording(() => scope(() => tensor(Int32Array.from(timesteps), { device: x.device }).keep()));
    tables.set(x.device, made);
    return made;
  };
  const original = (t: Tensor | StepNumber, x: Tensor): Tensor =>
    scope(() => tableOn(x).indexSelect(0, respaced.timesteps(t, x, "respace")));
  return {
    schedule: respaced,
    timesteps,
    original,
    wrap: (model) => ({ forward: (x, t, ...others) => model.forward(x, original(t, x), ...others) }),
  };
}
