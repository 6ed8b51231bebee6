// What a pipeline is asked for, made into what `sample` takes, with diffusers' defaults.

import type { Precision } from "../device/executor.ts";
import { schedulerFromConfig } from "../diffusion/schedulers/index.ts";
import type { SchedulerName } from "../diffusion/schedulers/index.ts";
import { Scheduler } from "../diffusion/schedulers/scheduler.ts";
import type { SchedulerFamily, SolverRun } from "../diffusion/schedulers/scheduler.ts";
import type { Solver } from "../diffusion/solver/solver.ts";
import { ArgumentError, showValue } from "../errors/index.ts";
import type { UNet2D } from "../nn/unet2d/unet2d.ts";
import type { Seed } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { InpaintOptions } from "./inpainting.ts";
import type { Denoiser, SampleOptions } from "./sample.ts";

/** What to draw with a pipeline, and how. */
export interface PipelineSampleOptions {
  /** Number of images; default 1. */
  readonly n?: number;
  /** Image k of a seed is the same whatever `n` and `batch` are. Default 0. */
  readonly seed?: Seed;
  /** The class of each image, or one that all have, for a model with classes. */
  readonly label?: number | ArrayLike<number>;
  /** Classifier-free guidance: 1 for the class as it is, more for more of it; needs `nullLabel`. Default 1. */
  readonly guidance?: number;
  /** The class that stands for none. */
  readonly nullLabel?: number;
  /** Instead of the pipeline's own scheduler: another one, or a class of diffusers, made with the options of the pipeline's. */
  readonly scheduler?: Scheduler | SchedulerName;
  /** Number of steps. Default, as in diffusers: 1000 for `DDPMScheduler`, 50 for others, and never more than in training. */
  readonly steps?: number;
  /** How much noise DDIM and TCD add again, from 0 to 1. */
  readonly eta?: number;
  /** A solver that is ready, instead of `scheduler`, `steps`, `eta` and `strength`: for runs with options of their own. */
  readonly solver?: Solver;
  /** Pictures to start from (img2img): [n, H, W, C], or [1, H, W, C] for one that all start from. */
  readonly from?: Tensor;
  /**
   * How much of `from` is lost in noise: the last `floor(strength steps)` steps are made. Above 0, up to 1; default 0.8.
   */
  readonly strength?: number;
  /** Keep a part of the pictures. */
  readonly inpaint?: InpaintOptions;
  /** Noise to start from instead of the seed's, of variance 1: [n, H, W, C], or [1, H, W, C] for one that all start from. */
  readonly noise?: Tensor;
  /** [height, width]; default: those of `from`, `noise` or what is inpainted, else those that the model was trained for. */
  readonly size?: readonly [height: number, width: number];
  /** Images that go through the network at once; default 64. */
  readonly batch?: number;
  /** Look at the images after so many steps, where the run is iterated; default 1. */
  readonly previewEvery?: number;
  /** Stops the run between two steps; it then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Call the model for each step instead of replaying a plan. Default: in strict mode. */
  readonly eager?: boolean;
  /** Stop at the first operation whose result is not finite, with an error that names its layer: for models that diverged. */
  readonly checkFinite?: boolean;
  /** What products may round their operands to: "tf32" or "bf16" on device "cuda" (see `capture`). Default "float32". Not with `eager`. */
  readonly precision?: Precision;
  /** Sample from noise although the first step expects pictures that still hold signal. */
  readonly allowResidualSignal?: boolean;
}

/** The parts of a pipeline that sample. */
export interface PipelineParts {
  readonly model: UNet2D;
  readonly scheduler: Scheduler;
}

/** diffusers' number of steps, by the class of the scheduler. */
const defaultSteps: Readonly<Record<string, number>> = { DDPMScheduler: 1000 };
const otherDefaultSteps = 50;
/** diffusers' img2img. */
const defaultStrength = 0.8;
/** Classes whose runs have an `eta`. */
const withEta: readonly string[] = ["DDIMScheduler", "TCDScheduler"];

/** What `sample` is given, with a solver. */
export function sampleOptionsOf(
  op: string,
  parts: PipelineParts,
  options: PipelineSampleOptions,
): SampleOptions & { readonly solver: Solver } {
  const { n = 1, label, nullLabel, previewEvery = 1 } = options;
  const { seed, guidance, from, inpaint, noise, batch, signal } = options;
  const { eager, checkFinite, precision, allowResidualSignal } = options;
  const { model } = parts;
  expectLabels(op, model, options);
  const { device, dtype } = model.conv_in.weight;
  return {
    model: inUse(model),
    solver: solverOf(op, parts, options),
    count: n,
    size: [...sizeOf(op, model, options), model.inChannels],
    classLabels: label,
    ...{ seed, batch, nullLabel, guidance, from, inpaint, noise, signal },
    ...{ eager, checkFinite, precision, allowResidualSignal },
    previewEvery,
    device,
    dtype: dtype === "float64" ? "float64" : "float32",
  };
}

