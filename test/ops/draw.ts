// Seeded values for the samples of the op records, the same on every run.

import type { AnyAttributes, AnyOp, DType, SampleInput, Shape, TensorType } from "../../ts/ops/index.ts";
import { sizeOf } from "../../ts/ops/index.ts";
import type { ElementArray } from "../../ts/device/executor.ts";

/** A tensor's type and its elements in row-major order. */
export interface Value {
  readonly type: TensorType;
  readonly elements: ElementArray;
}

/** An op with operands and attributes, ready to run. */
export interface Case {
  readonly op: AnyOp;
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: AnyAttributes;
}

export function newElements(dtype: DType, size: number): ElementArray {
  return dtype === "float32"
    ? new Float32Array(size)
    : dtype === "int32"
      ? new Int32Array(size)
      : new Float64Array(size);
}

/** A value with these elements. */
export function valueOf(dtype: DType, shape: Shape, elements: readonly number[]): Value {
  const typed = newElements(dtype, elements.length);
  typed.set(elements);
  return { type: { shape, dtype }, elements: typed };
}

/** Uniform numbers in [0, 1): xorshift32, Marsaglia 2003. */
export function generator(seed: number): () => number {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Draws one input; floats are float32 numbers whatever the dtype that holds them. */
export function drawInput(input: SampleInput, random: () => number): Value {
  const { shape, dtype = "float32", range: [low, high] = [-1, 1] } = input;
  const elements = newElements(dtype, sizeOf(shape));
  for (let i = 0; i < elements.length; i++) {
    const value = low + (high - low) * random();
    elements[i] = dtype === "int32" ? Math.floor(value) : Math.fround(value);
  }
  return { type: { shape, dtype }, elements };
}

/** The case of a sample, with every float of type `float`. */
export function drawCase(op: AnyOp, sample: AnyOp["samples"][number], float: "float32" | "float64"): Case {
  const random = generator(op.name.length * 1000 + op.samples.indexOf(sample) + 1);
  const inputs = sample.inputs.map((input) => input && asFloat(drawInput(input, random), float));
  const given = sample.attributes as AnyAttributes;
  const attributes = given.dtype === "float32" ? { ...given, dtype: float } : given;
  return { op, inputs, attributes };
}

function asFloat(value: Value, float: "float32" | "float64"): Value {
  if (value.type.dtype === "int32" || value.type.dtype === float) return value;
  const elements = float === "float64" ? Float64Array.from(value.elements) : Float32Array.from(value.elements);
  return { type: { ...value.type, dtype: float }, elements };
}

/** The largest finite absolute value, at least `least`. */
export function magnitudeOf({ elements }: Value, least = 0): number {
  let largest = least;
  for (const element of elements) if (Number.isFinite(element)) largest = Math.max(largest, Math.abs(element));
  return largest;
}
