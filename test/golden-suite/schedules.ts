// Cases of noise schedules: tables of betas, in diffusers' words.

import { NoiseSchedule } from "langevin";
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
