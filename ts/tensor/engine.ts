// The engine: checks an op, takes memory for its result, submits it to the device, and records it on the tape.

import { defaultExecutor } from "../device/devices.ts";
import type { Command, Executor } from "../device/executor.ts";
import { dense } from "../device/executor.ts";
import { ArgumentError, DTypeError, DeviceError, GradientError, LangevinError, showShape } from "../errors/index.ts";
import type {
  AnyAttributes,
  AnyOp,
  AttributeSignature,
  AttributesOf,
  DType,
  GivenAttributes,
  Op,
  OpBuilder,
  TensorType,
} from "../ops/index.ts";
import { PerStep, bytesOf, sizeOf } from "../ops/index.ts";
import { expectAttributes, expectDTypeName, expectSizes } from "../ops/checks.ts";
import { gradEnabled } from "./grad-mode.ts";
import { Counter, currentRecording } from "./recording.ts";
import { adopt } from "./scope.ts";
import { Storage } from "./storage.ts";
import { expectNoNaN, strictMode } from "./strict-mode.ts";
import type { Edge, Leaf } from "./tape.ts";
import { TapeNode } from "./tape.ts";
import { Value, expectTensor } from "./value.ts";
import type { Place, ValueOptions } from "./value.ts";

/** What the engine asks of the tensor class beyond its memory: to be a leaf where a gradient is wanted. */
export interface Differentiable<Self> extends Value<Self>, Leaf<Self> {
  readonly isLeaf: boolean;
  readonly requiresGrad: boolean;
}

/** The instruction set applied to tensors. */
export interface Engine<T> {
  /**
   * Applies an op that has one output; `executor` is needed only where there are no inputs to tell it. Attributes may
   * differ between the steps of a plan (`PerStep`) where the record says so.
   */
  apply<S extends Op["attributes"]>(
    op: Op<S>,
    inputs: readonly (T | undefined)[],
    attributes: NoInfer<GivenAttributes<S>>,
    executor?: Executor,
  ): T;
  /** Applies an op that writes in place, and counts the writes. */
  applyInPlace<S extends Op["attributes"]>(
    op: Op<S>,
    inputs: readonly (T | undefined)[],
    attributes: NoInfer<GivenAttributes<S>>,
  ): void;
  /** Another handle to the same elements, without a place in the graph; owned by nobody. */
  share(tensor: T): T;
  /** The instruction set on tensors of one device: what gradient rules are given. */
  builderOn(executor: Executor): OpBuilder<T>;
}

