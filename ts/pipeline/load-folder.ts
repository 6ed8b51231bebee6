// Reads a pipeline's folder as diffusers lays it out, now and in its first releases: nothing in it is believed or executed.

import { schedulerFromConfig, schedulers } from "../diffusion/schedulers/index.ts";
import type { Scheduler, SchedulerConfig } from "../diffusion/schedulers/scheduler.ts";
import type { LangevinError } from "../errors/index.ts";
import { ArgumentError, FormatError, ShapeError, showValue } from "../errors/index.ts";
import { SealedFolder } from "../io/sealed-folder.ts";
import { buildStored } from "../nn/stored-weights.ts";
import { UNet2D } from "../nn/unet2d/unet2d.ts";
import type { TensorOptions } from "../tensor/tensor.ts";
import { readJson } from "./json-file.ts";
import type { PipelineName } from "./pipeline-classes.ts";
import { fileNames, isPipelineName, library, modelClass, pipelineClasses } from "./pipeline-classes.ts";
import { openStoredFiles } from "./stored-files.ts";

/** How a pipeline is loaded. */
export interface LoadOptions {
  /** Where the model lives; default: the default device. */
  readonly device?: TensorOptions["device"];
  /** Of the weights; default: the default dtype. float64 only on `ts`. */
  readonly dtype?: "float32" | "float64";
  /** Which of several versions of the weights: "fp16" for diffusion_pytorch_model.fp16.safetensors. */
  readonly variant?: string;
}

/** What model_index.json says of itself. */
export interface PipelineNotes {
  readonly name: PipelineName;
  /** Keys that begin with "_", but for the class. */
  readonly notes: Readonly<Record<string, unknown>>;
}

/** What a folder holds. */
export interface LoadedFolder {
  readonly model: UNet2D;
  readonly scheduler: Scheduler;
  /** Undefined where there is no model_index.json. */
  readonly index: PipelineNotes | undefined;
}

const op = "Pipeline.load";

/** More timesteps than any network was trained with; tables of so many are made. */
const mostTimesteps = 1_000_000;

/** Keys that schedulers had in diffusers' first releases, and that it ignores since. */
const formerKeys: readonly string[] = ["tensor_format", "timestep_values"];

/** Reads a folder; see `Pipeline.load`. */
export async function loadFolder(path: string, options: LoadOptions): Promise<LoadedFolder> {
  const { device, dtype, variant } = options;
  if (variant !== undefined && !/^[\w-]+$/.test(variant))
    throw new ArgumentError({ op, problem: `variant is ${showValue(variant)}, expected a word such as "fp16".` });
  const folder = await SealedFolder.open(op, path);
  const index = (await folder.has(fileNames.index)) ? await readIndex(folder) : undefined;
  const scheduler = await readScheduler(folder, index);
  const config = await locate(folder, fileNames.unet, fileNames.modelConfig);
  const json = await readJson(op, folder, config.file);
  const weights = { op, folder, base: `${config.prefix}${fileNames.weights}`, variant };
  const model = await buildStored(await openStoredFiles(weights), () =>
    ofFile(folder.nameOf(config.file), () => UNet2D.fromConfig(json, { device, dtype })),
  );
  return { model: model.eval(), scheduler, index };
}

/** A component's class, as the index names it. */
interface ReadIndex extends PipelineNotes {
  readonly schedulerClass: string | undefined;
}

async function readIndex(folder: SealedFolder): Promise<ReadIndex> {
  const { _class_name: name, ...entries } = await readJson(op, folder, fileNames.index);
  const refuse = (problem: string, advice?: string): FormatError =>
    new FormatError({ op, problem: `${folder.nameOf(fileNames.index)}: ${problem}.`, advice });
  if (!isPipelineName(name))
    throw refuse(`_class_name is ${showValue(name)}`, `Supported are ${Object.keys(pipelineClasses).join(", ")}.`);
  const isNote = (key: string): boolean => key.startsWith("_");
  const notes = Object.fromEntries(Object.entries(entries).filter(([key]) => isNote(key)));
  const known: Readonly<Record<string, readonly string[]>> = {
    unet: [modelClass],
    scheduler: Object.keys(schedulers),
  };
  let schedulerClass: string | undefined;
  for (const [component, value] of Object.entries(entries)) {
    if (isNote(component)) continue;
    if (!Object.hasOwn(known, component))
      throw refuse(`${showValue(component)} is no component of a ${name}`, `It has ${Object.keys(known).join(", ")}.`);
    const [from, className, ...others] = Array.isArray(value) ? (value as readonly unknown[]) : [];
    if (from !== library || typeof className !== "string" || others.length > 0)
      throw refuse(`${component} is ${JSON.stringify(value).slice(0, 100)}, expected ["${library}", a class]`);
    if (!known[component].includes(className))
      throw refuse(
        `the class of ${component} is ${showValue(className)}`,
        `Supported are ${known[component].join(", ")}.`,
      );
    if (component === "scheduler") schedulerClass = className;
  }
  return { name, notes, schedulerClass };
}

/** Where a component's file lies: in a folder of its own, or, in old ones, beside all others. */
async function locate(
  folder: SealedFolder,
  subfolder: string,
  name: string,
): Promise<{ readonly prefix: string; readonly file: string }> {
  for (const prefix of [subfolder, ""]) if (await folder.has(prefix + name)) return { prefix, file: prefix + name };
  throw new FormatError({
    op,
    problem: `${folder.path} has neither ${subfolder}${name} nor ${name}.`,
    advice: "A folder is expected that save_pretrained of a pipeline of diffusers wrote.",
  });
}

async function readScheduler(folder: SealedFolder, index: ReadIndex | undefined): Promise<Scheduler> {
  const { file } = await locate(folder, fileNames.scheduler, fileNames.schedulerConfig);
  const json = await readJson(op, folder, file);
  const config: SchedulerConfig = Object.fromEntries(Object.entries(json).filter(([key]) => !formerKeys.includes(key)));
  return ofFile(folder.nameOf(file), () => {
    const { num_train_timesteps: steps } = config;
    if (typeof steps === "number" && steps > mostTimesteps)
      throw new ArgumentError({ op, problem: `num_train_timesteps is ${steps}, expected ${mostTimesteps} at most.` });
    const scheduler = schedulerFromConfig(config, index?.schedulerClass);
    const { scheduler: own }: { scheduler?: string } = index ? pipelineClasses[index.name] : {};
    return own === undefined || own === scheduler.name ? scheduler : schedulerFromConfig(scheduler.config(), own);
  });
}

/** Says in errors which file they are about. */
function ofFile<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const isOfFile = error instanceof ArgumentError || error instanceof ShapeError || error instanceof FormatError;
    if (!isOfFile || isAlreadyOfFile(error)) throw error;
    const layer = error.modulePath === undefined ? "" : `${error.modulePath}: `;
    const problem = `${file}: ${layer}${shortened(error.problem)}`;
    throw new FormatError({ op, problem, advice: error.advice, cause: error });
  }
}

/** A stranger's file may have a million wrong keys. */
function shortened(problem: string): string {
  return problem.length > 500 ? `${problem.slice(0, 500)}...` : problem;
}

const isAlreadyOfFile = (error: LangevinError): boolean => error instanceof FormatError && error.op === op;
