// The times of flow matching that a sampler steps through, as diffusers' FlowMatchEulerDiscreteScheduler has them.

import { ArgumentError } from "../../errors/index.ts";
import { linearGrid } from "./linear-grid.ts";
import type { SamplingGrid } from "./sampling-grid.ts";
import { betaSigmas, exponentialSigmas, karrasSigmas, shiftTimes, stretchTimes } from "./sigma-grid.ts";
import { expectSteps } from "./timestep-grid.ts";

/** A shift for one run. */
export interface DynamicShift {
  /** How much to shift (diffusers' `mu`). */
  readonly mu: number;
  /** Shift by e^mu or by mu itself (diffusers' `time_shift_type`). Default "exponential". */
  readonly type?: "exponential" | "linear";
}

/** What a flow-matching scheduler's configuration says of its grid. */
export interface FlowMatchGridOptions {
  /** Number of sampling steps; not with `times`. */
  readonly steps?: number;
  /** The times before shifting, descending from 1 at most (diffusers' `sigmas`). */
  readonly times?: ArrayLike<number>;
  /** T: the network is given time * T (diffusers' `num_train_timesteps`). Default 1000. */
  readonly trainSteps?: number;
  /** Shift towards noise, shift t / (1 + (shift - 1) t): 3 in Stable Diffusion 3. Default 1. */
  readonly shift?: number;
  /** A shift that depends on the size of the picture instead (diffusers' `use_dynamic_shifting`). */
  readonly dynamicShift?: DynamicShift;
  /** Stretch the times to end here (diffusers' `shift_terminal`). Default: no. */
  readonly terminal?: number;
  /** Other times between the first and the last (diffusers' `use_karras_sigmas` and its companions). Default: no. */
  readonly sigmas?: "karras" | "exponential" | "beta";
  /** Go from 0 to 1, for networks whose time runs the other way (diffusers' `invert_sigmas`). Default false. */
  readonly invert?: boolean;
}

/**
 * Times t of x_t = (1 - t) x0 + t noise, from 1 downwards and then 0, as `sigmas`; `timesteps` are t T. The last time
 * before 0 is shifted twice, as in diffusers: once where it becomes the end of the grid, and once with the grid.
 */
export function flowMatchGrid(options: FlowMatchGridOptions): SamplingGrid {
  const { trainSteps = 1000, shift = 1, dynamicShift, terminal, invert = false } = options;
  const applied = dynamicShift ? shiftOf(dynamicShift) : shift;
  let times = shiftTimes(startTimes(options, trainSteps, dynamicShift ? 1 : shift), applied);
  if (terminal !== undefined) times = stretchTimes(times, terminal);
  if (options.sigmas) {
    const range = { steps: times.length, sigmaMax: times[0], sigmaMin: times[times.length - 1] };
    times = { karras: karrasSigmas, exponential: exponentialSigmas, beta: betaSigmas }[options.sigmas](range);
  }
  if (invert) times = times.map((time) => 1 - time);
  const sigmas = Float64Array.of(...times, invert ? 1 : 0);
  return { timesteps: times.map((time) => time * trainSteps), sigmas, initialNoise: 1 };
}

function shiftOf({ mu, type = "exponential" }: DynamicShift): number {
  return type === "exponential" ? Math.exp(mu) : mu;
}

/** The times that are given, or evenly spaced ones from 1 to the least time of training, itself shifted. */
function startTimes(options: FlowMatchGridOptions, trainSteps: number, shift: number): Float64Array {
  const { steps, times } = options;
  if (times) {
    const list = Array.from(times);
    if (
      steps !== undefined ||
      list.length === 0 ||
      !list.every((t, i) => t > 0 && (i === 0 ? t <= 1 : t < list[i - 1]))
    )
      throw new ArgumentError({
        op: "flowMatchGrid",
        problem: `times are [${list.join(", ")}]${steps === undefined ? "" : ` and steps is ${steps}`}.`,
        advice: "Expected times that descend from 1 at most towards 0, and no steps beside them.",
      });
    return Float64Array.from(list);
  }
  expectSteps("flowMatchGrid", steps ?? NaN, trainSteps);
  const [least] = shiftTimes(Float64Array.of(1 / trainSteps), shift);
  return linearGrid(1, least, steps!);
}
