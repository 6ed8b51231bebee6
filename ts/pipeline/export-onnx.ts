// exportOnnx: writes a model, or any function of tensors, as an ONNX file that other runtimes run.

import { defaultExecutor } from "../device/devices.ts";
import { ArgumentError, ExportError, showValue } from "../errors/index.ts";
import type { OnnxModel } from "../io/onnx/model.ts";
import { writeOnnx } from "../io/onnx/model.ts";
import type { Module } from "../nn/module.ts";
import { torchState } from "../nn/weights.ts";
import type { DType } from "../ops/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TensorTree } from "../tensor/tree.ts";
import type { PortType } from "./onnx/translate.ts";
import { translate } from "./onnx/translate.ts";

/** Sizes of an input in this library's order of axes. The first may be a name, `"batch"`: then any batch size will do. */
export type OnnxShape = readonly (number | string)[];

/** An input that is not just float32. */
export interface OnnxInput {
  /** Its sizes. */
  readonly shape: OnnxShape;
  /** The type of its elements. */
  readonly dtype: "float32" | "int32";
}

/** What is to be exported, and how. */
export interface ExportOnnxOptions {
  /** The model; its parameters become initializers under PyTorch's names and in PyTorch's layouts. */
  readonly model?: Module;
  /** What is computed of the inputs, in their order. Default: the model's `forward`. */
  readonly forward?: (...inputs: Tensor[]) => TensorTree;
  /**
   * Names of the inputs with their shapes, images as [N, H, W, C]; float32 unless it says otherwise:
   * `{ x: ["batch", 8, 8, 1], t: { shape: ["batch"], dtype: "int32" } }`.
   */
  readonly inputs: Readonly<Record<string, OnnxShape | OnnxInput>>;
  /** How float32 inputs and outputs of four axes lie in the file. Default "NCHW", as other runtimes and their users expect. */
  readonly layout?: "NCHW" | "NHWC";
}

/** What was written. */
export interface OnnxSummary {
  /** The files: the one that was asked for and, where it would have 2 GiB or more, one beside it with the weights. */
  readonly files: readonly {
    /** As `path` was given. */
    readonly path: string;
    /** Size. */
    readonly bytes: number;
  }[];
  /** The version of ONNX's operators, 18. */
  readonly opset: number;
  /** How many operators there are of each type. */
  readonly operators: Readonly<Record<string, number>>;
}

/**
 * Writes `forward` as an ONNX file (`torch.onnx.export`), whole or not at all. The function is called a few times while its
 * operations are recorded, the model in eval mode and without gradients; nothing is computed. Outputs are called `output`
 * where the function returns one tensor, else by their place in what it returns: `0`, `mean`.
 *
 * With an open batch size the function is recorded for several batches; it must do the same for each, and all sizes in it
 * must be multiples of the batch plus a constant, else that is an error. Throws ExportError for what a file cannot hold: noise, gradients,
 * in-place updates, loops of `repeat`, float64. A model of 2 GiB or more, which the format does not allow, becomes two files:
 * the weights lie in `path.data`, which has to stay beside the other.
 */
export async function exportOnnx(path: string, options: ExportOnnxOptions): Promise<OnnxSummary> {
  const model = await toOnnx(options);
  const files = await writeOnnx(path, model);
  const operators: Record<string, number> = {};
  for (const { type } of model.nodes) operators[type] = (operators[type] ?? 0) + 1;
  return { files, opset: model.opset, operators };
}

/** @internal The model that `exportOnnx` writes. */
export async function toOnnx(options: ExportOnnxOptions): Promise<OnnxModel> {
  const { model, layout = "NCHW" } = options;
  if (!["NCHW", "NHWC"].includes(layout))
    throw new ArgumentError({
      op: "exportOnnx",
      problem: `layout is ${showValue(layout)}.`,
      advice: "Choose NCHW or NHWC.",
    });
  const forward = options.forward ?? forwardOf(model);
  const inputs = new Map(Object.entries(options.inputs).map(([name, given]) => [name, portType(name, given)]));
  const parameters = await parametersOf(model);
  expectOwnNames(inputs, parameters);
  const executor = model?.parameters().at(0)?.executor ?? defaultExecutor();
  const translation = {
    forward,
    inputs,
    batch: batchName(inputs),
    channelsFirst: layout === "NCHW",
    parameters,
    executor,
  };
  return inEvalMode(model, () => translate(translation));
}

