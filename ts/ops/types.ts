// What an op is: the one record that shapes, gradients, executors and tests all read.

import { CaptureError } from "../errors/index.ts";

/** Element types of tensors. `float64` exists on the `ts` executor alone. */
export type DType = "float32" | "int32" | "float64";

/**
 * Element types of memory: those of tensors, and float32 numbers of which memory holds the upper 16 bits, as plans keep what only
 * products in bf16 read.
 */
export type StoredType = DType | "bfloat16";

/** Sizes of the axes, outermost first; images are NHWC. */
export type Shape = readonly number[];

/** What is known of a value before it is computed. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/**
 * How one attribute is typed, and with that how it is laid out for native code:
 * `int`, `float`, `bool` and enumerations (a list of literals, sent as the index) take one word,
 * `ints` its length and then its elements, `seed` (64 bits) its low and its high half.
 */
export type AttributeKind = "int" | "float" | "bool" | "ints" | "seed" | readonly string[];

/** Attributes of an op in the order in which they are encoded. */
export type AttributeSignature = Readonly<Record<string, AttributeKind>>;

type AttributeValue<K extends AttributeKind> = K extends "int" | "float"
  ? number
  : K extends "bool"
    ? boolean
    : K extends "ints"
      ? readonly number[]
      : K extends "seed"
        ? bigint
        : K extends readonly (infer E)[]
          ? E
          : never;

/** The attribute values that a signature asks for. */
export type AttributesOf<S extends AttributeSignature> = { readonly [K in keyof S]: AttributeValue<S[K]> };

/**
 * A number that each run of a plan's commands is given anew: what stands for it while the plan is recorded. The identity
 * of the object is that of the number.
 */
export class PerStep {
  /** Its value in the recorded step. */
  readonly value: number;
  private readonly isKnown: boolean;

  constructor(value: number, isKnown = false) {
    this.value = value;
    this.isKnown = isKnown;
  }

  /** One of a step that runs now, whose number is known: `Number(index)` gives it. */
  static known(value: number): PerStep {
    return new PerStep(value, true);
  }

  /** Refuses to be calculated with, compared or printed in a plan: all of that would fix the recorded step's value. */
  [Symbol.toPrimitive](): number {
    if (this.isKnown) return this.value;
    throw new CaptureError({
      op: "capture",
      problem: "a number that differs from step to step was calculated with, as if it had one value.",
      advice:
        "Pass it on to row(), step or image; give learning rates as functions of the step; or run the steps eagerly (eager: true).",
    });
  }
}

/** Attribute values as an op is applied to them: numbers that the record lists under `perStep` may be a `PerStep`. */
export type GivenAttributes<S extends AttributeSignature> = {
  readonly [K in keyof S]: S[K] extends "int" | "float" ? number | PerStep : AttributeValue<S[K]>;
};

/** Attribute values of any op, where the op is not known statically. */
export type AnyAttributes = Readonly<Record<string, number | boolean | string | bigint | readonly number[]>>;

/**
 * The instruction set applied to values of type `V`. Gradients are written against it, so a record needs no Tensor.
 */
export interface OpBuilder<V> {
  /** Applies an op that has one output. */
  apply<S extends AttributeSignature>(
    op: Op<S>,
    inputs: readonly (V | undefined)[],
    attributes: NoInfer<AttributesOf<S>>,
  ): V;
  /** Shape and dtype of a value. */
  type(value: V): TensorType;
}

/** What the gradient rule of an op may look at. */
export interface GradientContext<V, A> {
  /** While a plan is recorded those listed under `perStep` may be a `PerStep`: rules pass them on and do not look. */
  readonly attributes: A;
  /** Shapes and dtypes of all inputs (undefined for an optional input that was absent) and of the output. */
  readonly inputTypes: readonly (TensorType | undefined)[];
  readonly outputType: TensorType;
  /** A kept input. Throws if the record does not list it under `keeps.inputs`. */
  input(index: number): V;
  /** The kept output. Throws if the record does not keep it. */
  output(): V;
  /** Gradient of the loss with respect to the output. */
  readonly gradient: V;
  /** Whether anybody wants the gradient of this input. */
  needs(index: number): boolean;
}

/** One case that the conformance suite runs: types of the inputs, attributes, and how to draw the values. */
export interface Sample<A> {
  /** Names the case where an op has several. */
  readonly name: string;
  readonly inputs: readonly (SampleInput | undefined)[];
  readonly attributes: A;
}

