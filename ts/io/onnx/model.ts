// ONNX files: a graph of operators with its weights, encoded as onnx.proto says. Names of fields are those of that file.

import { ExportError } from "../../errors/index.ts";
import { writeFileAtomically } from "../atomic-file.ts";
import type { Encoded } from "./wire.ts";
import { bytes, float, integer, message, sequence, text } from "./wire.ts";

/** The numbers of TensorProto.DataType, for the element types that are written. */
export const dataTypes = { float32: 1, int32: 6, int64: 7, bool: 9 } as const;

/** Element types of ONNX values. */
export type OnnxDType = keyof typeof dataTypes;

/** A tensor that the file holds: a weight or another constant. */
export interface OnnxTensor {
  readonly name: string;
  readonly dtype: OnnxDType;
  readonly shape: readonly number[];
  /** Elements in the order of the shape; booleans are bytes of 0 and 1. */
  readonly data: Float32Array | Int32Array | BigInt64Array | Uint8Array;
}

/** A whole number or several, text, or, marked as such, a float. */
export type OnnxAttribute = number | readonly number[] | string | { readonly float: number };

/** One operator of the standard domain; "" stands for an optional input that is absent. */
export interface OnnxNode {
  readonly name: string;
  /** `Conv`, `Add`. */
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** What goes in or out, with its sizes; a size may be a name, which stands for any. */
export interface OnnxPort {
  readonly name: string;
  readonly dtype: OnnxDType;
  readonly shape: readonly (number | string)[];
}

/** A model: what it takes and gives, and its operators, each after those that it reads. */
export interface OnnxModel {
  readonly name: string;
  /** The version of the standard operators that the nodes mean. */
  readonly opset: number;
  /** The version of the format, which must know the opset. */
  readonly irVersion: number;
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
}

/** Bytes that a message of protocol buffers can have at most. */
const mostBytes = 2 ** 31 - 1;

/** Writes the model as a file, whole or not at all; returns its bytes. Throws ExportError for one of 2 GiB or more. */
export async function writeOnnx(path: string, model: OnnxModel): Promise<number> {
  const { length, pieces } = encodeOnnx(model);
  if (length > mostBytes)
    throw new ExportError({
      op: "exportOnnx",
      problem: `the model takes ${length} bytes, and an ONNX file can have ${mostBytes} at most.`,
      advice: "Export parts of it, each to a file of its own.",
    });
  await writeFileAtomically(path, pieces);
  return length;
}

/** The bytes of the file: a ModelProto. */
export function encodeOnnx(model: OnnxModel): Encoded {
  return sequence([
    integer(1, model.irVersion),
    text(2, "langevin"),
    message(7, graphProto(model)),
    message(8, text(1, ""), integer(2, model.opset)), // opset_import: "" is the domain of the standard operators
  ]);
}

function graphProto({ name, nodes, initializers, inputs, outputs }: OnnxModel): Encoded {
  return sequence([
    ...nodes.map((node) => message(1, nodeProto(node))),
    text(2, name),
    ...initializers.map((tensor) => message(5, tensorProto(tensor))),
    ...inputs.map((port) => message(11, valueInfoProto(port))),
    ...outputs.map((port) => message(12, valueInfoProto(port))),
  ]);
}

function nodeProto({ name, type, inputs, outputs, attributes }: OnnxNode): Encoded {
  return sequence([
    ...inputs.map((input) => text(1, input)),
    ...outputs.map((output) => text(2, output)),
    text(3, name),
    text(4, type),
    ...Object.entries(attributes).map(([key, value]) => message(5, attributeProto(key, value))),
  ]);
}

/** The numbers of AttributeProto.AttributeType. */
const attributeTypes = { float: 1, int: 2, string: 3, ints: 7 } as const;

function attributeProto(name: string, value: OnnxAttribute): Encoded {
  const typed = (type: keyof typeof attributeTypes, ...content: readonly Encoded[]): Encoded =>
    sequence([text(1, name), ...content, integer(20, attributeTypes[type])]);
  if (typeof value === "number") return typed("int", integer(3, value));
  if (typeof value === "string") return typed("string", text(4, value));
  if ("float" in value) return typed("float", float(2, value.float));
  return typed("ints", ...value.map((n) => integer(8, n)));
}

function tensorProto({ name, dtype, shape, data }: OnnxTensor): Encoded {
  return sequence([
    ...shape.map((n) => integer(1, n)),
    integer(2, dataTypes[dtype]),
    text(8, name),
    bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

function valueInfoProto({ name, dtype, shape }: OnnxPort): Encoded {
  const dimensions = shape.map((n) => message(1, typeof n === "number" ? integer(1, n) : text(2, n)));
  const tensorType = sequence([integer(1, dataTypes[dtype]), message(2, ...dimensions)]);
  return sequence([text(1, name), message(2, message(1, tensorType))]);
}
