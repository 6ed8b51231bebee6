// The ONNX graph while it is built: nodes, constants, and values that remember in which order their axes are stored.
//
// Our images are NHWC and ONNX's are NCHW. A value is therefore stored with its axes in any order, and told apart from
// what it means: permute only changes the order, element-wise operators keep it, convolutions ask for theirs. A Transpose
// is written where somebody asks for another order than there is, and nowhere else.

import type { OnnxAttribute, OnnxDType, OnnxNode, OnnxTensor } from "../../io/onnx/model.ts";
import { dataTypes } from "../../io/onnx/model.ts";
import type { Size } from "./size.ts";
import { sameSizes } from "./size.ts";

/** A value of the graph. */
export interface OnnxValue {
  readonly name: string;
  readonly dtype: OnnxDType;
  /** Sizes of our axes. */
  readonly shape: readonly Size[];
  /** Axis k of what is stored is our axis `order[k]`. */
  readonly order: readonly number[];
}

/** What is known of a node's result; its axes are stored in our order unless it says otherwise. */
export type ResultType = Omit<OnnxValue, "name" | "order"> & { readonly order?: readonly number[] };

/** Nothing is moved: 0, 1, 2, ... */
export function ourOrder(rank: number): readonly number[] {
  return Array.from({ length: rank }, (_, axis) => axis);
}

/** The channels, our last axis, directly after the batch: NCHW for images. */
export function channelsFirst(rank: number): readonly number[] {
  return [0, rank - 1, ...ourOrder(rank).slice(1, -1)];
}

/** A constant with its elements. */
export type ConstantData = OnnxTensor["data"];

const arrays = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const;

/** Nodes and constants, in the order in which they are added. */
export class OnnxGraph {
  /** Path of the layer that new nodes belong to. */
  layer = "";
  readonly #names: Set<string>;
  readonly #nodes = new Map<string, OnnxNode>();
  readonly #constants = new Map<string, OnnxTensor>();
  /** Values that are there already, by what they are: constants by their elements, nodes by what they compute. */
  readonly #known = new Map<string, OnnxValue>();
  /** What gives a value that was only reshaped or turned into int32 from booleans. */
  readonly #sources = new Map<string, OnnxValue>();
  /** The input whose axis 0 is the batch. */
  #batch: OnnxValue | undefined;

  /** A graph whose nodes and constants have none of these names. */
  constructor(reserved: Iterable<string>) {
    this.#names = new Set(reserved);
  }

  // ---- constants -----------------------------------------------------------------------------------------------------

  /** A constant under a name of its own, such as a parameter. */
  namedConstant(name: string, data: ConstantData, value: Omit<OnnxValue, "name">): OnnxValue {
    this.#names.add(name);
    const shape = value.order.map((axis) => value.shape[axis] as number);
    this.#constants.set(name, { name, dtype: value.dtype, shape, data });
    return { name, ...value };
  }

