// Models whose weights lie in files of a stranger: built only as far as the files back them, and filled one tensor at a time.

import { FormatError, showShape } from "../errors/index.ts";
import { fromTorch, torchShape } from "../io/layout.ts";
import type { RawTensor } from "../io/raw-tensor.ts";
import { toFloat32 } from "../io/raw-tensor.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { scope } from "../tensor/scope.ts";
import { tensor } from "../tensor/tensor.ts";
import { withoutDrawing } from "./init.ts";
import type { Module } from "./module.ts";
import { presentNames, weightTypes } from "./weights.ts";

/** A tensor that has not been read: what the header of its file says of it. */
export interface StoredTensor extends Pick<RawTensor, "dtype" | "shape"> {
  /** The file that it lies in, for errors. */
  readonly file: string;
}

/** Weights in files, under PyTorch's names and in its layouts. */
export interface StoredWeights {
  /** Who reads them, for errors. */
  readonly op: string;
  /** The file that is read, or that lists the others. */
  readonly file: string;
  readonly entries: ReadonlyMap<string, StoredTensor>;
  /** Reads all tensors, one after the other. */
  readonly each: (use: (name: string, tensor: RawTensor) => void) => Promise<void>;
}

/** How much more than what is stored may be built, so that the tensors that are missing, if they are few, can be named. */
const slack = { parameters: 100, values: 2 ** 20 };

/**
 * The model that `build` makes, with stored weights. No random numbers are drawn. Before anything is read, names, shapes and
 * types of all tensors are compared with the parameters; and `build` itself ends at a parameter that the files cannot
 * hold, so that a config makes no model larger than the files are (but for a million values). Throws FormatError that names file and tensor; then nothing is
 * left behind. NaN and infinities are weights like others: a model that diverged can be looked at.
 */
export async function buildStored<M extends Module>(stored: StoredWeights, build: () => M): Promise<M> {
  const { parameters: count, values } = sizeOf(stored);
  const most = { parameters: count + slack.parameters, values: values + slack.values };
  const model = withoutDrawing({ ...most, refuse: (shape) => tooLarge(stored, shape) }, build);
  try {
    const parameters = parametersOf(model, stored);
    await stored.each((name, raw) => {
      fill(parameters.get(name)!, raw);
    });
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function sizeOf({ entries }: StoredWeights): { parameters: number; values: number } {
  const values = [...entries.values()].map(({ shape }) => shape.reduce((product, n) => product * n, 1));
  return { parameters: entries.size, values: values.reduce((sum, n) => sum + n, 0) };
}

function tooLarge(stored: StoredWeights, shape: readonly number[]): FormatError {
  const { parameters, values } = sizeOf(stored);
  return new FormatError({
    op: stored.op,
    problem: `${stored.file} holds ${values} values in ${parameters} tensors, and the config asks for more: one of shape ${showShape(shape)} does not fit in.`,
    advice: "The config and the weights do not belong together.",
  });
}

/** The parameter of each stored tensor; refuses files and models that do not belong together. */
function parametersOf(model: Module, { op, file, entries }: StoredWeights): Map<string, Parameter> {
  const parameters = model.namedParameters({ removeDuplicate: false });
  const names = [...entries.keys()];
  const present = presentNames(model, names);
  const unknown = names.filter((_, i) => !parameters.has(present[i]));
  const given = new Set(present.map((name) => parameters.get(name)));
  const missing = [...parameters].filter(([, parameter]) => !given.has(parameter)).map(([name]) => name);
  if (unknown.length > 0 || missing.length > 0)
    throw new FormatError({
      op,
      problem: `${file} does not have the weights of the config: missing [${some(missing)}], unknown [${some(unknown)}].`,
    });
  return new Map(
    names.map((name, i) => {
      const parameter = parameters.get(present[i])!;
      expectFits(op, name, entries.get(name)!, parameter);
      return [name, parameter];
    }),
  );
}

function expectFits(op: string, name: string, { file, dtype, shape }: StoredTensor, parameter: Parameter): void {
  const expected = torchShape(parameter.layout, parameter.shape);
  if (showShape(shape) !== showShape(expected))
    throw new FormatError({
      op,
      problem: `${file}: ${name} has shape ${showShape(shape)}, and the config makes it ${showShape(expected)}.`,
    });
  if (!weightTypes.includes(dtype))
    throw new FormatError({
      op,
      problem: `${file}: ${name} is ${dtype}.`,
      advice: `Weights are ${weightTypes.join(", ")}.`,
    });
}

function fill(parameter: Parameter, raw: RawTensor): void {
  const { dtype, device } = parameter;
  const values = raw.dtype === "F64" && dtype === "float64" ? raw.data : (toFloat32(raw) as Float32Array<ArrayBuffer>);
  scope(() => {
    const { data, shape } = fromTorch(parameter.layout, values, raw.shape);
    parameter.assign(tensor(data, { shape, dtype, device }));
  });
}

/** The first few names. */
function some(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(", ");
  return names.length > 5 ? `${shown}, and ${names.length - 5} more` : shown;
}
