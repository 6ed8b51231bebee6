// Weights as a folder of diffusers has them: one safetensors file, or several and an index of what lies where.

import { posix } from "node:path";
import { z } from "zod";
import { FormatError, showValue } from "../errors/index.ts";
import { withSafetensors } from "../io/safetensors.ts";
import type { SealedFolder } from "../io/sealed-folder.ts";
import { isNameBelow } from "../io/sealed-folder.ts";
import type { StoredTensor, StoredWeights } from "../nn/stored-weights.ts";
import { readJson } from "./json-file.ts";

/** Where weights are looked for. */
export interface StoredFilesOptions {
  /** Who reads them, for errors. */
  readonly op: string;
  readonly folder: SealedFolder;
  /** Name of the file in the folder, without its ending. */
  readonly base: string;
  /** Stands before the ending of other versions of the same weights (diffusers' `variant`): "fp16". */
  readonly variant?: string;
}

/** Finds the weights and reads what their headers say of them. Throws FormatError that names the file. */
export async function openStoredFiles(options: StoredFilesOptions): Promise<StoredWeights> {
  const { op, folder, base, variant } = options;
  const [whole, index] = variant === undefined ? [`${base}.safetensors`, `${base}.safetensors.index.json`] : [`${base}.${variant}.safetensors`, `${base}.safetensors.index.${variant}.json`]; // prettier-ignore
  if (await folder.has(whole)) return weightsIn(options, whole, [[whole, undefined]]);
  if (await folder.has(index)) return weightsIn(options, index, await shardsOf(op, folder, index));
  throw await missing(options, whole);
}

/** A file, and the tensors that lie in it by the index; undefined where there is none. */
type Shard = readonly [name: string, tensors: ReadonlySet<string> | undefined];

async function weightsIn(
  { op, folder }: StoredFilesOptions,
  listing: string,
  shards: readonly Shard[],
): Promise<StoredWeights> {
  const entries = new Map<string, StoredTensor>();
  for (const [name, expected] of shards)
    await withSafetensors(op, await folder.file(name), async (file) => {
      if (expected) expectSame(op, folder.nameOf(name), expected, file.entries);
      for (const [tensor, { dtype, shape }] of file.entries)
        entries.set(tensor, { dtype, shape, file: folder.nameOf(name) });
    });
  const each: StoredWeights["each"] = async (use) => {
    for (const [name] of shards)
      await withSafetensors(op, await folder.file(name), async (file) => {
        for (const tensor of file.entries.keys()) use(tensor, await file.read(tensor));
      });
  };
  return { op, file: folder.nameOf(listing), entries, each };
}

/** Refuses a file that does not hold what the index says. */
function expectSame(
  op: string,
  file: string,
  expected: ReadonlySet<string>,
  entries: ReadonlyMap<string, unknown>,
): void {
  const missing = [...expected].find((tensor) => !entries.has(tensor));
  const extra = [...entries.keys()].find((tensor) => !expected.has(tensor));
  if (missing !== undefined)
    throw new FormatError({ op, problem: `${file} does not hold ${missing}, which the index says lies there.` });
  if (extra !== undefined)
    throw new FormatError({ op, problem: `${file} holds ${extra}, which the index does not say lies there.` });
}

/** What diffusers writes beside shards; of `metadata`, the size in bytes, nothing depends. */
const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.unknown()) });

async function shardsOf(op: string, folder: SealedFolder, index: string): Promise<Shard[]> {
  const { success, data } = indexSchema.safeParse(await readJson(op, folder, index));
  const refuse = (problem: string): FormatError =>
    new FormatError({ op, problem: `${folder.nameOf(index)}: ${problem}.` });
  if (!success) throw refuse("weight_map is missing, expected an object of file names by tensor");
  const shards = new Map<string, Set<string>>();
  for (const [tensor, file] of Object.entries(data.weight_map)) {
    if (typeof file !== "string" || !isNameBelow(file) || !file.endsWith(".safetensors"))
      throw refuse(
        `weight_map.${tensor} is ${showValue(file)}, expected the name of a .safetensors file beside the index`,
      );
    const name = posix.join(posix.dirname(index), file);
    shards.set(name, (shards.get(name) ?? new Set()).add(tensor));
  }
  return [...shards];
}

/** The error where there are no weights that are read here. */
async function missing({ op, folder, base, variant }: StoredFilesOptions, whole: string): Promise<FormatError> {
  const pickle = variant === undefined ? `${base}.bin` : `${base}.${variant}.bin`;
  if (await folder.has(pickle))
    return new FormatError({
      op,
      problem: `${folder.nameOf(pickle)} is a pickle, a program that reading it would execute, and there is no ${whole} beside it. It is not read.`,
      advice: `Where its origin is trusted, convert it in Python: from diffusers import DiffusionPipeline; DiffusionPipeline.from_pretrained(${JSON.stringify(folder.path)}, use_safetensors=False).save_pretrained("converted").`,
    });
  return new FormatError({
    op,
    problem: `${folder.path} has no ${whole}, and no index of shards of it.`,
    advice:
      'Weights of which there are only others, such as diffusion_pytorch_model.fp16.safetensors, are read with variant: "fp16".',
  });
}
