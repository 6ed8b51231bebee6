// Writes a pipeline's folder as diffusers lays it out, whole or not at all.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isFloatKey } from "../diffusion/schedulers/options.ts";
import type { Scheduler } from "../diffusion/schedulers/scheduler.ts";
import { writeFileAtomically } from "../io/atomic-file.ts";
import { writeFolderAtomically } from "../io/atomic-folder.ts";
import { formatPythonJson } from "../io/python-json.ts";
import { floatKeys } from "../nn/unet2d/config.ts";
import type { UNet2D } from "../nn/unet2d/unet2d.ts";
import { saveWeights } from "../nn/weights.ts";
import type { PipelineNotes } from "./load-folder.ts";
import { configVersion, fileNames, library, modelClass } from "./pipeline-classes.ts";

/** How a pipeline is saved. */
export interface SaveOptions {
  /** Replace whatever is in the folder: all of it is removed. Default false: only an empty folder, or a pipeline alone. */
  readonly overwrite?: boolean;
}

/** What is written. */
export interface SavedFolder {
  readonly model: UNet2D;
  readonly scheduler: Scheduler;
  readonly index: PipelineNotes;
}

const { index: indexFile, unet, scheduler: schedulerFolder, modelConfig, schedulerConfig, weights } = fileNames;

/** Names of all that is in a folder with a pipeline and nothing else, shards, variants and the old layout included. */
const ownNames =
  /^((unet|scheduler)\/|model_index\.json|(scheduler\/)?scheduler_config\.json|(unet\/)?(config\.json|diffusion_pytorch_model[\w.-]*\.safetensors(\.index[\w.]*\.json)?))$/;

/** Writes a folder; see `Pipeline.save`. */
export async function saveFolder(path: string, saved: SavedFolder, { overwrite = false }: SaveOptions): Promise<void> {
  await writeFolderAtomically(path, {
    op: "Pipeline.save",
    fill: (folder) => writeFiles(folder, saved),
    objection: (names) => (overwrite ? undefined : objectionTo(names)),
  });
}

async function writeFiles(folder: string, { model, scheduler, index }: SavedFolder): Promise<void> {
  const write = async (name: string, value: object, isFloat?: (key: string) => boolean): Promise<void> =>
    writeFileAtomically(join(folder, name), [
      formatPythonJson({ _diffusers_version: configVersion, ...value }, isFloat),
    ]);
  await mkdir(join(folder, unet));
  await mkdir(join(folder, schedulerFolder));
  await write(unet + modelConfig, model.config(), (key) => floatKeys.includes(key));
  await saveWeights(join(folder, `${unet}${weights}.safetensors`), model, { format: "pt" });
  await write(schedulerFolder + schedulerConfig, scheduler.config(), isFloatKey);
  const components = { unet: [library, modelClass], scheduler: [library, scheduler.name] };
  await write(indexFile, { ...index.notes, _class_name: index.name, ...components });
}

/** Why a folder with these names in it must stay, if so. */
function objectionTo(names: readonly string[]): string | undefined {
  const other = names.find((name) => !ownNames.test(name));
  if (other !== undefined) return `holds ${other}, which is no part of a pipeline`;
  return names.includes(indexFile) ? undefined : `holds no ${indexFile}, so that it is no pipeline's`;
}
