// Which of the T training timesteps a sampler visits: the spacings of Lin et al. 2024, table 2, as diffusers computes them.

import { ArgumentError } from "../../errors/index.ts";
import { linearGrid, roundHalfToEven } from "./linear-grid.ts";

/**
 * How n timesteps are spread over 0..T-1 (diffusers' `timestep_spacing`): "leading" takes multiples of T // n from 0 up,
 * "trailing" goes down from T in steps of T / n, "linspace" includes both ends.
 */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/** What determines a grid of timesteps. */
export interface TimestepGridOptions {
  /** Number n of sampling steps. */
  readonly steps: number;
  /** T, the number of training timesteps. */
  readonly trainSteps: number;
  /** How they are spread. */
  readonly spacing: TimestepSpacing;
  /** Added to timesteps of "leading" spacing (diffusers' `steps_offset`). Default 0. */
  readonly offset?: number;
  /**
   * The grids of multistep solvers have a point more, at 0, which is left out: their last step goes on to sigma 0 by
   * itself. Makes no difference to "trailing". Default false.
   */
  readonly beforeZero?: boolean;
  /** Leave the timesteps of "linspace" fractional instead of rounding them. Default false. */
  readonly fractional?: boolean;
  /** Use only the timesteps below this: where the others are too noisy (see `lambdaMin`). Default T. */
  readonly below?: number;
}

/**
 * The timesteps in the order in which a sampler visits them, from the noisiest down. Halves are rounded to even as numpy
 * does (T = 1000 in 16 "trailing" steps: 999, 937, 874, ...). Where numpy.arange gives diffusers one timestep too many,
 * at -1, for 61 of 1000 "trailing" steps and others, there are `steps` here.
 */
export function timestepGrid(options: TimestepGridOptions): Float64Array {
  const {
    steps,
    trainSteps,
    spacing,
    offset = 0,
    beforeZero = false,
    fractional = false,
    below = trainSteps,
  } = options;
  expectSteps("timestepGrid", steps, trainSteps);
  const points = beforeZero ? steps + 1 : steps;
  switch (spacing) {
    case "linspace": {
      const grid = linearGrid(0, below - 1, points).map(fractional ? (t) => t : roundHalfToEven);
      return grid.reverse().slice(0, steps);
    }
    case "leading": {
      const ratio = Math.floor(below / points);
      if (ratio === 0)
        throw new ArgumentError({
          op: "timestepGrid",
          problem: `"leading" spacing has no room for ${steps} steps of a solver in ${below} timesteps: all would be 0.`,
          advice: "Take fewer steps or another spacing.",
        });
      const grid = Float64Array.from({ length: points }, (_, i) => i * ratio + offset).reverse();
      if (grid[0] >= trainSteps)
        throw new ArgumentError({
          op: "timestepGrid",
          problem: `the first timestep is ${grid[0]}, beyond the last of training, ${trainSteps - 1}: offset is ${offset}.`,
          advice: "Take fewer steps or an offset of 0.",
        });
      return grid.slice(0, steps);
    }
    case "trailing": {
      const ratio = trainSteps / steps;
      // numpy.arange takes the difference of its first two numbers for the step, which rounds it.
      const step = below - (below - ratio);
      const count = Math.min(steps, Math.ceil(below / ratio));
      return Float64Array.from({ length: count }, (_, i) => roundHalfToEven(below - i * step) - 1);
    }
    default:
      throw new ArgumentError({
        op: "timestepGrid",
        problem: `the spacing is ${JSON.stringify(spacing)}.`,
        advice: `Expected "leading", "linspace" or "trailing".`,
      });
  }
}

/** What determines the timesteps of a consistency model. */
export interface ConsistencyGridOptions {
  /** Number of sampling steps. */
  readonly steps: number;
  /** T, the number of training timesteps. */
  readonly trainSteps: number;
  /** Number of timesteps it was distilled at (diffusers' `original_inference_steps`). Default 50. */
  readonly originalSteps?: number;
  /** Share of the way from the picture to noise that is gone, for a start from a picture. Default 1. */
  readonly strength?: number;
}

/** The timesteps of LCM and TCD: spread over those of distillation, k T / originalSteps - 1 for k = 1, 2, ... */
export function consistencyGrid(options: ConsistencyGridOptions): Float64Array {
  const { steps, trainSteps, originalSteps = 50, strength = 1 } = options;
  expectSteps("consistencyGrid", originalSteps, trainSteps);
  if (!(strength > 0 && strength <= 1))
    throw new ArgumentError({ op: "consistencyGrid", problem: `strength is ${strength}, expected 0 < strength <= 1.` });
  const origin = Math.floor(originalSteps * strength);
  if (!Number.isInteger(steps) || steps < 1 || steps > origin)
    throw new ArgumentError({
      op: "consistencyGrid",
      problem: `steps is ${steps}, expected an integer from 1 to ${origin}.`,
      advice: `The model was distilled at ${originalSteps} timesteps, of which a strength of ${strength} leaves ${origin}.`,
    });
  const apart = Math.floor(trainSteps / originalSteps);
  return linearGrid(0, origin, steps + 1)
    .slice(0, steps)
    .map((index) => (origin - Math.floor(index)) * apart - 1);
}

/**
 * The timesteps at which PNDM calls the network (Liu et al. 2022), from a descending grid of timesteps that lie `apart`.
 * Without `skipRungeKutta`, the first three steps are made of four evaluations each, at t, twice halfway and at the next t
 * (diffusers' prk_timesteps); all others, and with it all, are linear multistep ones, whose first is made twice
 * (plms_timesteps).
 */
export function pndmTimesteps(
  grid: Float64Array,
  apart: number,
  { skipRungeKutta }: { readonly skipRungeKutta: boolean },
): Float64Array {
  const n = grid.length;
  if (skipRungeKutta) return n < 2 ? grid : Float64Array.of(grid[0], grid[1], ...grid.subarray(1));
  if (n < 4)
    throw new ArgumentError({
      op: "pndmTimesteps",
      problem: `PNDM starts with Runge-Kutta steps between four timesteps, and there are ${n}.`,
      advice: "Take more steps, or none of Runge-Kutta: skipRungeKutta, PNDMScheduler's skipPrkSteps.",
    });
  const half = Math.floor(apart / 2);
  const pairs = Array.from(grid.subarray(0, 4), (t) => [t + half, t]).flat();
  const rungeKutta = pairs.slice(1).flatMap((t) => [t, t]);
  return Float64Array.from([...rungeKutta.slice(1, -1), ...grid.subarray(3)]);
}

/** Refuses a number of steps that is not one, or more than the model was trained with. */
export function expectSteps(op: string, steps: number, trainSteps: number): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > trainSteps)
    throw new ArgumentError({
      op,
      problem: `steps is ${steps}, expected an integer from 1 to ${trainSteps}.`,
      advice: `The model was trained with ${trainSteps} timesteps.`,
    });
}
