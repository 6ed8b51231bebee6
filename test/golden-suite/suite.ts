// Runs golden cases of any kind on a device: finds the kind, and tells passed from failed and from not supported.

import type { DeviceName, Tensor } from "langevin";
import { setDefaultDType, setDefaultDevice, tensor } from "langevin";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { runOpCase } from "./ops.ts";
import { runAddNoiseCase, runPreconditioningCase } from "./noise-levels.ts";
import { runClipCase, runOptimizerCase } from "./optimizers.ts";
import { runBetasCase, runGridCase } from "./schedules.ts";
import { runReverseCase, runScheduleCase, runTrainCase } from "./tutorial.ts";

/** Where and in what precision cases run. */
export interface Setting {
  readonly device: DeviceName;
  readonly dtype: "float32" | "float64";
  /** Golden numbers as a tensor there. */
  tensor(numbers: Numbers): Tensor;
  /** A tensor's values. */
  numbers(value: Tensor): Promise<Numbers>;
}

/** Makes the device and dtype the defaults and returns what cases need of them. */
export function enterSetting(device: DeviceName, dtype: "float32" | "float64"): Setting {
  setDefaultDevice(device);
  setDefaultDType(dtype);
  return {
    device,
    dtype,
    tensor: ({ data, shape, dtype: kind }) => tensor(data, { shape, dtype: kind === "int32" ? "int32" : dtype }),
    numbers: async (value) => ({
      data: Float64Array.from(await value.data()),
      shape: value.shape,
      dtype: value.dtype,
    }),
  };
}

type Run = (data: DataSet, given: Case, setting: Setting) => Promise<boolean>;

/** What runs a case, by its fields; undefined for a kind that is not supported. */
function runnerOf(given: Case): Run | undefined {
  if ("grad_index" in given) return runClipCase;
  if ("op" in given) return runOpCase;
  if ("optimizer" in given) return runOptimizerCase;
  if (given.kind === "train") return runTrainCase;
  if (given.kind === "reverse") return runReverseCase;
  if ("sample_prev_step" in given) return runScheduleCase;
  if ("add_noise" in given && "set_timesteps" in given) return runAddNoiseCase;
  if (given.kind === "preconditioning") return runPreconditioningCase;
  if ("alphas_cumprod" in given) return runBetasCase;
  if ("scheduler" in given && "num_inference_steps" in given) return runGridCase;
  return undefined;
}

/** How a case ended; `problem` tells why it failed. */
export type Outcome =
  { readonly status: "passed" | "skipped" } | { readonly status: "failed"; readonly problem: string };

/** Runs one case. A kind, operation or option that is not supported is skipped. */
export async function runCase(data: DataSet, given: Case, setting: Setting): Promise<Outcome> {
  const run = runnerOf(given);
  if (!run) return { status: "skipped" };
  try {
    return { status: (await run(data, given, setting)) ? "passed" : "skipped" };
  } catch (error) {
    return { status: "failed", problem: error instanceof Error ? error.message : String(error) };
  }
}
