// Every option that a scheduler of diffusers has, under its name in camelCase, with what is valid for it.

import { z } from "zod";
import type { AlphaBarCurve, BetaRange } from "../betas.ts";
import type { TimestepSpacing } from "../grids/timestep-grid.ts";
import type { PredictionType } from "../predictions.ts";

/** All options of all schedulers. Each scheduler has some of them, see its `defaults`. */
export interface SchedulerOptions {
  /** T, the number of timesteps that the network was trained with. */
  numTrainTimesteps: number;
  /** beta at t = 0. */
  betaStart: number;
  /** beta at t = T - 1. */
  betaEnd: number;
  /** How beta goes from one to the other, or the curve of alphaBar. */
  betaSchedule: BetaRange | AlphaBarCurve;
  /** The betas themselves, instead of the above. */
  trainedBetas: readonly number[] | null;
  /** Rescale the betas so that x_T is noise alone (Lin et al. 2024). */
  rescaleBetasZeroSnr: boolean;
  /** What the network predicts. */
  predictionType: Exclude<PredictionType, "edm">;
  /** How the timesteps of sampling are spread over those of training. */
  timestepSpacing: TimestepSpacing;
  /** Added to the timesteps of "leading" spacing. */
  stepsOffset: number;
  /** The last step goes to alphaBar = 1, else to that of t = 0. */
  setAlphaToOne: boolean;
  /** Clip the predicted x0 to [-clipSampleRange, clipSampleRange]. */
  clipSample: boolean;
  /** See `clipSample`. */
  clipSampleRange: number;
  /** Dynamic thresholding of the predicted x0 (Saharia et al. 2022); comes before `clipSample`. */
  thresholding: boolean;
  /** Its quantile. */
  dynamicThresholdingRatio: number;
  /** Its greatest threshold. */
  sampleMaxValue: number;
  /** Variance of the reverse step, fixed or learned (Ho et al. 2020, section 3.2; Nichol & Dhariwal 2021). */
  varianceType:
    "fixed_small" | "fixed_small_log" | "fixed_large" | "fixed_large_log" | "learned" | "learned_range" | null;
  /** PNDM: no Runge-Kutta steps at the start. */
  skipPrkSteps: boolean;
  /** How sigmas follow from timesteps. */
  interpolationType: "linear" | "log_linear";
  /** Sigmas of Karras et al. 2022, eq. 5. */
  useKarrasSigmas: boolean;
  /** Sigmas evenly spaced in their logarithm. */
  useExponentialSigmas: boolean;
  /** Sigmas at quantiles of a beta distribution (Lee et al. 2024). */
  useBetaSigmas: boolean;
  /** Steps evenly spaced in lambda (Lu et al. 2022). */
  useLuLambdas: boolean;
  /** Sigmas of flow matching, x_t = (1 - sigma) x0 + sigma noise. */
  useFlowSigmas: boolean;
  /** Shift of the flow's sigmas towards noise. */
  flowShift: number;
  /** Least sigma; null for that of the schedule. */
  sigmaMin: number | null;
  /** Greatest sigma; null for that of the schedule. */
  sigmaMax: number | null;
  /** What the network is given for t: a timestep, or with v-prediction ln(sigma) / 4. */
  timestepType: "discrete" | "continuous";
  /** Where the last step goes: to 0, or to the least sigma of training. */
  finalSigmasType: "zero" | "sigma_min";
  /** Order of the method. */
  solverOrder: number;
  /** Which equation is solved: that of x0 (`++`) or of epsilon, as an ODE or an SDE. */
  algorithmType: "dpmsolver" | "dpmsolver++" | "sde-dpmsolver" | "sde-dpmsolver++" | "deis";
  /** Which method of its order. */
  solverType: "midpoint" | "heun" | "logrho" | "bh1" | "bh2";
  /** Take lower orders in the last of fewer than 15 steps. */
  lowerOrderFinal: boolean;
  /** Make the last step Euler's. */
  eulerAtFinal: boolean;
  /** Visit no timestep whose lambda = ln(signal / noise) is below this. */
  lambdaMinClipped: number;
  /** Solve the equation of x0, else that of epsilon. */
  predictX0: boolean;
  /** Steps (from 0) after which UniPC does not correct. */
  disableCorrector: readonly number[];
  /** Another predictor for UniPC; only null, its own, is supported. */
  solverP: null;
  /** Take the shift of each run from `mu`. */
  useDynamicShifting: boolean;
  /** Shift by e^mu or by mu. */
  timeShiftType: "exponential" | "linear";
  /** Stretch the times to end here. */
  shiftTerminal: number | null;
  /** Number of timesteps that a consistency model was distilled at. */
  originalInferenceSteps: number;
  /** What timesteps are multiplied by in a consistency model's boundary condition. */
  timestepScaling: number;
  /** Standard deviation of the data, in EDM. */
  sigmaData: number;
  /** How EDM's sigmas are spaced. */
  sigmaSchedule: "karras" | "exponential";
  /** Exponent of the Karras sigmas. */
  rho: number;
  /** Shift of the times towards noise. */
  shift: number;
  /** Dynamic shift of the smallest picture; applications compute `mu` from it. */
  baseShift: number;
  /** Dynamic shift of the greatest picture. */
  maxShift: number;
  /** Size of the smallest picture, in tokens. */
  baseImageSeqLen: number;
  /** Size of the greatest picture, in tokens. */
  maxImageSeqLen: number;
  /** Go from 0 to 1, for networks whose time runs the other way. */
  invertSigmas: boolean;
  /** Go to the predicted x0 and back to the next noise level with new noise. */
  stochasticSampling: boolean;
}