  /** A constant that is stored as it is given, once for all that want it. */
  constant(dtype: OnnxDType, shape: readonly number[], data: ConstantData): OnnxValue {
    const make = (): OnnxValue =>
      this.namedConstant(this.#unused("constant"), data, { dtype, shape, order: ourOrder(shape.length) });
    if (data.length > 64) return make();
    return this.#once(`${dtype} [${shape.join()}] ${Array.from(data, showExactly).join()}`, make);
  }

  /** Numbers of one kind, as a vector, or as what `shape` says. */
  numbers(
    dtype: keyof typeof arrays,
    values: readonly number[],
    shape: readonly number[] = [values.length],
  ): OnnxValue {
    return this.constant(dtype, shape, arrays[dtype].from(values));
  }

  /** One number. */
  scalar(dtype: keyof typeof arrays, value: number): OnnxValue {
    return this.numbers(dtype, [value], []);
  }

  /** One position, as ONNX wants it. */
  position(value: number): OnnxValue {
    return this.constant("int64", [], BigInt64Array.of(BigInt(value)));
  }

  /** A vector of fixed sizes, axes or positions, which ONNX wants as int64. */
  positions(values: readonly number[]): OnnxValue {
    return this.constant("int64", [values.length], BigInt64Array.from(values, BigInt));
  }

  /** The part of a value at one place of a stored axis, which is gone from `result`. */
  picked(value: OnnxValue, axis: number, place: number, result: ResultType): OnnxValue {
    return this.node("Gather", [value, this.position(place)], { axis }, result);
  }

  // ---- sizes ---------------------------------------------------------------------------------------------------------

  /** Says where the size of the batch is to be read off when the graph runs: axis 0 of an input. */
  readBatchFrom(input: OnnxValue): void {
    this.#batch ??= input;
  }

  /** A vector of sizes, computed where some of them grow with the batch. */
  sizes(sizes: readonly Size[]): OnnxValue {
    if (sizes.every((size) => typeof size === "number")) return this.positions(sizes);
    const parts = sizes.map((size) => (typeof size === "number" ? this.positions([size]) : this.#grown(size)));
    if (parts.length === 1) return parts[0];
    return this.#onceNode("Concat", parts, { axis: 0 }, { dtype: "int64", shape: [parts.length] });
  }

  #grown({ times, plus }: Exclude<Size, number>): OnnxValue {
    const vector = { dtype: "int64", shape: [1] } as const;
    const batch = this.#onceNode("Shape", [this.#batch!], { start: 0, end: 1 }, vector);
    const scaled = times === 1 ? batch : this.#onceNode("Mul", [batch, this.positions([times])], {}, vector);
    return plus === 0 ? scaled : this.#onceNode("Add", [scaled, this.positions([plus])], {}, vector);
  }

  // ---- nodes ---------------------------------------------------------------------------------------------------------

  /** Adds a node; optional inputs may be absent, and all outputs but the first are of no use. */
  node(
    type: string,
    inputs: readonly (OnnxValue | undefined)[],
    attributes: Readonly<Record<string, OnnxAttribute>>,
    { dtype, shape, order = ourOrder(shape.length) }: ResultType,
    outputs = 1,
  ): OnnxValue {
    const name = this.#unused(this.layer === "" ? type : `${this.layer}.${type}`);
    this.#nodes.set(name, {
      name,
      type,
      inputs: inputs.map((input) => input?.name ?? ""),
      outputs: [name, ...Array.from({ length: outputs - 1 }, () => this.#unused(`${name}.unused`))],
      attributes,
    });
    return { name, dtype, shape, order };
  }

  /** What is stored for a value, as a value of its own: its axes are in our order. */
  stored({ name, dtype, shape, order }: OnnxValue): OnnxValue {
    return { name, dtype, shape: order.map((axis) => shape[axis]), order: ourOrder(shape.length) };
  }

  /** The other way round: what is stored with the axes in `order`, as what it means. */
  meaning({ name, dtype, shape }: OnnxValue, order: readonly number[]): OnnxValue {
    return { name, dtype, shape: order.map((_, axis) => shape[order.indexOf(axis)]), order };
  }

  /** The value with its axes stored in another order. */
  arranged(value: OnnxValue, order: readonly number[]): OnnxValue {
    if (order.every((axis, k) => axis === value.order[k])) return value;
    const shape = order.map((axis) => value.shape[axis]);
    // Where only axes of one element change places, nothing moves.
    const moving = (axes: readonly number[]): string => axes.filter((axis) => value.shape[axis] !== 1).join();
    if (moving(order) === moving(value.order)) return this.meaning(this.#reshaped(this.stored(value), shape), order);
    const perm = order.map((axis) => value.order.indexOf(axis));
    const { dtype } = value;
    return this.meaning(this.#onceNode("Transpose", [value], { perm }, { dtype, shape }), order);
  }

  /** The value with its axes stored in our order. */
  ours(value: OnnxValue): OnnxValue {
    return this.arranged(value, ourOrder(value.shape.length));
  }

  /** The same elements in the same order under another shape. */
  reshape(value: OnnxValue, shape: readonly Size[]): OnnxValue {
    return sameSizes(value.shape, shape) ? value : this.#reshaped(this.ours(value), shape);
  }

  #reshaped(value: OnnxValue, shape: readonly Size[]): OnnxValue {
    const { dtype } = value;
    if (sameSizes(value.shape, shape)) return value;
    const source = this.#sources.get(value.name);
    if (source?.dtype === dtype) return this.#reshaped(source, shape);
    // One size that is not fixed is what the others leave of the elements.
    const growing = shape.filter((size) => typeof size !== "number").length;
    const isEmpty = shape.includes(0);
    const target =
      growing === 1 && !isEmpty
        ? this.positions(shape.map((size) => (typeof size === "number" ? size : -1)))
        : this.sizes(shape);
    const result = this.#onceNode("Reshape", [value, target], isEmpty ? { allowzero: 1 } : {}, { dtype, shape });
    this.#sources.set(result.name, value);
    return result;
  }

  /** The value in another element type. */
  cast(value: OnnxValue, dtype: OnnxDType): OnnxValue {
    if (value.dtype === dtype) return value;
    const source = this.#sources.get(value.name);
    if (source?.dtype === "bool" && dtype === "bool") return { ...value, name: source.name, dtype };
    const result = this.node("Cast", [value], { to: dataTypes[dtype] }, { ...value, dtype });
    if (value.dtype === "bool") this.#sources.set(result.name, value);
    return result;
  }

  // ---- the whole -----------------------------------------------------------------------------------------------------

  /** What the outputs need, of nodes and constants; each output is stored under its name. */
  finish(outputs: ReadonlyMap<string, OnnxValue>): { nodes: OnnxNode[]; initializers: OnnxTensor[] } {
    const renamed = new Map<string, string>();
    const copies: OnnxNode[] = [];
    for (const [name, value] of outputs)
      if (this.#nodes.has(value.name) && !renamed.has(value.name)) renamed.set(value.name, name);
      else
        copies.push({
          name: this.#unused("Identity"),
          type: "Identity",
          inputs: [value.name],
          outputs: [name],
          attributes: {},
        });
    const needed = new Set([...outputs.values()].map(({ name }) => name));
    const nodes = [...this.#nodes.values()].reverse().filter(({ name, inputs }) => {
      if (!needed.has(name)) return false;
      for (const input of inputs) needed.add(input);
      return true;
    });
    const called = (name: string): string => renamed.get(name) ?? name;
    return {
      nodes: [...nodes.reverse(), ...copies].map((node) => ({
        ...node,
        inputs: node.inputs.map(called),
        outputs: node.outputs.map(called),
      })),
      initializers: [...this.#constants.values()].filter(({ name }) => needed.has(name)),
    };
  }

  /** A node that is added once, however often it is asked for. */
  #onceNode(
    type: string,
    inputs: readonly OnnxValue[],
    attributes: Readonly<Record<string, OnnxAttribute>>,
    result: ResultType,
  ): OnnxValue {
    const key = `${type} ${JSON.stringify([inputs.map(({ name }) => name), attributes])}`;
    return this.#once(key, () => this.node(type, inputs, attributes, result));
  }

  #once(key: string, make: () => OnnxValue): OnnxValue {
    const known = this.#known.get(key) ?? make();
    this.#known.set(key, known);
    return known;
  }

  #unused(wish: string): string {
    let name = wish;
    for (let count = 1; this.#names.has(name); count++) name = `${wish}_${count}`;
    this.#names.add(name);
    return name;
  }
}

/** A number such that different ones look different, zeros of either sign included. */
function showExactly(value: number | bigint): string {
  return Object.is(value, -0) ? "-0" : String(value);
}
