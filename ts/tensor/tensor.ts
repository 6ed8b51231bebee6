// Tensor: an n-dimensional array on a device, with eager operations that are recorded for gradients.

import { defaultExecutor, openDevice } from "../device/devices.ts";
import type { Command, DeviceName, ElementArray, Executor, Operand } from "../device/executor.ts";
import { dense } from "../device/executor.ts";
import {
  ArgumentError,
  DTypeError,
  DeviceError,
  GradientError,
  LifetimeError,
  ShapeError,
  showShape,
} from "../errors/index.ts";
import type { AnyAttributes, AnyOp, AttributesOf, DType, Op, OpBuilder, Shape, TensorType } from "../ops/index.ts";
import { expectSameDType, expectSizes } from "../ops/checks.ts";
import { bytesOf, ops, sizeOf } from "../ops/index.ts";
import { gradEnabled, noGrad } from "./grad-mode.ts";
import type { Owned, Scope } from "./scope.ts";
import { adopt, disown, scope } from "./scope.ts";
import type { Version } from "./storage.ts";
import { Storage } from "./storage.ts";
import type { Edge, Leaf } from "./tape.ts";
import { TapeNode, walkBack } from "./tape.ts";

/** A tensor or a number that is broadcast against one. */
export type Operable = Tensor | number;

/** Nested arrays of numbers, as `toArray` returns them; a plain number for a scalar. */
export type NestedNumbers = number | NestedNumbers[];

/** The elements of a tensor, as the typed array that its dtype names. */
export type Elements = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** One axis of `Tensor.slice`: `[start, stop?, step?]` (no stop or null: to the end), one index (the axis goes), or null (all). */
export type SliceRange = readonly [start: number, stop?: number | null, step?: number] | number | null;

/** Where a tensor's elements lie. */
interface Place {
  readonly storage: Storage;
  /** In elements. */
  readonly offset: number;
}

/** What has to be let go of when a tensor dies; shared with the finalizer, which must not hold the tensor. */
class Holding {
  readonly place: Place;
  node: TapeNode<Tensor> | undefined;
  disposed = false;

  constructor(place: Place, node: TapeNode<Tensor> | undefined) {
    this.place = place;
    this.node = node;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.place.storage.release();
    this.node?.release();
  }
}

/** The safety net for tensors that neither a scope nor `dispose` frees. */
const finalizer = new FinalizationRegistry<Holding>((holding) => {
  holding.dispose();
});

/**
 * An n-dimensional array of float32, int32 or (on the `ts` device) float64 elements, dense in row-major order; images
 * are NHWC. Operations return new tensors at once and are computed in order on the device's queue.
 */
export class Tensor implements Owned, Leaf<Tensor> {
  readonly shape: Shape;
  readonly dtype: DType;
  /** @internal */
  owner: Scope | undefined;
  /** @internal Counts in-place writes; shared by views. */
  readonly version: Version;
  private readonly holding: Holding;
  private leaf = false;
  private gradient: Tensor | undefined;

