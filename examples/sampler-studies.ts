// The samplers whose convergence is measured: which options show it, and what order they have.

import {
  DDIMScheduler,
  DDPMScheduler,
  DEISMultistepScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  EDMDPMSolverMultistepScheduler,
  EDMEulerScheduler,
  EulerAncestralDiscreteScheduler,
  EulerDiscreteScheduler,
  FlowMatchEulerDiscreteScheduler,
  FlowMatchHeunDiscreteScheduler,
  HeunDiscreteScheduler,
  KDPM2AncestralDiscreteScheduler,
  KDPM2DiscreteScheduler,
  LMSDiscreteScheduler,
  PNDMScheduler,
  TCDScheduler,
  UniPCMultistepScheduler,
  exponentialSigmas,
  randn,
} from "langevin";
import type { Scheduler, SolverRun } from "langevin";
import { GaussianMixture } from "./gaussian-mixture.ts";
import type { Sampler } from "./sampler-errors.ts";
import { momentError, pathError } from "./sampler-errors.ts";

/** A sampler and how it converges. */
export interface Study {
  readonly name: string;
  /** The power of the step that its error falls with. */
  readonly order: number;
  /** What its error is: distance from the exact path, or, of samplers that add noise, from the exact mean and deviation. */
  readonly of: "path" | "moments";
  /** Numbers of steps, each twice the one before. */
  readonly steps: readonly number[];
  /** The sampler for a number of steps. */
  readonly sampler: (steps: number) => Sampler;
}

/** A point of a study. */
export interface Measurement {
  /** Calls of the network. */
  readonly calls: number;
  readonly error: number;
}

/** Two channels in three clusters that are not Gaussian together. */
export const mixture = new GaussianMixture([
  { weight: 0.5, mean: [-1, -0.5], deviation: 0.5 },
  { weight: 0.3, mean: [0.8, 0.6], deviation: 0.4 },
  { weight: 0.2, mean: [0.3, -1], deviation: 0.3 },
]);

/** Data for which moments are known without sampling error. */
const gaussian = new GaussianMixture([{ weight: 1, mean: [0.7], deviation: 0.4 }]);

/** The errors of a study. Everything is float64, and thus on the device `ts`. */
export function measure({ of, steps, sampler }: Study): Measurement[] {
  const z = randn([64, 1, 1, mixture.channels], { seed: 1, dtype: "float64", device: "ts" });
  return steps.map((count) => {
    const made = sampler(count);
    const error = of === "path" ? pathError(made, mixture, z) : momentError(made, gaussian);
    return { calls: made.solver.calls, error };
  });
}

/** The order that the last two errors show. */
export function measuredOrder(measurements: readonly Measurement[]): number {
  const [before, last] = measurements.slice(-2);
  return Math.log2(before.error / last.error);
}

const doublings = [8, 16, 32, 64, 128];
/** For steps that come in threes. */
const doublingsOf3 = [6, 12, 24, 48, 96, 192];

/** A study with the usual numbers of steps. */
export function study<R extends SolverRun>(
  name: string,
  order: number,
  scheduler: Scheduler<never, R>,
  run: (steps: number) => R,
  { of = "path", steps = doublings }: Partial<Pick<Study, "of" | "steps">> = {},
): Study {
  return { name, order, of, steps, sampler: (count) => ({ scheduler, solver: scheduler.solver(run(count)) }) };
}

/** A run of `steps`, as the scheduler's own options place them. */
const bySteps = (steps: number) => ({ steps });

/**
 * Sigmas evenly spaced in lambda, and their end, above 0: the step to sigma 0 is of first order in every sampler, and
 * infinitely long in lambda.
 */
export const evenly = (steps: number) => ({
  sigmas: exponentialSigmas({ steps: steps + 1, sigmaMax: 80, sigmaMin: 0.02 }),
});

/** No step of lower order but the first ones. */
const fullOrder = { lowerOrderFinal: false } as const;
const fullOrderToSigmaMin = { ...fullOrder, finalSigmasType: "sigma_min" } as const;

/** A number of timesteps that can be halved often. */
const numTrainTimesteps = 1024;
const byTimestep = { numTrainTimesteps, clipSample: false, timestepSpacing: "trailing" } as const;