/** The way from noise, or from pictures, that is asked for. */
function solverOf(op: string, { scheduler: own }: PipelineParts, options: PipelineSampleOptions): Solver {
  const { solver, scheduler: asked = own, eta, from, strength } = options;
  if (solver) {
    const also = (["scheduler", "steps", "eta", "strength"] as const).filter((name) => options[name] !== undefined);
    if (also.length > 0)
      throw new ArgumentError({
        op,
        problem: `a solver is given, and ${also.join(", ")} as well, which it was made with.`,
      });
    return solver;
  }
  if (strength !== undefined && !from)
    throw new ArgumentError({ op, problem: `strength is ${showValue(strength)}, and there are no pictures to start from.`, advice: "Give them as from." }); // prettier-ignore
  const scheduler = asked instanceof Scheduler ? asked : exchanged(op, own, asked);
  if (eta !== undefined && !withEta.includes(scheduler.name))
    throw new ArgumentError({
      op,
      problem: `eta is ${showValue(eta)}, and ${scheduler.name} has none.`,
      advice: `${withEta.join(" and ")} have one.`,
    });
  const steps = options.steps ?? stepsOf(scheduler);
  const begin = from ? skippedSteps(op, steps, strength ?? defaultStrength) : 0;
  const run: SolverRun & { readonly eta?: number } = { steps, begin, ...(eta !== undefined && { eta }) };
  return scheduler.solver(run);
}

const families: Readonly<Record<SchedulerFamily, string>> = {
  schedule: "of a noise schedule",
  edm: "with EDM's preconditioning",
  flow: "of flow matching",
};

/** A scheduler of another class with the options of the pipeline's own; refuses one that would misread the network. */
function exchanged(op: string, own: Scheduler, name: string): Scheduler {
  const scheduler = schedulerFromConfig(own.config(), name);
  if (scheduler.family === own.family) return scheduler;
  throw new ArgumentError({
    op,
    problem: `the scheduler is ${showValue(name)}, for networks ${families[scheduler.family]}; that of ${own.name} is one ${families[own.family]}.`,
    advice: "Where the network is another one nevertheless, give a scheduler that was made with its options.",
  });
}

function stepsOf(scheduler: Scheduler): number {
  const { num_train_timesteps: trained } = scheduler.config();
  return Math.min(defaultSteps[scheduler.name] ?? otherDefaultSteps, typeof trained === "number" ? trained : Infinity);
}

/** How many steps img2img leaves out, as in diffusers. */
function skippedSteps(op: string, steps: number, strength: number): number {
  const made = Math.min(Math.floor(steps * strength), steps);
  if (!(strength > 0 && strength <= 1 && made >= 1))
    throw new ArgumentError({
      op,
      problem: `strength is ${showValue(strength)}, which makes ${made} of ${steps} steps.`,
      advice: "Expected a number above 0 and up to 1, and enough steps that one is made at least.",
    });
  return steps - made;
}

function sizeOf(
  op: string,
  model: UNet2D,
  { size, from, noise, inpaint }: PipelineSampleOptions,
): readonly [height: number, width: number] {
  const { sampleSize } = model.options;
  const given = from ?? noise ?? inpaint?.image;
  const found = size ?? (given ? given.shape.slice(1, 3) : sampleSize);
  if (found === null)
    throw new ArgumentError({
      op,
      problem: "the model's sample_size is null, which does not say how large pictures are to be.",
      advice: "Give size: [height, width].",
    });
  const [height, width] = typeof found === "number" ? [found, found] : found;
  return [height, width];
}

/** Refuses labels that the model does not have, and none where it needs them. */
function expectLabels(op: string, model: UNet2D, { label, nullLabel }: PipelineSampleOptions): void {
  const { numClassEmbeds, classEmbedType } = model.options;
  const refuse = (problem: string, advice?: string): never => {
    throw new ArgumentError({ op, problem, advice });
  };
  if (classEmbedType === "identity")
    refuse(
      "the model takes embeddings for classes, which have no numbers.",
      "Call sample with a model that adds them.",
    );
  if ((model.class_embedding === undefined) !== (label === undefined))
    refuse(
      label === undefined ? "label is missing: the model is conditioned on classes." : "label is given, and the model has no classes.", // prettier-ignore
    );
  if (numClassEmbeds === null || classEmbedType !== null) return;
  const expectClass = (name: string, value: number): void => {
    if (!(value < numClassEmbeds))
      refuse(`${name} is ${showValue(value)}, expected a class of the model, from 0 to ${numClassEmbeds - 1}.`);
  };
  if (typeof label === "number") expectClass("label", label);
  else
    Array.from(label ?? []).forEach((one, image) => {
      expectClass(`label of image ${image}`, one);
    });
  if (nullLabel !== undefined) expectClass("nullLabel", nullLabel);
}

/** The model as it is in use: without dropout, whatever mode it is in for others. */
function inUse(model: UNet2D): Denoiser {
  return {
    forward(x, t, conditions) {
      const training = [...model.namedModules().values()].filter((module) => module.training);
      try {
        for (const module of training) module.training = false;
        return model.forward(x, t, conditions);
      } finally {
        for (const module of training) module.training = true;
      }
    },
  };
}
