// Cases of noise schedules and of the grids of samplers, in diffusers' words.

import type { SamplingGrid, SigmaGridName, TimestepSpacing } from "langevin";
import { NoiseSchedule, consistencyGrid, edmGrid, flowMatchGrid, samplingGrid } from "langevin";
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

/** What diffusers' configurations say of the grid of a sampler. */
export interface GridConfig extends ScheduleConfig {
  readonly timestep_spacing?: TimestepSpacing;
  readonly steps_offset?: number;
  readonly use_karras_sigmas?: boolean;
  readonly use_exponential_sigmas?: boolean;
  readonly use_beta_sigmas?: boolean;
  readonly use_lu_lambdas?: boolean;
  readonly use_flow_sigmas?: boolean;
  readonly flow_shift?: number;
  readonly final_sigmas_type?: "zero" | "sigma_min";
  readonly lambda_min_clipped?: number | "-inf";
  readonly interpolation_type?: "linear" | "log_linear";
  readonly timestep_type?: "discrete" | "continuous";
  readonly prediction_type?: string;
  readonly skip_prk_steps?: boolean;
  readonly original_inference_steps?: number;
  readonly sigma_min?: number | null;
  readonly sigma_max?: number | null;
  readonly sigma_schedule?: "karras" | "exponential";
  readonly rho?: number;
  readonly shift?: number;
  readonly shift_terminal?: number | null;
  readonly use_dynamic_shifting?: boolean;
  readonly time_shift_type?: "exponential" | "linear";
  readonly invert_sigmas?: boolean;
}

/** Arguments of diffusers' set_timesteps. */
export interface SetTimesteps {
  readonly num_inference_steps?: number;
  readonly timesteps?: readonly number[];
  readonly sigmas?: readonly number[];
  readonly mu?: number;
}

function namedSigmas(config: GridConfig): SigmaGridName | undefined {
  const { use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas, use_flow_sigmas } = config;
  if (use_karras_sigmas) return "karras";
  if (use_exponential_sigmas) return "exponential";
  if (use_beta_sigmas) return "beta";
  if (use_lu_lambdas) return "lu";
  return use_flow_sigmas ? "flow" : undefined;
}

/** The grid that a scheduler of diffusers has after set_timesteps. */
export function gridOf(scheduler: string, config: GridConfig, set: SetTimesteps): SamplingGrid {
  const { num_inference_steps: steps, timesteps } = set;
  const [sigmaMin, sigmaMax] = [config.sigma_min ?? undefined, config.sigma_max ?? undefined];
  const finalSigma = config.final_sigmas_type;
  const sigmas = namedSigmas(config);
  switch (scheduler) {
    case "LCMScheduler":
    case "TCDScheduler": {
      const { num_train_timesteps: trainSteps = 1000, original_inference_steps: originalSteps } = config;
      return { timesteps: consistencyGrid({ steps: steps!, trainSteps, originalSteps }), initialNoise: 1 };
    }
    case "EDMEulerScheduler":
    case "EDMDPMSolverMultistepScheduler":
      return edmGrid({
        steps: steps!,
        sigmaMin,
        sigmaMax,
        spacing: config.sigma_schedule,
        rho: config.rho,
        finalSigma,
      });
    case "FlowMatchEulerDiscreteScheduler":
      return flowMatchGrid({
        steps: set.sigmas ? undefined : steps,
        times: set.sigmas,
        trainSteps: config.num_train_timesteps,
        shift: config.shift,
        dynamicShift: config.use_dynamic_shifting ? { mu: set.mu!, type: config.time_shift_type } : undefined,
        terminal: config.shift_terminal ?? undefined,
        sigmas: sigmas as "karras" | "exponential" | "beta" | undefined,
        invert: config.invert_sigmas,
      });
    case "DDPMScheduler":
    case "DDIMScheduler":
    case "PNDMScheduler":
      return samplingGrid(scheduler, scheduleOf(config), {
        steps,
        timesteps,
        spacing: config.timestep_spacing,
        offset: config.steps_offset,
        skipRungeKutta: config.skip_prk_steps,
      });
    case "EulerDiscreteScheduler":
    case "EulerAncestralDiscreteScheduler":
    case "HeunDiscreteScheduler":
    case "LMSDiscreteScheduler":
    case "DPMSolverMultistepScheduler":
    case "DPMSolverSinglestepScheduler":
    case "DEISMultistepScheduler":
    case "UniPCMultistepScheduler":
      return samplingGrid(scheduler, scheduleOf(config), {
        steps,
        timesteps,
        spacing: config.timestep_spacing,
        offset: config.steps_offset,
        sigmas: set.sigmas ?? sigmas,
        sigmaMin,
        sigmaMax,
        flowShift: config.flow_shift,
        finalSigma,
        lambdaMin: config.lambda_min_clipped === "-inf" ? undefined : config.lambda_min_clipped,
        interpolation: config.interpolation_type,
        continuous: config.timestep_type === "continuous" && config.prediction_type === "v_prediction",
      });
    default:
      throw new Error(`no scheduler ${scheduler}`);
  }
}

interface GridCase {
  readonly scheduler: string;
  readonly config: GridConfig;
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
  const got = gridOf(scheduler, config, { num_inference_steps });
  expectGrid(got, data.read(timesteps), sigmas === undefined ? undefined : data.read(sigmas), c.init_noise_sigma);
  return true;
}