/** Betas whose noise is smooth in t down to t = 0, where it is usually like a root, and the order of PNDM falls. */
const smoothBetas = Array.from({ length: 8192 }, (_, t) => (t === 0 ? 0.05 : 0.1 / 8192 + (19.9 * t) / 8192 ** 2));

const withNoise = { of: "moments", steps: [...doublings, 256] } as const;

/** What the picture shows, by panels. */
export const panels: Readonly<Record<string, readonly Study[]>> = {
  "First order": [
    study("Euler", 1, new EulerDiscreteScheduler(), evenly),
    study("DDIM", 1, new DDIMScheduler(byTimestep), bySteps),
    study("Euler, flow matching", 1, new FlowMatchEulerDiscreteScheduler(), bySteps),
    study("Euler, EDM", 1, new EDMEulerScheduler(), bySteps),
    study("TCD, eta 0", 1, new TCDScheduler({ numTrainTimesteps, originalInferenceSteps: 1024 }), (steps) => ({
      steps,
      eta: 0,
    })),
  ],
  "Second order": [
    study("Heun", 2, new HeunDiscreteScheduler(), evenly),
    study("Heun, flow matching", 2, new FlowMatchHeunDiscreteScheduler(), bySteps),
    study("KDPM2", 2, new KDPM2DiscreteScheduler(), evenly),
    study("DPM-Solver++ 2M", 2, new DPMSolverMultistepScheduler(fullOrderToSigmaMin), evenly),
    study("DPM-Solver++ 2S", 2, new DPMSolverSinglestepScheduler(fullOrderToSigmaMin), evenly),
    study("DPM-Solver++ 3M", 2, new DPMSolverMultistepScheduler({ ...fullOrderToSigmaMin, solverOrder: 3 }), evenly),
    study("DPM-Solver++ 2M, EDM", 2, new EDMDPMSolverMultistepScheduler(fullOrder), bySteps),
    study("DEIS 2", 2, new DEISMultistepScheduler(fullOrder), evenly),
    study("PNDM", 2, new PNDMScheduler({ trainedBetas: smoothBetas, numTrainTimesteps: 8192 }), bySteps),
  ],
  "Third order and more": [
    study("DPM-Solver++ 3S", 3, new DPMSolverSinglestepScheduler({ ...fullOrderToSigmaMin, solverOrder: 3 }), evenly, {
      steps: doublingsOf3,
    }),
    study("DEIS 3", 3, new DEISMultistepScheduler({ ...fullOrder, solverOrder: 3 }), evenly),
    study("UniPC 2", 3, new UniPCMultistepScheduler(fullOrder), evenly),
    study("UniPC 3", 4, new UniPCMultistepScheduler({ ...fullOrder, solverOrder: 3 }), evenly, {
      steps: [...doublings, 256],
    }),
    study("LMS 4", 4, new LMSDiscreteScheduler(), evenly, { steps: [...doublings, 256] }),
  ],
  "With noise": [
    study("DDPM", 1, new DDPMScheduler(byTimestep), bySteps, withNoise),
    study("DDIM, eta 1/2", 1, new DDIMScheduler(byTimestep), (steps) => ({ steps, eta: 0.5 }), withNoise),
    study("Euler ancestral", 1, new EulerAncestralDiscreteScheduler(), evenly, withNoise),
    study("KDPM2 ancestral", 2, new KDPM2AncestralDiscreteScheduler(), evenly, {
      ...withNoise,
      steps: doublings,
    }),
    study("Euler, churn 4", 1, new EulerDiscreteScheduler(), (steps) => ({ ...evenly(steps), churn: 4 }), withNoise),
    study(
      "SDE-DPM-Solver++ 2M",
      2,
      new DPMSolverMultistepScheduler({ ...fullOrderToSigmaMin, algorithmType: "sde-dpmsolver++" }),
      evenly,
      withNoise,
    ),
    study(
      "SDE-DPM-Solver++ 2M, EDM",
      2,
      new EDMDPMSolverMultistepScheduler({ ...fullOrder, algorithmType: "sde-dpmsolver++" }),
      bySteps,
      withNoise,
    ),
    study(
      "SDE-DPM-Solver++ 2S",
      1,
      new DPMSolverSinglestepScheduler({ ...fullOrderToSigmaMin, algorithmType: "sde-dpmsolver++" }),
      evenly,
      withNoise,
    ),
  ],
};