/** One input of a sample; values are drawn uniformly from `range` (default [-1, 1]; for int32 low <= value < high). */
export interface SampleInput {
  readonly shape: Shape;
  readonly dtype?: DType;
  readonly range?: readonly [low: number, high: number];
}

/**
 * How an input lies beside the output of an op that can run part by part: it broadcasts to it element by element, has one entry
 * for each index of axis 0, or is needed as a whole in every part.
 */
export type Alignment = "element" | "image" | "whole";

/** One instruction. Every op has exactly one output, except those that write in place (`writes`), which have none. */
export interface Op<S extends AttributeSignature = AttributeSignature> {
  readonly name: string;
  /** Names of the inputs; a trailing `?` marks an optional one, a single trailing `...` a list of any length >= 1. */
  readonly inputs: readonly string[];
  readonly attributes: S;
  /** Checks the operands and returns the type of the output (for an in-place op: of the first written input). */
  infer(inputs: readonly (TensorType | undefined)[], attributes: AttributesOf<S>): TensorType;
  /** Attributes (of kind `int` or `float`) that may differ between the steps of a plan. */
  readonly perStep?: readonly (keyof S & string)[];
  /** Inputs that an in-place op reads and overwrites. */
  readonly writes?: readonly number[];
  /**
   * Inputs whose memory the output may take over, where shapes and dtypes agree: every element of the output depends on
   * the element at the same place there, and is written after that was read.
   */
  readonly inPlace?: readonly number[];
  /**
   * For an op whose result in a part (a range of rows, say) follows from the same part of its inputs: how each of these lies
   * beside the result; the last entry is that of all inputs that follow. Plans run a row of such ops part by part.
   */
  readonly parts?: readonly Alignment[];
  /** Parts of it are whole images, ranges of axis 0: noise is drawn image by image, from the attribute `image` on. */
  readonly wholeImages?: boolean;
  /** So quickly computed that plans rather do it again in backward than keep the result from forward. */
  readonly cheap?: boolean;
  /** Inputs that are multiplied by each other, which products of lower precision round. */
  readonly factors?: readonly number[];
  /** Kernels run ops with `parts` on each part of the output as soon as it is complete. */
  readonly epilogue?: boolean;
  /** The output is the first input's memory under another shape; no kernel runs. */
  readonly view?: boolean;
  /** What the gradient rule reads, and so what the tape must keep. */
  readonly keeps?: { readonly inputs?: readonly number[]; readonly output?: boolean };
  /**
   * For an op with a kernel: where in the first input's memory the output already lies as a dense block (in elements),
   * or undefined when it must be computed.
   */
  viewOffset?(inputs: readonly (TensorType | undefined)[], attributes: AttributesOf<S>): number | undefined;
  /** Gradients of the inputs, in their order; undefined where none is needed or none exists. */
  gradient?<V>(b: OpBuilder<V>, context: GradientContext<V, AttributesOf<S>>): (V | undefined)[];
  /** Inputs that have no gradient by their nature (masks, tables made once): one that requires a gradient is refused. */
  readonly constants?: readonly number[];
  /** Why there is no gradient, where one might be expected: such an op throws in `backward`. */
  readonly withoutGradient?: string;
  /** Values are moved, chosen or drawn, never rounded: all executors agree in every bit. */
  readonly exact?: boolean;
  /** Number of terms in each sum of products, which tells how much rounding may add up to; default: what a reduction sums. */
  terms?(inputs: readonly (TensorType | undefined)[], attributes: AttributesOf<S>): number;
  /**
   * Products that are added up, of an op that multiplies matrices in whatever guise: its cost is two FLOP for each. Any
   * other op is taken to cost one for each element of its largest operand, or nothing where it is exact.
   */
  multiplyAdds?(inputs: readonly (TensorType | undefined)[], attributes: AttributesOf<S>, output: TensorType): number;
  /** Cases for the conformance suite. */
  readonly samples: readonly Sample<AttributesOf<S>>[];
}

/** An op whose signature is not known statically. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- attributes are contravariant in the rules
export type AnyOp = Op<any>;

/** Declares an op; exists for its type inference. */
export function defineOp<const S extends AttributeSignature>(op: Op<S>): Op<S> {
  return op;
}

/** Number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** Bytes that one element takes. */
export function bytesOf(type: StoredType): number {
  return type === "float64" ? 8 : type === "bfloat16" ? 2 : 4;
}

/** The signature as the text that native kernels are registered with: `stride:ints,padding:ints`. */
export function signatureText(signature: AttributeSignature): string {
  return Object.entries(signature)
    .map(([name, kind]) => `${name}:${typeof kind === "string" ? kind : kind.join("|")}`)
    .join(",");
}
