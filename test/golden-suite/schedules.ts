// Cases of noise schedules and of the grids of samplers, in diffusers' words.

import type { SamplingGrid, Scheduler, SolverRun } from "langevin";
import { NoiseSchedule, schedulerFromConfig } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";

/** What diffusers' configurations say of the noise schedule. */
export interface ScheduleConfig {
  readonly num_train_timesteps?: number;
  readonly beta_start?: number;
  readonly beta_end?: number;
  readonly beta_schedule?: string;
  readonly trained_betas?: readonly number[] | null;
  readonly rescale_betas_zero_snr?: boolean;
}

/** The noise schedule of a configuration. */
export function scheduleOf(config: ScheduleConfig): NoiseSchedule {
  const { num_train_timesteps: steps = 1000, beta_start: betaStart, beta_end: betaEnd } = config;
  const rescaleZeroTerminalSnr = config.rescale_betas_zero_snr;
  if (config.trained_betas) return new NoiseSchedule({ betas: config.trained_betas, rescaleZeroTerminalSnr });
  const schedule = config.beta_schedule ?? "linear";
  switch (schedule) {
    case "linear":
    case "scaled_linear":
    case "sigmoid":
      return new NoiseSchedule({ steps, schedule, betaStart: betaStart!, betaEnd: betaEnd!, rescaleZeroTerminalSnr });
    case "squaredcos_cap_v2":
    case "exp":
    case "laplace":
      return new NoiseSchedule({ steps, schedule, rescaleZeroTerminalSnr });
    default:
      throw new Error(`no schedule ${schedule}`);
  }
}

/** A float64 table as golden numbers. */
export function table(data: Float64Array): Numbers {
  return { data, shape: [data.length], dtype: "float32" };
}

interface BetasCase {
  readonly config: ScheduleConfig;
  readonly betas: string;
  readonly alphas_cumprod: string;
  readonly tolerance: Tolerance;
}

/**
 * PyTorch rescales in float32, where 1 - alphaBar[t] / alphaBar[t - 1] keeps the rounding errors of two cumulative
 * products, roots, differences and squares near 1: here up to 5 units of 2^-24, more than the 1e-7 that these cases grant
 * the betas. The float64 betas have no such error, and the alphaBar that they make meet the case's own tolerance.
 */
const rescaledInFloat32 = 8 * 2 ** -24;

/** Runs a case of `golden/schedulers/betas`. */
export async function runBetasCase(data: DataSet, given: Case): Promise<boolean> {
  const { config, tolerance, ...c } = given as unknown as BetasCase;
  const schedule = scheduleOf(config);
  const atol = config.rescale_betas_zero_snr ? rescaledInFloat32 : tolerance.atol;
  expectClose("betas", table(schedule.beta), data.read(c.betas), { ...tolerance, atol });
  expectClose("alphas_cumprod", table(schedule.alphaBar), data.read(c.alphas_cumprod), tolerance);
  return true;
}

/** Arguments of diffusers' set_timesteps. */
export interface SetTimesteps {
  readonly num_inference_steps?: number;
  readonly timesteps?: readonly number[];
  readonly sigmas?: readonly number[];
  readonly mu?: number;
}

/** diffusers' arguments of step(), as a run's options here. */
const stepArguments: Readonly<Record<string, string>> = {
  eta: "eta",
  use_clipped_model_output: "useClippedModelOutput",
  s_churn: "churn",
  s_tmin: "churnMin",
  s_tmax: "churnMax",
  s_noise: "churnNoise",
  order: "order",
};

/** A configuration of a sidecar, where numbers that JSON does not have are texts, as diffusers' file would have it. */
export function schedulerOf(scheduler: string, config: Readonly<Record<string, unknown>>): Scheduler {
  const options = Object.entries(config).map(([key, value]) => [key, value === "-inf" ? -Infinity : value] as const);
  return schedulerFromConfig({ ...Object.fromEntries(options), _class_name: scheduler });
}

/** set_timesteps and the arguments of step() as a run. */
export function runOf(
  set: SetTimesteps,
  begin: number | null = null,
  step: Readonly<Record<string, unknown>> = {},
): SolverRun {
  const { num_inference_steps: steps, timesteps, sigmas, mu } = set;
  const given = Object.entries(step).map(([name, value]) => [stepArguments[name], value] as const);
  const run = { steps, timesteps, sigmas, ...(mu !== undefined && { mu }), ...Object.fromEntries(given) };
  return begin === null ? run : { ...run, begin };
}

interface GridCase {
  readonly scheduler: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly num_inference_steps: number;
  readonly timesteps: string;
  readonly sigmas?: string;
  readonly init_noise_sigma: number | null;
}

/** The golden data's own: whole timesteps are exact. */
const fractionalTimesteps: Tolerance = { rtol: 0, atol: 0.02 };
const sigmaTolerance: Tolerance = { rtol: 1e-4, atol: 0 };

/** Compares a grid with the arrays that diffusers had. */
export function expectGrid(
  got: SamplingGrid,
  timesteps: Numbers,
  sigmas: Numbers | undefined,
  start: number | null,
): void {
  const tolerance = timesteps.dtype === "int32" ? { rtol: 0, atol: 0 } : fractionalTimesteps;
  expectClose("timesteps", table(got.timesteps), timesteps, tolerance);
  if (sigmas) expectClose("sigmas", table(got.sigmas!), sigmas, sigmaTolerance);
  // diffusers' flow matching has no such number.
  if (start !== null)
    expectClose(
      "init_noise_sigma",
      table(Float64Array.of(got.initialNoise)),
      table(Float64Array.of(start)),
      sigmaTolerance,
    );
}

/** Runs a case of `golden/schedulers/timesteps`. */
export async function runGridCase(data: DataSet, given: Case): Promise<boolean> {
  const { scheduler, config, num_inference_steps, timesteps, sigmas, ...c } = given as unknown as GridCase;
  const got = schedulerOf(scheduler, config).grid(runOf({ num_inference_steps }));
  expectGrid(got, data.read(timesteps), sigmas === undefined ? undefined : data.read(sigmas), c.init_noise_sigma);
  return true;
}
