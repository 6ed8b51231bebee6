// A model's weights as PyTorch has them: names, layouts, safetensors files.

import { ArgumentError, ShapeError } from "../errors/index.ts";
import { fromTorch, toTorch } from "../io/layout.ts";
import type { RawTensor } from "../io/raw-tensor.ts";
import { toFloat32 } from "../io/raw-tensor.ts";
import { readSafetensors, writeSafetensors } from "../io/safetensors.ts";
import { scope } from "../tensor/scope.ts";
import type { Elements } from "../tensor/elements.ts";
import { tensor } from "../tensor/tensor.ts";
import type { Module } from "./module.ts";

/** Arrays by parameter name, in PyTorch's layouts. */
export type TorchState = Record<
  string,
  {
    /** Elements in PyTorch's layout. */
    readonly data: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
    /** PyTorch's shape. */
    readonly shape: readonly number[];
  }
>;

/** A module whose layers had other names once, which files may still have. */
export interface RenamedLayers extends Module {
  /** What layers are called now, by what they were called; both as PyTorch's names of what lies below the module. */
  readonly formerNames: Readonly<Record<string, string>>;
}

/** The model's parameters as PyTorch would hold them (`model.state_dict()`): tied ones under each of their names. */
export async function torchState(model: Module): Promise<TorchState> {
  const entries = await Promise.all(
    [...model.namedParameters({ removeDuplicate: false })].map(async ([name, parameter]) => {
      const data = (await parameter.data()) as Exclude<Elements, Int32Array>;
      return [name, toTorch(parameter.layout, data, parameter.shape)] as const;
    }),
  );
  return Object.fromEntries(entries);
}

/**
 * Overwrites the model's parameters with PyTorch's (`model.load_state_dict`). Names and shapes must match exactly;
 * nothing is changed when they do not. Names that layers had before are understood (see `RenamedLayers`).
 */
export function loadTorchState(model: Module, state: TorchState): void {
  scope(() => {
    const parameters = model.namedParameters({ removeDuplicate: false });
    const converted = Object.entries(withPresentNames(model, state)).map(([name, { data, shape }]) => {
      const parameter = parameters.get(name);
      const ours = parameter ? naming(name, () => fromTorch(parameter.layout, data, shape)) : { data, shape };
      const options = { shape: ours.shape, dtype: parameter?.dtype, device: parameter?.device };
      return [name, tensor(ours.data, options)] as const;
    });
    model.loadStateDict(Object.fromEntries(converted));
  });
}

/** The state with what layers are called now. */
function withPresentNames(model: Module, state: TorchState): TorchState {
  const entries = Object.entries(state);
  const present = presentNames(
    model,
    entries.map(([name]) => name),
  );
  return Object.fromEntries(entries.map(([, values], i) => [present[i], values]));
}

/**
 * What the parameters are called now that have these names in a file, see `RenamedLayers`. A name that would come twice
 * stays, and is refused with the unknown ones.
 */
export function presentNames(model: Module, names: readonly string[]): string[] {
  const present = new Map<string, string>();
  for (const [path, module] of model.namedModules())
    if ("formerNames" in module)
      for (const [former, name] of Object.entries((module as RenamedLayers).formerNames)) {
        const prefix = path === "" ? "" : `${path}.`;
        for (const parameter of ["weight", "bias"])
          present.set(`${prefix}${former}.${parameter}`, `${prefix}${name}.${parameter}`);
      }
  const given = new Set(names);
  return names.map((name) => {
    const now = present.get(name);
    return now === undefined || given.has(now) ? name : now;
  });
}

/** Says in errors which of the parameters they are about. */
function naming<T>(name: string, convert: () => T): T {
  try {
    return convert();
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new ShapeError({ op: "loadTorchState", problem: `${name}: ${error.problem}`, cause: error });
  }
}

/** Writes the model's weights as a safetensors file that PyTorch reads; whole or not at all. */
export async function saveWeights(path: string, model: Module, metadata: Record<string, string> = {}): Promise<void> {
  const state = await torchState(model);
  const tensors = Object.entries(state).map(([name, { data, shape }]): [string, RawTensor] => [
    name,
    data instanceof Float64Array ? { dtype: "F64", shape, data } : { dtype: "F32", shape, data },
  ]);
  await writeSafetensors(path, new Map(tensors), metadata);
}

/** What weights are stored as; all are converted to the dtype of the parameter. */
export const weightTypes: readonly string[] = ["F64", "F32", "F16", "BF16"];

/**
 * Reads the model's weights from a safetensors file with PyTorch's names and layouts; all or nothing. They may be of half
 * precision, and become what the parameters are.
 */
export async function loadWeights(path: string, model: Module): Promise<void> {
  const { tensors } = await readSafetensors(path);
  const entries = [...tensors].map(([name, raw]) => {
    const { dtype, shape } = raw;
    if (!weightTypes.includes(dtype))
      throw new ArgumentError({
        op: "loadWeights",
        problem: `${name} in ${path} is ${dtype}.`,
        advice: `Weights are ${weightTypes.join(", ")}.`,
      });
    const data = dtype === "F64" ? raw.data : (toFloat32(raw) as Float32Array<ArrayBuffer>);
    return [name, { data, shape }] as const;
  });
  loadTorchState(model, Object.fromEntries(entries));
}
