// The pipelines of diffusers that draw pictures with a UNet2DModel and a scheduler, and the components that they have.

import type { SchedulerName } from "../diffusion/schedulers/index.ts";

/** A pipeline of diffusers. */
export interface PipelineClass {
  /** The only scheduler that it has: diffusers makes it of whatever is in the folder. */
  readonly scheduler?: SchedulerName;
}

/** The supported ones by their names. */
export const pipelineClasses = {
  DDPMPipeline: {},
  DDIMPipeline: { scheduler: "DDIMScheduler" },
  PNDMPipeline: { scheduler: "PNDMScheduler" },
} as const satisfies Record<string, PipelineClass>;

/** diffusers' name of a pipeline. */
export type PipelineName = keyof typeof pipelineClasses;

/** Whether a value from outside names a supported pipeline. */
export function isPipelineName(name: unknown): name is PipelineName {
  return typeof name === "string" && Object.hasOwn(pipelineClasses, name);
}

/**
 * The pipeline that a folder with this scheduler becomes in diffusers: its own, if there is one. DDPMPipeline hands schedulers
 * a generator, which that of PNDM does not take.
 */
export function pipelineNameFor(scheduler: string): PipelineName {
  const classes: readonly (readonly [string, PipelineClass])[] = Object.entries(pipelineClasses);
  const own = classes.find(([, pipeline]) => pipeline.scheduler === scheduler);
  return (own?.[0] ?? "DDPMPipeline") as PipelineName;
}

/** The class of models, as files name it. */
export const modelClass = "UNet2DModel";
/** The package that files name beside classes. */
export const library = "diffusers";
/** The version of diffusers whose keys the configs have that are written here. */
export const configVersion = "0.40.0";

/** Names of files and folders, as diffusers has them. */
export const fileNames = {
  index: "model_index.json",
  unet: "unet/",
  scheduler: "scheduler/",
  modelConfig: "config.json",
  schedulerConfig: "scheduler_config.json",
  weights: "diffusion_pytorch_model",
} as const;