/** The engine that makes its tensors with `make`. */
export function createEngine<T extends Differentiable<T>>(
  make: (place: Place, type: TensorType, options?: ValueOptions<T>) => T,
): Engine<T> {
  const apply: Engine<T>["apply"] = (op, inputs, given, executor) => {
    expectTensors(op, inputs);
    const { attributes, perStep } = ofThisStep(op, given);
    expectAttributes(op, attributes);
    const operands = inputs.map((input) => input?.operand(op.name));
    const on = commonExecutor(op.name, inputs) ?? executor ?? defaultExecutor();
    const type = outputType(op, inputs, attributes, on);
    if (gradEnabled()) expectConstants(op, inputs);
    // A view whose place differs between steps is none.
    const viewed = op.view ? 0 : perStep.length > 0 ? undefined : op.viewOffset?.(inputs, attributes);
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
        submit(on, { op, attributes, inputs: operands, output }, perStep);
      } catch (error) {
        storage.release();
        throw error;
      }
    }
    const version = viewed === undefined ? new Counter() : first?.version;
    const node = record(op, given as AnyAttributes, inputs, type, place, version);
    const result = make(place, type, { version, node });
    adopt(result);
    if (strictMode() && !currentRecording()) expectNoNaN(op, inputs, result);
    return result;
  };

  const applyInPlace: Engine<T>["applyInPlace"] = (op, inputs, given) => {
    expectTensors(op, inputs);
    const { attributes, perStep } = ofThisStep(op, given);
    expectAttributes(op, attributes);
    const operands = inputs.map((input) => input?.operand(op.name));
    const on = commonExecutor(op.name, inputs);
    explaining(op, inputs, () => op.infer(inputs, attributes));
    submit(on!, { op, attributes, inputs: operands, output: undefined }, perStep);
    for (const index of op.writes ?? []) {
      const written = inputs[index];
      if (!written) continue;
      written.version.add();
      if (strictMode() && !currentRecording()) expectNoNaN(op, inputs, written);
    }
  };

  const share = (tensor: T): T => {
    const { storage, offset } = tensor.place("share");
    return make({ storage: storage.retain(), offset }, tensor, { version: tensor.version });
  };

  /** Puts the op on the tape if a gradient may be wanted, keeping what its rule reads. */
  const record = (
    op: AnyOp,
    attributes: AnyAttributes,
    inputs: readonly (T | undefined)[],
    type: TensorType,
    output: Place,
    version: Counter | undefined,
  ): TapeNode<T> | undefined => {
    if (!gradEnabled() || type.dtype === "int32") return undefined;
    const edges = inputs.map((input): Edge<T> | undefined => input?.node ?? (input?.isLeaf ? input : undefined));
    if (edges.every((edge) => edge === undefined)) return undefined;
    const keptValues: T[] = [];
    const keep = (handle: T): (() => T) => {
      keptValues.push(handle);
      return unlessOverwritten(op, handle);
    };
    const keptInputs = new Map<number, () => T>();
    for (const index of op.keeps?.inputs ?? []) {
      const input = inputs[index];
      if (input) keptInputs.set(index, keep(share(input)));
    }
    const keptOutput = op.keeps?.output
      ? keep(make({ storage: output.storage.retain(), offset: output.offset }, type, { version }))
      : undefined;
    return new TapeNode<T>({
      op,
      attributes,
      inputTypes: inputs.map((input) => input && { shape: input.shape, dtype: input.dtype }),
      outputType: type,
      edges,
      keptInputs,
      keptOutput,
      keptValues,
    });
  };

  const builderOn = (executor: Executor): OpBuilder<T> => ({
    apply: <S extends AttributeSignature>(op: Op<S>, inputs: readonly (T | undefined)[], attributes: AttributesOf<S>) =>
      apply(op, inputs, attributes as unknown as GivenAttributes<S>, executor),
    type: (value) => value,
  });

  return { apply, applyInPlace, share, builderOn };
}

/** Runs a command, or writes it down where a plan is being recorded. */
function submit(executor: Executor, command: Command, perStep: readonly NumberPerStep[]): void {
  const recording = currentRecording();
  if (recording) recording.submit(executor, command, perStep);
  else executor.submit([command]);
}

/** An attribute that each step of a plan is given anew. */
interface NumberPerStep {
  readonly attribute: string;
  readonly number: PerStep;
}

/** The attributes as they are in this step, and those of them that differ in others. */
function ofThisStep<S extends Op["attributes"]>(
  op: Op<S>,
  given: GivenAttributes<S>,
): { readonly attributes: AttributesOf<S>; readonly perStep: readonly NumberPerStep[] } {
  const varies = (value: unknown): boolean => value instanceof PerStep;
  if (!Object.values(given).some(varies)) return { attributes: given as AttributesOf<S>, perStep: none };
  const attributes: Record<string, unknown> = { ...given };
  const perStep: NumberPerStep[] = [];
  for (const [attribute, number] of Object.entries(given)) {
    if (!(number instanceof PerStep)) continue;
    if (!op.perStep?.includes(attribute))
      throw new ArgumentError({ op: op.name, problem: `${attribute} cannot differ between the steps of a plan.` });
    attributes[attribute] = number.value;
    if (currentRecording()) perStep.push({ attribute, number });
  }
  return { attributes: attributes as AttributesOf<S>, perStep };
}

const none: readonly NumberPerStep[] = [];

