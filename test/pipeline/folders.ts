// Copies of the golden pipelines' folders, and changes to them.

import { cp, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { RawTensor } from "langevin";
import { readSafetensors, writeSafetensors } from "langevin";

const golden = resolve(import.meta.dirname, "../golden/unet2d");

/** The golden pipelines. */
export const pipelines = ["cifar10_deep", "cifar10_small", "class_cond", "legacy_names", "tiny"] as const;
/** Names in a folder. */
export const files = {
  index: "model_index.json",
  model: "unet/config.json",
  scheduler: "scheduler/scheduler_config.json",
  weights: "unet/diffusion_pytorch_model.safetensors",
} as const;

/** Where a golden pipeline lies. */
export function goldenFolder(name: (typeof pipelines)[number]): string {
  return join(golden, name);
}

/** A folder for the tests of the enclosing block, made anew for each; `path` gives names in it. */
export function temporaryFolder(): (name?: string) => string {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-pipeline-"))));
  afterEach(() => rm(folder, { recursive: true }));
  return (name = "") => join(folder, name);
}

/** Copies the pipeline of a golden folder, without what is golden about it. */
export async function copyGolden(name: (typeof pipelines)[number], to: string): Promise<string> {
  await cp(goldenFolder(name), to, { recursive: true, filter: (from) => !from.includes("golden.") });
  return to;
}

/** Moves all files of a folder's subfolders into it, as the first releases of diffusers had them. */
export async function flatten(folder: string): Promise<void> {
  for (const subfolder of ["unet", "scheduler"]) {
    for (const name of await readdir(join(folder, subfolder)))
      await rename(join(folder, subfolder, name), join(folder, name));
    await rm(join(folder, subfolder), { recursive: true });
  }
}

/** Changes a JSON file; undefined removes a key. */
export async function editJson(file: string, change: (content: Record<string, unknown>) => object): Promise<void> {
  const content = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  await writeFile(file, JSON.stringify({ ...content, ...change(content) }));
}

/** Changes the tensors of a file. */
export async function editTensors(file: string, change: (tensors: Map<string, RawTensor>) => void): Promise<void> {
  const { tensors, metadata } = await readSafetensors(file);
  const changed = new Map(tensors);
  change(changed);
  await writeSafetensors(file, changed, metadata);
}