function forwardOf(model: Module | undefined): (...inputs: Tensor[]) => TensorTree {
  if (model) return (...inputs) => model.forward(...inputs) as TensorTree;
  throw new ArgumentError({
    op: "exportOnnx",
    problem: "there is neither a model nor a function to export.",
    advice: "Pass { model } or { forward }.",
  });
}

function portType(name: string, given: ExportOnnxOptions["inputs"][string]): PortType {
  const { shape, dtype }: { shape: OnnxShape; dtype: DType } =
    "shape" in given ? given : { shape: given, dtype: "float32" };
  const isSize = (size: unknown, axis: number): boolean =>
    typeof size === "string" ? axis === 0 && size !== "" : Number.isInteger(size) && (size as number) >= 1;
  if (!Array.isArray(shape) || !(shape as OnnxShape).every(isSize))
    throw new ArgumentError({
      op: "exportOnnx",
      problem: `input ${name} has shape ${Array.isArray(shape) ? `[${shape.map(showValue).join(", ")}]` : showValue(shape)}.`,
      advice: 'Give sizes >= 1 in this library\'s order of axes; the first may be a name, as in ["batch", 8, 8, 1].',
    });
  if (!["float32", "int32"].includes(dtype))
    throw new ArgumentError({
      op: "exportOnnx",
      problem: `input ${name} is ${showValue(dtype)}.`,
      advice: "Choose float32 or int32.",
    });
  return { shape, dtype };
}

/** The name of the open batch size, which all inputs that have one share. */
function batchName(inputs: ReadonlyMap<string, PortType>): string | undefined {
  const names = new Set([...inputs.values()].map(({ shape }) => shape[0]).filter((size) => typeof size === "string"));
  if (names.size > 1)
    throw new ArgumentError({
      op: "exportOnnx",
      problem: `the inputs have batches of different names: ${[...names].join(", ")}.`,
      advice: "There is one open size, the batch: give all inputs the same name, or numbers.",
    });
  return [...names].at(0);
}

/** Parameters by their first name, with their elements in PyTorch's layouts. */
async function parametersOf(model: Module | undefined) {
  if (!model) return new Map<string, never>();
  const state = await torchState(model);
  return new Map(
    [...model.namedParameters()].map(([name, parameter]) => {
      const { data } = state[name];
      if (data instanceof Float32Array) return [name, { parameter, data }] as const;
      throw new ExportError({
        op: "exportOnnx",
        problem: `${name} is float64, and files are written in float32.`,
        advice: "Build the model in float32, and load the weights into it.",
      });
    }),
  );
}

/** Refuses inputs that are called as parameters are: to other runtimes those would be the inputs' defaults, and so overwritten. */
function expectOwnNames(inputs: ReadonlyMap<string, unknown>, parameters: ReadonlyMap<string, unknown>): void {
  const shared = [...inputs.keys()].filter((name) => parameters.has(name));
  if (shared.length > 0)
    throw new ArgumentError({
      op: "exportOnnx",
      problem: `inputs are called ${shared.join(", ")}, as parameters of the model are.`,
      advice: "Give them other names.",
    });
}

/** Runs `fn` while the model behaves as in use, whatever it does otherwise. */
function inEvalMode<T>(model: Module | undefined, fn: () => T): T {
  const training = [...(model?.namedModules().values() ?? [])].filter((module) => module.training);
  model?.eval();
  try {
    return fn();
  } finally {
    for (const module of training) module.training = true;
  }
}
