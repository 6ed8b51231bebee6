// Elements in JavaScript's arrays: typed arrays by dtype, nested arrays and their shapes.

import type { ElementArray } from "../device/executor.ts";
import { ArgumentError, ShapeError, showShape, showValue } from "../errors/index.ts";
import { maxRank } from "../ops/checks.ts";
import type { DType, Shape } from "../ops/index.ts";

/** Nested arrays of numbers, as `toArray` returns them; a plain number for a scalar. */
export type NestedNumbers = number | NestedNumbers[];

/** The elements of a tensor, as the typed array that its dtype names. */
export type Elements = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** What `tensor` takes: a number, nested arrays, or a typed array. */
export type TensorData = NestedNumbers | readonly number[] | Float32Array | Float64Array | Int32Array | Uint8Array;

/** Zeros of a dtype. */
export function newArray(dtype: DType, size: number): Elements {
  return dtype === "float32"
    ? new Float32Array(size)
    : dtype === "int32"
      ? new Int32Array(size)
      : new Float64Array(size);
}

/** The numbers as a typed array of a dtype: themselves where they are one. */
export function asElements(dtype: DType, flat: ArrayLike<number>): ElementArray {
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

/** All numbers of nested arrays. */
export function flatten(data: NestedNumbers | readonly number[]): number[] {
  return typeof data === "number" ? [data] : ((data as unknown[]).flat(Infinity) as number[]);
}

/** Shape of nested arrays; throws where they are ragged, nested too deep or hold something else than numbers. */
export function shapeOfNested(data: NestedNumbers | readonly number[], depth = 0): number[] {
  if (typeof data === "number") return [];
  if (!Array.isArray(data)) throw notNumbers(data);
  if (depth === maxRank)
    throw new ShapeError({ op: "tensor", problem: `arrays are nested deeper than ${maxRank} levels.` });
  const shapes = Array.from(data, (item) => shapeOfNested(item, depth + 1));
  for (const shape of shapes)
    if (!sameShape(shape, shapes[0]))
      throw new ShapeError({
        op: "tensor",
        problem: `nested arrays of different lengths: ${showShape(shapes[0])} and ${showShape(shape)}.`,
        advice: "All rows of an axis have one length.",
      });
  return [data.length, ...(shapes[0] ?? [])];
}

/** The error for data of which no tensor can be made. */
export function notNumbers(data: unknown): ArgumentError {
  const advice =
    data instanceof BigInt64Array || data instanceof BigUint64Array
      ? "Convert it with Int32Array.from(data, Number)."
      : "Data is a number, nested arrays of numbers, or a typed array of numbers.";
  return new ArgumentError({ op: "tensor", problem: `cannot make a tensor of ${showValue(data)}.`, advice });
}

/** Elements in row-major order as nested arrays. */
export function nest(elements: ArrayLike<number>, shape: Shape): NestedNumbers {
  let position = 0;
  const build = (axis: number): NestedNumbers =>
    axis === shape.length ? elements[position++] : Array.from({ length: shape[axis] }, () => build(axis + 1));
  return build(0);
}

/** Whether two shapes are equal. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}
