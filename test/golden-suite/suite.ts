// Runs golden cases of any kind on a device, eagerly or as plans: finds the kind, and tells passed from failed and from not
// supported.

import type { Captured, DeviceName, Tensor } from "langevin";
import { capture, scope, setDefaultDType, setDefaultDevice, tensor } from "langevin";
import type { TensorTree } from "../../ts/tensor/tree.ts";
import { tensorsIn } from "../../ts/tensor/tree.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { runEdmSamplerCase } from "./edm-samplers.ts";
import { runDecayTableCase, runEmaCase } from "./ema.ts";
import { runLearningRatesCase } from "./learning-rates.ts";
import { runGaussianDiffusionCase } from "./gaussian-diffusion.ts";
import { runDistancesCase, runInceptionScoreCase, runPsnrCase } from "./metrics.ts";
import { runOpCase } from "./ops.ts";
import { runDiTCase, runTimestepEmbeddingCase } from "./models.ts";
import { runAddNoiseCase, runDenoisingLossCase, runPreconditioningCase } from "./noise-levels.ts";
import { runClipCase, runOptimizerCase } from "./optimizers.ts";
import { runBetasCase, runGridCase } from "./schedules.ts";
import { runTrajectoryCase } from "./trajectories.ts";
import { runReverseCase, runScheduleCase, runTrainCase } from "./tutorial.ts";
import { runForwardBackwardCase, runForwardCase, runLoopCase } from "./unet2d.ts";

/** Where, in what precision and how cases run. */
export interface Setting {
  readonly device: DeviceName;
  readonly dtype: "float32" | "float64";
  /** Golden numbers as a tensor there. */
  tensor(numbers: Numbers): Tensor;
  /** A tensor's values. */
  numbers(value: Tensor): Promise<Numbers>;
  /** The function, or where cases run as plans, what captures it with poisoned memory. */
  planned<A extends readonly TensorTree[], R extends TensorTree | void>(fn: (...inputs: A) => R): (...inputs: A) => R;
  /** Runs what `planned` gave, as one replay where cases run as plans; the first number that each step returns. */
  replay(step: () => TensorTree, steps: number): AsyncGenerator<number, void, undefined>;
  /** All numbers that the case that is running was judged by. */
  readonly judged: number[][];
  /** Plans of the case that is running. */
  readonly plans: { dispose(): void }[];
  /** How many images a network is to see in a case, at most: what lies beyond of a long training or chain is cut off. */
  readonly mostImages: number;
  /** How cases ended, for settings of plans to compare with. */
  readonly ended: Map<Case, { readonly outcome: Outcome; readonly judged: readonly number[][] }>;
  /** Where cases run as plans: the setting whose bits they must have. */
  readonly eager?: Setting;
}

/**
 * Makes the device and dtype the defaults and returns what cases need of them. Given the setting of the same cases run
 * eagerly, cases run as plans, and are as long.
 */
export function enterSetting(
  device: DeviceName,
  dtype: "float32" | "float64",
  { eager, mostImages = eager?.mostImages ?? Infinity }: Partial<Pick<Setting, "eager" | "mostImages">> = {},
): Setting {
  setDefaultDevice(device);
  setDefaultDType(dtype);
  const judged: number[][] = [];
  const plans: { dispose(): void }[] = [];
  return {
    device,
    dtype,
    judged,
    plans,
    mostImages,
    ended: new Map(),
    eager,
    tensor: ({ data, shape, dtype: kind }) => tensor(data, { shape, dtype: kind === "int32" ? "int32" : dtype }),
    numbers: async (value) => {
      const data = Float64Array.from(await value.data());
      judged.push([...data]);
      return { data, shape: value.shape, dtype: value.dtype };
    },
    planned: (fn) => {
      if (!eager) return fn;
      const captured = capture(fn, { poison: true });
      plans.push(captured);
      return captured;
    },
    replay: (step, steps) => (eager ? replay(step as Captured<[], TensorTree>, steps) : runEagerly(step, steps)),
  };
}

async function* replay(step: Captured<[], TensorTree>, steps: number): AsyncGenerator<number, void, undefined> {
  for await (const { values } of step.replay(steps)) yield values[0];
}

