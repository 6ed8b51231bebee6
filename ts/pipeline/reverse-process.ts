// What a sampling run goes through, call by call: a scheduler's solver, or DDPM's own steps with their fused operation.

import type { NoiseSchedule } from "../diffusion/noise-schedule.ts";
import type { NoiseLevel } from "../diffusion/predictions.ts";
import type { Network, Solver, SolverState } from "../diffusion/solver/solver.ts";

import { ShapeError, showShape } from "../errors/index.ts";
import { draws, randn } from "../tensor/random.ts";
import type { StepNumber } from "../tensor/recording.ts";
import { perStep } from "../tensor/recording.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { alphaBarLevel } from "../diffusion/schedulers/levels.ts";

/** Where noise of a run is drawn. */
export interface NoisePlace {
  readonly seed: bigint;
  /** Number of the image in row 0. */
  readonly image: StepNumber;
  /** Number of the step that is made. */
  readonly step: StepNumber;
}

/** A way from noise to pictures. */
export interface ReverseProcess {
  /** Who samples, for errors. */
  readonly name: string;
  /** Number of calls of the network. */
  readonly calls: number;
  /** How much of x0 and of noise is in x before each call, and after the last. */
  readonly levels: readonly NoiseLevel[];
  /** Standard deviation of the noise to start from. */
  readonly initialNoise: number;
  /** The state before the first call. */
  start(x: Tensor): SolverState;
  /** The state after the call whose number is read, once for each step of a plan. */
  step(state: SolverState, call: () => number, network: Network, place: NoisePlace): SolverState;
}

/** Noise for row k of x from the place of image k. */
export function noiseAt(x: Tensor, draw: number, place: NoisePlace): Tensor {
  return randn(x.shape, { ...place, draw, device: x.device, dtype: x.dtype });
}

/** The way that a solver goes. */
export function solverProcess(solver: Solver): ReverseProcess {
  const { name, calls, levels, initialNoise } = solver;
  return {
    name,
    calls,
    levels,
    initialNoise,
    start: (x) => solver.start(x),
    step: (state, call, network, place) =>
      solver.step(state, perStep(call), network, () => noiseAt(state.x, draws.reverseNoise, place)),
  };
}

/** Ho et al. 2020, algorithm 2: every timestep of the schedule, for a network that predicts epsilon. */
export function ddpmProcess(schedule: NoiseSchedule): ReverseProcess {
  const { steps } = schedule;
  return {
    name: "sample",
    calls: steps,
    levels: [...Array.from(schedule.alphaBar, alphaBarLevel).reverse(), { signal: 1, noise: 0 }],
    initialNoise: 1,
    start: (x) => ({ x, registers: {} }),
    step({ x }, call, network, place) {
      const t = perStep(() => steps - 1 - call());
      const timesteps = schedule.timesteps(t, x, "sample");
      const epsilon = network(x, timesteps);
      if (showShape(epsilon.shape) !== showShape(x.shape))
        throw new ShapeError({
          op: "sample",
          problem: `the model returned shape ${showShape(epsilon.shape)} for images of shape ${showShape(x.shape)}.`,
          advice: "A denoiser returns the noise in x, shaped as x.",
        });
      return { x: schedule.reverseStep(x, timesteps, epsilon, place), registers: {} };
    },
  };
}
