// ONNX files: a graph of operators with its weights, encoded as onnx.proto says. Names of fields are those of that file.

import { rm } from "node:fs/promises";
import { basename } from "node:path";
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

/** A file that was written. */
export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
}

/**
 * Writes the model as a file, whole or not at all. One of 2 GiB or more, which no message of protocol buffers can be,
 * becomes two: `path`, and `path.data` beside it with the elements of its tensors. What was at `path` is then removed
 * first, so that it never stands beside other weights.
 */
export async function writeOnnx(path: string, model: OnnxModel, limit = mostBytes): Promise<WrittenFile[]> {
  const whole = encodeOnnx(model);
  if (whole.length <= limit) return [await written(path, whole)];
  const elsewhere = new ExternalData(`${basename(path)}.data`);
  const rest = encodeOnnx(model, elsewhere);
  if (rest.length > limit)
    throw new ExportError({
      op: "exportOnnx",
      problem: `the model takes ${rest.length} bytes without its weights, and an ONNX file can have ${limit} at most.`,
      advice: "Export parts of it, each to a file of its own.",
    });
  await rm(path, { force: true });
  const data = await written(`${path}.data`, elsewhere);
  return [await written(path, rest), data];
}

async function written(path: string, { length, pieces }: Encoded): Promise<WrittenFile> {
  await writeFileAtomically(path, pieces);
  return { path, bytes: length };
}

/** The elements of tensors in a file beside the model's, each from a multiple of 4096 bytes on, so that it can be mapped. */
class ExternalData implements Encoded {
  readonly location: string;
  readonly pieces: Uint8Array[] = [];
  length = 0;

  constructor(location: string) {
    this.location = location;
  }

  /** Adds a tensor's elements, and tells from which byte on they lie. */
  add(elements: Uint8Array): number {
    const padding = new Uint8Array(-this.length & 4095);
    const offset = this.length + padding.length;
    this.pieces.push(padding, elements);
    this.length = offset + elements.length;
    return offset;
  }
}

/** Tensors of fewer bytes stay in the model's file: sizes and axes, which runtimes want to see there. */
const leastExternal = 1024;

/** The bytes of the file: a ModelProto, without the elements that are put elsewhere. */
export function encodeOnnx(model: OnnxModel, elsewhere?: ExternalData): Encoded {
  return sequence([
    integer(1, model.irVersion),
    text(2, "langevin"),
    message(7, graphProto(model, elsewhere)),
    message(8, text(1, ""), integer(2, model.opset)), // opset_import: "" is the domain of the standard operators
  ]);
}

function graphProto({ name, nodes, initializers, inputs, outputs }: OnnxModel, elsewhere?: ExternalData): Encoded {
  return sequence([
    ...nodes.map((node) => message(1, nodeProto(node))),
    text(2, name),
    ...initializers.map((tensor) => message(5, tensorProto(tensor, elsewhere))),
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

function tensorProto({ name, dtype, shape, data }: OnnxTensor, elsewhere?: ExternalData): Encoded {
  const elements = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return sequence([
    ...shape.map((n) => integer(1, n)),
    integer(2, dataTypes[dtype]),
    text(8, name),
    elsewhere && elements.length >= leastExternal ? externalData(elements, elsewhere) : bytes(9, elements),
  ]);
}

/** Where the elements lie in the other file, as pairs of texts. */
function externalData(elements: Uint8Array, elsewhere: ExternalData): Encoded {
  const { location } = elsewhere;
  const place = { location, offset: String(elsewhere.add(elements)), length: String(elements.length) };
  const entries = Object.entries(place).map(([key, value]) => message(13, text(1, key), text(2, value)));
  return sequence([...entries, integer(14, dataLocations.external)]);
}

/** The numbers of TensorProto.DataLocation that are not the default. */
const dataLocations = { external: 1 } as const;

function valueInfoProto({ name, dtype, shape }: OnnxPort): Encoded {
  const dimensions = shape.map((n) => message(1, typeof n === "number" ? integer(1, n) : text(2, n)));
  const tensorType = sequence([integer(1, dataTypes[dtype]), message(2, ...dimensions)]);
  return sequence([text(1, name), message(2, message(1, tensorType))]);
}