const finite = z.number();
const positive = z.number().positive();
const count = z.int().positive();
const flag = z.boolean();

/** What is valid for each option. */
export const optionSchemas: { readonly [K in keyof SchedulerOptions]: z.ZodType<SchedulerOptions[K]> } = {
  numTrainTimesteps: count,
  betaStart: positive,
  betaEnd: positive,
  betaSchedule: z.enum(["linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2", "exp", "laplace"]),
  trainedBetas: z.array(finite).nullable(),
  rescaleBetasZeroSnr: flag,
  predictionType: z.enum(["epsilon", "sample", "v_prediction", "flow_prediction"]),
  timestepSpacing: z.enum(["leading", "linspace", "trailing"]),
  stepsOffset: z.int().nonnegative(),
  setAlphaToOne: flag,
  clipSample: flag,
  clipSampleRange: positive,
  thresholding: flag,
  dynamicThresholdingRatio: z.number().min(0).max(1),
  sampleMaxValue: positive,
  varianceType: z
    .enum(["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"])
    .nullable(),
  skipPrkSteps: flag,
  interpolationType: z.enum(["linear", "log_linear"]),
  useKarrasSigmas: flag,
  useExponentialSigmas: flag,
  useBetaSigmas: flag,
  useLuLambdas: flag,
  useFlowSigmas: flag,
  flowShift: positive,
  sigmaMin: positive.nullable(),
  sigmaMax: positive.nullable(),
  timestepType: z.enum(["discrete", "continuous"]),
  finalSigmasType: z.enum(["zero", "sigma_min"]),
  solverOrder: z.int().min(1).max(3),
  algorithmType: z.enum(["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis"]),
  solverType: z.enum(["midpoint", "heun", "logrho", "bh1", "bh2"]),
  lowerOrderFinal: flag,
  eulerAtFinal: flag,
  lambdaMinClipped: z.union([finite, z.literal(-Infinity)]),
  predictX0: flag,
  disableCorrector: z.array(z.int().nonnegative()),
  solverP: z.null(),
  useDynamicShifting: flag,
  timeShiftType: z.enum(["exponential", "linear"]),
  shiftTerminal: positive.nullable(),
  originalInferenceSteps: count,
  timestepScaling: positive,
  sigmaData: positive,
  sigmaSchedule: z.enum(["karras", "exponential"]),
  rho: positive,
  shift: positive,
  baseShift: finite,
  maxShift: finite,
  baseImageSeqLen: count,
  maxImageSeqLen: count,
  invertSigmas: flag,
  stochasticSampling: flag,
};

/** numTrainTimesteps -> num_train_timesteps. */
export function configKey(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** num_train_timesteps -> numTrainTimesteps. */
export function optionName(key: string): string {
  return key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** Whether a key's numbers are floats in Python: whether the option may be a fraction. */
export function isFloatKey(key: string): boolean {
  const option = optionName(key);
  if (!Object.hasOwn(optionSchemas, option)) return false;
  const schema: z.ZodType = optionSchemas[option as keyof SchedulerOptions];
  return [0.5, [0.5]].some((value) => schema.safeParse(value).success);
}
