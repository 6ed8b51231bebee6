// Reading data sets in the golden layout: a sidecar NAME.json beside NAME.safetensors.

import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DType } from "../../ts/ops/index.ts";
import type { RawTensor } from "../../ts/io/raw-tensor.ts";
import { parseSafetensors } from "../../ts/io/safetensors.ts";

/** A case as the sidecar has it; each kind knows its own fields. */
export type Case = Readonly<Record<string, unknown>> & { readonly name: string };

/** Numbers with a shape, whatever the file stores them as. */
export interface Numbers {
  readonly data: Float64Array;
  readonly shape: readonly number[];
  /** What a tensor of them would be: int32 for integers and masks. */
  readonly dtype: DType;
}

/** A sidecar with its tensors. */
export interface DataSet {
  readonly path: string;
  readonly cases: readonly Case[];
  /** A tensor by its name in the file; throws when it is missing. */
  read(name: string): Numbers;
  has(name: string): boolean;
}

/** All sidecars below a folder (or the one that is named) that describe cases. */
export function findSidecars(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { recursive: true })
    .map((entry) => join(path, String(entry)))
    .filter((file) => file.endsWith(".json") && isSidecar(file))
    .sort();
}

interface Sidecar {
  readonly format?: string;
  readonly tensors?: string;
  readonly cases?: readonly Case[];
}

function readSidecar(file: string): Sidecar {
  return JSON.parse(readFileSync(file, "utf8").replaceAll("-Infinity", '"-inf"')) as Sidecar;
}

function isSidecar(file: string): boolean {
  const { format, tensors, cases } = readSidecar(file);
  return format === "golden-1" && tensors !== undefined && cases !== undefined;
}

/** Reads a sidecar and the tensors beside it. */
export function readDataSet(path: string): DataSet {
  const { tensors: file, cases } = readSidecar(path);
  if (file === undefined || cases === undefined) throw new Error(`${path} names no tensors or no cases.`);
  const { tensors } = parseSafetensors(readFileSync(join(dirname(path), file)), file);
  return {
    path,
    cases,
    has: (name) => tensors.has(name),
    read: (name) => {
      const raw = tensors.get(name);
      if (!raw) throw new Error(`${path}: no tensor "${name}" in ${file}.`);
      return { data: toFloat64(raw), shape: raw.shape, dtype: /^[FB]\D*\d/.test(raw.dtype) ? "float32" : "int32" };
    },
  };
}

function toFloat64({ dtype, data }: RawTensor): Float64Array {
  if (/^(B?F16|F8.*)$/.test(dtype)) throw new Error(`golden data of ${dtype} is not read.`);
  return Float64Array.from(data as ArrayLike<number | bigint>, Number);
}