  /** @internal Takes over one hold on the storage and one on the node. Use `tensor`, `zeros`, `randn`, ... instead. */
  constructor(place: Place, type: TensorType, options: { version?: Version; node?: TapeNode<Tensor> } = {}) {
    this.shape = type.shape;
    this.dtype = type.dtype;
    this.version = options.version ?? { count: 0 };
    this.holding = new Holding(place, options.node);
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Where the tensor is computed: `cpu`, `ts`, `cuda`. */
  get device(): DeviceName {
    return this.executor.name;
  }

  /** @internal */
  get executor(): Executor {
    return this.holding.place.storage.executor;
  }

  /** Whether the tensor was disposed, by `dispose` or by the end of its scope. */
  get disposed(): boolean {
    return this.holding.disposed;
  }

  /** Whether operations on this tensor are recorded, so that `backward` reaches it. */
  get requiresGrad(): boolean {
    return this.leaf || this.holding.node !== undefined;
  }

  /**
   * The gradient collected by `backward`, if this is a leaf (`requireGrad`, a Parameter); it has the leaf's shape. It
   * belongs to the leaf and lasts until the next `backward` or optimizer step: `clone` it to keep it.
   */
  get grad(): Tensor | undefined {
    return this.gradient;
  }

  /**
   * Marks this tensor as one whose gradient is wanted, or with `false` as one that is frozen, and returns it
   * (`torch.Tensor.requires_grad_`). Only floating tensors made by no operation.
   */
  requireGrad(wanted = true): this {
    if (this.dtype === "int32")
      throw new DTypeError({ op: "requireGrad", problem: "an int32 tensor has no gradient." });
    if (this.holding.node)
      throw new GradientError({
        op: "requireGrad",
        problem: "the tensor is the result of a recorded operation.",
        advice: "Call detach() first.",
      });
    this.leaf = wanted;
    return this;
  }

  /** Forgets the collected gradient. */
  clearGrad(): void {
    this.gradient?.dispose();
    this.gradient = undefined;
  }

  /** @internal */
  addGradient(gradient: Tensor): void {
    const total = this.gradient ? apply(ops.add, [this.gradient, gradient], {}) : gradient;
    const kept = share(total);
    finalizer.register(kept, kept.holding);
    this.gradient?.dispose();
    this.gradient = kept;
  }

  /**
   * Adds the gradient of this tensor, with respect to every leaf it was computed from, to the leaves' gradients.
   * A scalar needs no argument; otherwise `gradient` weights the elements and has this tensor's shape.
   */
  backward(gradient?: Tensor): void {
    this.operand("backward");
    const node = this.holding.node;
    if (!node && !this.leaf)
      throw new GradientError({
        op: "backward",
        problem: "the tensor depends on nothing that requires a gradient.",
        advice: "Compute it from Parameters or from tensors marked with requireGrad(), outside noGrad.",
      });
    if (!gradient && this.size !== 1)
      throw new GradientError({
        op: "backward",
        problem: `the tensor has shape ${showShape(this.shape)}, not one element.`,
        advice: "Reduce it (mean, sum), or pass the gradient of its elements.",
      });
    if (gradient && !sameShape(gradient.shape, this.shape))
      throw new ShapeError({
        op: "backward",
        problem: `gradient has shape ${showShape(gradient.shape)}, expected ${showShape(this.shape)}.`,
      });
    if (gradient) {
      gradient.operand("backward");
      commonExecutor("backward", [this, gradient]);
      expectSameDType("backward", ["the tensor", "its gradient"], this, gradient);
    }
    const builder = builderOn(this.executor);
    noGrad(() => {
      scope(() => {
        // A copy, since gradients are passed on by reference and the caller's tensor may be written to.
        const seed = gradient
          ? builder.apply(ops.copy, [gradient], {})
          : builder.apply(ops.fill, [], { shape: this.shape, dtype: this.dtype, value: 1 });
        if (node) walkBack(node, seed, { builder, scope, add: (a, b) => builder.apply(ops.add, [a, b], {}), share });
        else this.addGradient(seed);
      });
    });
  }

  /** The same values, cut off from what they were computed from; shares memory. */
  detach(): Tensor {
    this.operand("detach");
    const handle = share(this);
    adopt(handle);
    return handle;
  }

  /** Frees the tensor's hold on its memory now. Further use throws; views and gradients in flight are not affected. */
  dispose(): void {
    this.owner = undefined;
    this.gradient?.dispose();
    this.gradient = undefined;
    finalizer.unregister(this);
    this.holding.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Takes the tensor out of the scope it was made in, so that it lives until `dispose` or garbage collection. */
  keep(): this {
    disown(this);
    return this;
  }

  /** @internal */
  onOrphaned(): void {
    finalizer.register(this, this.holding, this);
  }

  /** @internal The tensor as an operand of `op`; throws when it was disposed. */
  operand(op: string): Operand {
    const { storage, offset } = this.place(op);
    return dense(storage.buffer, storage.byteOffset / bytesOf(this.dtype) + offset, this.shape, this.dtype);
  }

  /** @internal */
  place(op: string): Place {
    if (this.holding.disposed)
      throw new LifetimeError({
        op,
        problem: `a tensor of shape ${showShape(this.shape)} was used after it was disposed.`,
        advice: "Return it from its scope, call keep() on it, or make it outside.",
      });
    return this.holding.place;
  }

  /** @internal */
  get node(): TapeNode<Tensor> | undefined {
    return this.holding.node;
  }

  /** @internal */
  get isLeaf(): boolean {
    return this.leaf;
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  /** The elements in row-major order, once everything before is computed. Does not block. */
  async data(): Promise<Elements> {
    const { storage, offset } = this.place("data");
    const target = newArray(this.dtype, this.size);
    storage.retain();
    try {
      await storage.executor.read(storage.buffer, storage.byteOffset + offset * bytesOf(this.dtype), target);
    } finally {
      storage.release();
    }
    return target;
  }

  private elements(op: string): Elements {
    const { storage, offset } = this.place(op);
    const target = newArray(this.dtype, this.size);
    storage.executor.readSync(storage.buffer, storage.byteOffset + offset * bytesOf(this.dtype), target);
    return target;
  }

  /** The only element. Blocks until it is computed. */
  item(): number {
    if (this.size !== 1)
      throw new ShapeError({
        op: "item",
        problem: `the tensor has shape ${showShape(this.shape)}, not one element.`,
        advice: "Use toArray() or data().",
      });
    return this.elements("item")[0];
  }

  /** The elements as nested arrays. Blocks until they are computed. */
  toArray(): NestedNumbers {
    return nest(this.elements("toArray"), this.shape);
  }

  /** A short text with shape, dtype, device and the first elements. Blocks until they are computed. */
  toString(): string {
    if (this.disposed) return `Tensor(disposed, shape ${showShape(this.shape)})`;
    const short = (x: number): string => String(this.dtype === "int32" ? x : Number(x.toPrecision(6)));
    const shown = Array.from(this.elements("toString").subarray(0, 8), short);
    const rest = this.size > 8 ? `, ... ${this.size - 8} more` : "";
    return `Tensor(${showShape(this.shape)}, ${this.dtype}, ${this.device}: ${shown.join(", ")}${rest})`;
  }

  /** What console.log shows. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  // ---- arithmetic --------------------------------------------------------------------------------------------------

  /** this + other, with numpy's broadcasting (`torch.add`). */
  add(other: Operable): Tensor {
    return this.binary(ops.add, other);
  }
  /** this - other (`torch.sub`). */
  sub(other: Operable): Tensor {
    return this.binary(ops.sub, other);
  }
  /** this * other, element by element (`torch.mul`). */
  mul(other: Operable): Tensor {
    return this.binary(ops.mul, other);
  }
  /** this / other (`torch.div`; for int32 it truncates). */
  div(other: Operable): Tensor {
    return this.binary(ops.div, other);
  }
  /** -this. */
  neg(): Tensor {
    return apply(ops.neg, [this], {});
  }
  /** |this|. */
  abs(): Tensor {
    return apply(ops.abs, [this], {});
  }
  /** -1, 0 or 1. */
  sign(): Tensor {
    return apply(ops.sign, [this], {});
  }
  /** this * this. */
  square(): Tensor {
    return apply(ops.square, [this], {});
  }
  /** Square root; NaN below 0. */
  sqrt(): Tensor {
    return apply(ops.sqrt, [this], {});
  }
  /** e^this. */
  exp(): Tensor {
    return apply(ops.exp, [this], {});
  }
  /** Natural logarithm. */
  log(): Tensor {
    return apply(ops.log, [this], {});
  }
  /** max(this, 0). */
  relu(): Tensor {
    return apply(ops.relu, [this], {});
  }
  /** 1 / (1 + e^-this). */
  sigmoid(): Tensor {
    return apply(ops.sigmoid, [this], {});
  }
  /** Hyperbolic tangent. */
  tanh(): Tensor {
    return apply(ops.tanh, [this], {});
  }
  /** this * sigmoid(this). */
  silu(): Tensor {
    return apply(ops.silu, [this], {});
  }
  /** Matrix product of [M, K] and [K, N] (`torch.mm`). */
  matmul(other: Tensor): Tensor {
    return apply(ops.matmul, [this, other, undefined], { transposeA: false, transposeB: false });
  }

  // ---- reductions --------------------------------------------------------------------------------------------------

  /** Sum over `axes` (default: all). `keepDims` leaves them as axes of size 1. */
  sum(axes?: number | readonly number[], options: { keepDims?: boolean } = {}): Tensor {
    return apply(ops.sum, [this], { axes: this.axes(axes), keepDims: options.keepDims ?? false });
  }
  /** Mean over `axes` (default: all). */
  mean(axes?: number | readonly number[], options: { keepDims?: boolean } = {}): Tensor {
    return apply(ops.mean, [this], { axes: this.axes(axes), keepDims: options.keepDims ?? false });
  }

  // ---- shape -------------------------------------------------------------------------------------------------------

  /** The same elements under another shape; one size may be -1 and is computed. A view: shares memory. */
  reshape(shape: Shape): Tensor {
    return apply(ops.reshape, [this], { shape: resolveUnknownSize(this.shape, shape) });
  }
  /** Axis i of the result is axis `axes[i]` of this (`torch.permute`), copied. */
  permute(axes: readonly number[]): Tensor {
    return apply(ops.permute, [this], { axes });
  }
  /** Swaps two axes (default: the last two), copied. */
  transpose(a = -2, b = -1): Tensor {
    const order = this.shape.map((_, i) => i);
    const [i, j] = [a < 0 ? a + this.rank : a, b < 0 ? b + this.rank : b];
    if (order[i] === undefined || order[j] === undefined)
      throw new ArgumentError({
        op: "transpose",
        problem: `axes ${a} and ${b} of a tensor of shape ${showShape(this.shape)}.`,
      });
    [order[i], order[j]] = [j, i];
    return this.permute(order);
  }
  /** Repeats axes of size 1 and prepends axes (`torch.expand`), copied. */
  broadcastTo(shape: Shape): Tensor {
    return apply(ops.broadcastTo, [this], { shape });
  }
  /**
   * Part of the tensor: one range for each leading axis, the other axes whole. Negative positions count from the end.
   * `x.slice([0, 2])` are the first two rows (a view), `x.slice(null, [1, 9, 2])` every other column from 1,
   * `x.slice(3)` row 3 without its axis.
   */
  slice(...ranges: SliceRange[]): Tensor {
    if (ranges.length > this.rank)
      throw new ArgumentError({
        op: "slice",
        problem: `${ranges.length} ranges for a tensor of shape ${showShape(this.shape)}.`,
      });
    const resolved = this.shape.map((n, axis) => resolveRange(n, axis, ranges[axis] ?? null));
    const part = (): Tensor =>
      apply(ops.slice, [this], {
        starts: resolved.map((r) => r[0]),
        stops: resolved.map((r) => r[1]),
        steps: resolved.map((r) => r[2]),
      });
    if (!ranges.some((range) => typeof range === "number")) return part();
    return scope(() => {
      const whole = part();
      return whole.reshape(whole.shape.filter((_, axis) => typeof ranges[axis] !== "number"));
    });
  }
  /** Conversion to another dtype (a new tensor; the same one when it has that dtype already). */
  to(dtype: DType): Tensor {
    return dtype === this.dtype ? this : apply(ops.cast, [this], { dtype });
  }
  /** A copy with memory of its own; gradients pass through. */
  clone(): Tensor {
    return apply(ops.copy, [this], {});
  }

  private binary(op: typeof ops.add, other: Operable): Tensor {
    if (typeof other !== "number") return apply(op, [this, other], {});
    if (this.dtype === "int32" && !Number.isInteger(other))
      throw new DTypeError({
        op: op.name,
        problem: `an int32 tensor with the number ${other}.`,
        advice: 'Convert the tensor with .to("float32").',
      });
    const scalar = apply(ops.fill, [], { shape: [], dtype: this.dtype, value: other }, this.executor);
    try {
      return apply(op, [this, scalar], {});
    } finally {
      scalar.dispose();
    }
  }

  private axes(axes: number | readonly number[] | undefined): readonly number[] {
    if (axes === undefined) return this.shape.map((_, i) => i);
    return typeof axes === "number" ? [axes] : axes;
  }
}

// ---- applying ops ----------------------------------------------------------------------------------------------------

/** The instruction set on tensors of one device: what gradient rules are given. */
function builderOn(executor: Executor): OpBuilder<Tensor> {
  return {
    apply: (op, inputs, attributes) => apply(op, inputs, attributes, executor),
    type: (value) => value,
  };
}

/** @internal Applies an op; `executor` is needed only where there are no inputs to tell it. */
export function apply<S extends Op["attributes"]>(
  op: Op<S>,
  inputs: readonly (Tensor | undefined)[],
  attributes: NoInfer<AttributesOf<S>>,
  executor?: Executor,
): Tensor {
  const operands = inputs.map((input) => input?.operand(op.name));
  const on = commonExecutor(op.name, inputs) ?? executor ?? defaultExecutor();
  const inferred = op.infer(inputs, attributes);
  // A copy: rules return operands' types, which would keep those tensors alive, and callers may change their arrays.
  const type = { shape: [...inferred.shape], dtype: inferred.dtype };
  expectSizes(op.name, type.shape);
  expectSupported(op.name, on, type.dtype);
  const viewed = op.view ? 0 : op.viewOffset?.(inputs, attributes);
  const first = inputs[0];
  let place: Place;
  if (viewed !== undefined && first) {
    const { storage, offset } = first.place(op.name);
    place = { storage: storage.retain(), offset: offset + viewed };
  } else {
    const storage = new Storage(on, sizeOf(type.shape) * bytesOf(type.dtype));
    place = { storage, offset: 0 };
    try {
      const output = dense(storage.buffer, 0, type.shape, type.dtype);
      submit(on, { op, attributes, inputs: operands, output });
    } catch (error) {
      storage.release();
      throw error;
    }
  }
  const version = viewed === undefined ? { count: 0 } : first?.version;
  const node = record(op, attributes, inputs, type, place, version);
  const result = new Tensor(place, type, { version, node });
  adopt(result);
  return result;
}

/** @internal Applies an in-place op, and counts the write. */
export function applyInPlace<S extends Op["attributes"]>(
  op: Op<S>,
  inputs: readonly Tensor[],
  attributes: NoInfer<AttributesOf<S>>,
): void {
  const operands = inputs.map((input) => input.operand(op.name));
  const on = commonExecutor(op.name, inputs);
  op.infer(inputs, attributes);
  submit(on!, { op, attributes, inputs: operands, output: undefined });
  for (const index of op.writes ?? []) inputs[index].version.count++;
}

function submit(executor: Executor, command: Command): void {
  executor.submit([command]);
}

function commonExecutor(op: string, inputs: readonly (Tensor | undefined)[]): Executor | undefined {
  const first = inputs.find((input) => input !== undefined);
  for (const input of inputs)
    if (input && input.executor !== first?.executor)
      throw new DeviceError({
        op,
        problem: `operands lie on different devices: ${first?.device} and ${input.device}.`,
        advice: "Make them on one device.",
      });
  return first?.executor;
}

/** Refuses a dtype that the executor does not compute in. */
function expectSupported(op: string, executor: Executor, dtype: DType): void {
  if (!executor.supports(dtype))
    throw new DTypeError({
      op,
      problem: `the ${executor.name} device does not compute in ${dtype}.`,
      advice: 'float64 exists on the "ts" device alone.',
    });
}

/** Another handle to the same elements, without a place in the graph; owned by nobody. */
function share(tensor: Tensor): Tensor {
  const { storage, offset } = tensor.place("share");
  return new Tensor({ storage: storage.retain(), offset }, tensor, { version: tensor.version });
}

/** Puts the op on the tape if a gradient may be wanted, keeping what its rule reads. */
function record(
  op: AnyOp,
  attributes: AnyAttributes,
  inputs: readonly (Tensor | undefined)[],
  outputType: TensorType,
  output: Place,
  version: Version | undefined,
): TapeNode<Tensor> | undefined {
  if (!gradEnabled() || outputType.dtype === "int32") return undefined;
  const edges = inputs.map((input): Edge<Tensor> | undefined => input?.node ?? (input?.isLeaf ? input : undefined));
  if (edges.every((edge) => edge === undefined)) return undefined;
  const keptValues: Tensor[] = [];
  const keep = (handle: Tensor): (() => Tensor) => {
    keptValues.push(handle);
    const written = handle.version.count;
    return () => {
      if (handle.version.count !== written)
        throw new GradientError({
          op: "backward",
          problem: `a value that ${op.name} kept (shape ${showShape(handle.shape)}) was overwritten after the forward pass.`,
          advice: "Call backward before optimizer.step() or assign, or compute the loss again.",
        });
      return handle;
    };
  };
  const keptInputs = new Map<number, () => Tensor>();
  for (const index of op.keeps?.inputs ?? []) {
    const input = inputs[index];
    if (input) keptInputs.set(index, keep(share(input)));
  }
  const keptOutput = op.keeps?.output
    ? keep(new Tensor({ storage: output.storage.retain(), offset: output.offset }, outputType, { version }))
    : undefined;
  return new TapeNode({
    op,
    attributes,
    inputTypes: inputs.map((input) => input && { shape: input.shape, dtype: input.dtype }),
    outputType,
    edges,
    keptInputs,
    keptOutput,
    keptValues,
  });
}

// ---- making tensors --------------------------------------------------------------------------------------------------

let floatType: "float32" | "float64" = "float32";

/** The dtype of floating tensors that are made without naming one: float32 unless `setDefaultDType` changed it. */
export function defaultDType(): "float32" | "float64" {
  return floatType;
}

/** Makes float64 (for checks on the `ts` device) or float32 the default (`torch.set_default_dtype`). */
export function setDefaultDType(dtype: "float32" | "float64"): void {
  floatType = dtype;
}

/** Where and as what a tensor is made. */
export interface TensorOptions {
  /** Default: float32 (see `setDefaultDType`), and int32 for an Int32Array. */
  readonly dtype?: DType;
  /** Default: the default device (see `setDefaultDevice`). */
  readonly device?: DeviceName;
}

/** @internal */
export function executorOf(options: { readonly device?: DeviceName }): Executor {
  return options.device ? openDevice(options.device) : defaultExecutor();
}

/** What `tensor` takes: a number, nested arrays, or a typed array. */
export type TensorData = NestedNumbers | readonly number[] | Float32Array | Float64Array | Int32Array | Uint8Array;

/**
 * A tensor with these elements (`torch.tensor`). Nested arrays tell their shape; flat data may be given one.
 * Throws ShapeError when the arrays are ragged or the count does not match the shape. In int32 fractions are cut off.
 */
export function tensor(data: TensorData, options: TensorOptions & { readonly shape?: Shape } = {}): Tensor {
  if (typeof data !== "number" && !Array.isArray(data) && !ArrayBuffer.isView(data))
    throw new ArgumentError({ op: "tensor", problem: `cannot make a tensor of ${typeof data}.` });
  const flat = ArrayBuffer.isView(data) ? data : flatten(data);
  const shape = [...(options.shape ?? (ArrayBuffer.isView(data) ? [data.length] : shapeOfNested(data)))];
  expectSizes("tensor", shape);
  const dtype = options.dtype ?? (data instanceof Int32Array ? "int32" : floatType);
  if (sizeOf(shape) !== flat.length)
    throw new ShapeError({
      op: "tensor",
      problem: `${flat.length} elements for shape ${showShape(shape)}, which has ${sizeOf(shape)}.`,
    });
  const executor = executorOf(options);
  expectSupported("tensor", executor, dtype);
  const result = uninitialised(shape, dtype, executor);
  const { storage } = result.place("tensor");
  storage.executor.write(storage.buffer, 0, asElements(dtype, flat));
  adopt(result);
  return result;
}

/** @internal Memory without values, owned by nobody. */
export function uninitialised(shape: Shape, dtype: DType, executor: Executor): Tensor {
  return new Tensor({ storage: new Storage(executor, sizeOf(shape) * bytesOf(dtype)), offset: 0 }, { shape, dtype });
}

// ---- arrays ----------------------------------------------------------------------------------------------------------

function newArray(dtype: DType, size: number): Elements {
  return dtype === "float32"
    ? new Float32Array(size)
    : dtype === "int32"
      ? new Int32Array(size)
      : new Float64Array(size);
}

function asElements(dtype: DType, flat: ArrayLike<number>): ElementArray {
  const target = newArray(dtype, 0).constructor as Float32ArrayConstructor;
  if (flat instanceof target) return flat;
  if (dtype === "int32") expectIntegersFit(flat);
  return target.from(flat);
}

/** Refuses what an Int32Array would turn into another number without a word. */
function expectIntegersFit(flat: ArrayLike<number>): void {
  for (let i = 0; i < flat.length; i++)
    if (!(flat[i] > -2147483649 && flat[i] < 2147483648))
      throw new ArgumentError({ op: "tensor", problem: `element ${i} is ${flat[i]}, which int32 does not hold.` });
}

function flatten(data: NestedNumbers | readonly number[]): number[] {
  return typeof data === "number" ? [data] : ((data as unknown[]).flat(Infinity) as number[]);
}

/** Shape of nested arrays; throws where they are ragged or hold something else than numbers. */
function shapeOfNested(data: NestedNumbers | readonly number[]): number[] {
  if (typeof data === "number") return [];
  if (!Array.isArray(data))
    throw new ArgumentError({ op: "tensor", problem: `cannot make a tensor of ${typeof data}.` });
  const shapes = data.map((item) => shapeOfNested(item));
  for (const shape of shapes)
    if (!sameShape(shape, shapes[0]))
      throw new ShapeError({
        op: "tensor",
        problem: `nested arrays of different lengths: ${showShape(shapes[0])} and ${showShape(shape)}.`,
      });
  return [data.length, ...(shapes[0] ?? [])];
}

function nest(elements: ArrayLike<number>, shape: Shape): NestedNumbers {
  let position = 0;
  const build = (axis: number): NestedNumbers =>
    axis === shape.length ? elements[position++] : Array.from({ length: shape[axis] }, () => build(axis + 1));
  return build(0);
}

function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** Replaces one -1 by the size that keeps the number of elements. */
function resolveUnknownSize(from: Shape, to: Shape): Shape {
  const unknown = to.indexOf(-1);
  if (unknown < 0) return to;
  const known = to.reduce((product, n, i) => (i === unknown ? product : product * n), 1);
  if (to.lastIndexOf(-1) !== unknown || known === 0 || sizeOf(from) % known !== 0)
    throw new ShapeError({
      op: "reshape",
      problem: `${showShape(from)} cannot become ${showShape(to)}.`,
      advice: "One size may be -1, and the others must divide the number of elements.",
    });
  return to.map((n, i) => (i === unknown ? sizeOf(from) / known : n));
}

function resolveRange(n: number, axis: number, range: SliceRange): readonly [number, number, number] {
  if (range === null) return [0, n, 1];
  const fromEnd = (position: number): number => (position < 0 ? position + n : position);
  if (typeof range === "number") {
    const start = fromEnd(range);
    if (!Number.isInteger(start) || start < 0 || start >= n)
      throw new ArgumentError({ op: "slice", problem: `index ${range} on axis ${axis} of size ${n}.` });
    return [start, start + 1, 1];
  }
  return [fromEnd(range[0]), fromEnd(range[1] ?? n), range[2] ?? 1];
}