async function* runEagerly(step: () => TensorTree, steps: number): AsyncGenerator<number, void, undefined> {
  for (let i = 0; i < steps; i++)
    yield scope(() =>
      tensorsIn(step())
        .find(({ size }) => size === 1)!
        .item(),
    );
}

type Run = (data: DataSet, given: Case, setting: Setting) => Promise<boolean>;

/** What runs a case, by its fields; undefined for a kind that is not supported. */
function runnerOf(given: Case): Run | undefined {
  if ("grad_index" in given) return runClipCase;
  if ("op" in given) return runOpCase;
  if ("optimizer" in given) return runOptimizerCase;
  if ("frechet" in given) return runDistancesCase;
  if (given.name === "inception_score") return runInceptionScoreCase;
  if ("psnr" in given) return runPsnrCase;
  if ("shadow" in given) return runEmaCase;
  if ("warmup_decay" in given) return runDecayTableCase;
  if ("schedule" in given && "lr" in given) return runLearningRatesCase;
  if (given.kind === "train") return runTrainCase;
  if (given.kind === "reverse") return runReverseCase;
  if ("sample_prev_step" in given) return runScheduleCase;
  if ("add_noise" in given && "set_timesteps" in given) return runAddNoiseCase;
  if (given.kind === "preconditioning") return runPreconditioningCase;
  if (given.kind === "loss") return runDenoisingLossCase;
  if (given.kind === "sampler") return runEdmSamplerCase;
  if ("p_mean_variance" in given) return runGaussianDiffusionCase;
  if ("alphas_cumprod" in given) return runBetasCase;
  if (isTimestepEmbedding(given)) return runTimestepEmbeddingCase;
  if ("patch_size" in Object(given.config)) return runDiTCase;
  if ("grad_sample" in given) return runForwardBackwardCase;
  if ("timestep_scalar" in Object(given.inputs)) return runForwardCase;
  // Loops of a sampler and a model have the fields of a grid, too.
  if ("x_after_step" in given) return runLoopCase;
  if ("scheduler" in given && "num_inference_steps" in given) return runGridCase;
  if ("scheduler" in given && "x_steps" in given) return runTrajectoryCase;
  return undefined;
}

function isTimestepEmbedding({ params, inputs }: Case): boolean {
  return "dim" in Object(params) && "timesteps" in Object(inputs);
}

/** How a case ended; `problem` tells why it failed. */
export type Outcome =
  { readonly status: "passed" | "skipped" } | { readonly status: "failed"; readonly problem: string };

/**
 * Runs one case. A kind, operation or option that is not supported is skipped. A plan must also have the bits of the same
 * case run eagerly.
 */
export async function runCase(data: DataSet, given: Case, setting: Setting): Promise<Outcome> {
  const { eager, judged, ended } = setting;
  if (!eager) {
    const outcome = await judge(data, given, setting);
    ended.set(given, { outcome, judged: [...judged] });
    return outcome;
  }
  if (!eager.ended.has(given)) await runCase(data, given, eager);
  const expected = eager.ended.get(given)!;
  if (expected.outcome.status === "skipped") return expected.outcome;
  const outcome = await judge(data, given, setting);
  if (outcome.status !== "passed") return outcome;
  const differing = judged.findIndex((numbers, i) => !sameBits(numbers, expected.judged.at(i) ?? []));
  if (differing < 0 && judged.length === expected.judged.length) return outcome;
  return {
    status: "failed",
    problem: `the plan differs from eager in the numbers that were looked at as no. ${differing}`,
  };
}

function sameBits(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
}

async function judge(data: DataSet, given: Case, setting: Setting): Promise<Outcome> {
  const run = runnerOf(given);
  if (!run) return { status: "skipped" };
  setting.judged.length = 0;
  try {
    return { status: (await run(data, given, setting)) ? "passed" : "skipped" };
  } catch (error) {
    return { status: "failed", problem: error instanceof Error ? error.message : String(error) };
  } finally {
    for (const plan of setting.plans.splice(0)) plan.dispose();
  }
}