/** Shape and dtype of the result, having refused what the op or the executor cannot do. */
function outputType<S extends Op["attributes"]>(
  op: Op<S>,
  inputs: readonly (TensorType | undefined)[],
  attributes: AttributesOf<S>,
  executor: Executor,
): TensorType {
  return explaining(op, inputs, () => {
    const inferred = op.infer(inputs, attributes);
    expectSizes(op.name, inferred.shape);
    expectSupported(op.name, executor, inferred.dtype);
    // A copy: rules return operands' types, which would keep those tensors alive, and callers may change their arrays.
    return { shape: [...inferred.shape], dtype: inferred.dtype };
  });
}

/** Refuses operands that are no tensors, as callers without types may give them. */
function expectTensors(op: AnyOp, inputs: readonly unknown[]): void {
  for (let i = 0; i < Math.max(inputs.length, op.inputs.length); i++) {
    if (inputs[i] instanceof Value) continue;
    const mayBeAbsent = /(\?|\.\.\.)$/.test(op.inputs[i] ?? "");
    if (inputs[i] !== undefined || !mayBeAbsent) expectTensor(op.name, operandName(op, i), inputs[i]);
  }
}

/** Runs a check of `op`; an error on its way out is told the operands. */
function explaining<R>(op: AnyOp, inputs: readonly (TensorType | undefined)[], check: () => R): R {
  try {
    return check();
  } catch (error) {
    if (error instanceof LangevinError)
      error.operands ??= inputs.flatMap((input, i) =>
        input ? [{ name: operandName(op, i), shape: [...input.shape], dtype: input.dtype }] : [],
      );
    throw error;
  }
}

/** Refuses to leave out a gradient that somebody wants. */
function expectConstants(op: AnyOp, inputs: readonly ({ readonly requiresGrad: boolean } | undefined)[]): void {
  for (const index of op.constants ?? [])
    if (inputs[index]?.requiresGrad)
      throw new GradientError({
        op: op.name,
        problem: `${operandName(op, index)} requires a gradient, which this operation does not compute.`,
        advice: "Pass it detached, or write the operation out with others that do.",
      });
}

/** What the record calls input `index`: `weight`, `x[2]`. */
function operandName(op: AnyOp, index: number): string {
  const list = op.inputs.at(-1)?.endsWith("...") ? op.inputs.length - 1 : Infinity;
  if (index >= list) return `${op.inputs[list].slice(0, -3)}[${index - list}]`;
  return op.inputs[index].replace("?", "");
}

/** @internal The executor that all operands lie on. */
export function commonExecutor(
  op: string,
  inputs: readonly (Pick<Value<unknown>, "executor" | "device"> | undefined)[],
): Executor | undefined {
  const first = inputs.find((input) => input !== undefined);
  for (const input of inputs)
    if (input && input.executor !== first?.executor)
      throw new DeviceError({
        op,
        problem: `operands lie on different devices: ${first?.device} and ${input.device}.`,
        advice: `Make them on one device, or move one with .to("${first?.device}").`,
      });
  return first?.executor;
}

/** @internal Refuses a dtype that the executor does not compute in. */
export function expectSupported(op: string, executor: Executor, dtype: DType): void {
  expectDTypeName(op, dtype);
  if (!executor.supports(dtype))
    throw new DTypeError({
      op,
      problem: `the ${executor.name} device does not compute in ${dtype}.`,
      advice: 'float64 exists on the "ts" device alone.',
    });
}

/** Hands out a kept value, as long as nobody has written to its memory. */
function unlessOverwritten<T extends Value<T>>(op: AnyOp, handle: T): () => T {
  const written = handle.version.peek();
  return () => {
    if (handle.version.peek() !== written)
      throw new GradientError({
        op: "backward",
        problem: `a value that ${op.name} kept (shape ${showShape(handle.shape)}) was overwritten after the forward pass.`,
        advice: "Call backward before optimizer.step() or assign, or compute the loss again.",
      });
    return handle;
  };
}
