// Features of pictures, in whatever form they are given, as a float64 matrix with a row for each picture.

import { ArgumentError, ShapeError, showShape, showValue } from "../errors/index.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { Matrix } from "./matrices.ts";

/** Numbers with a shape, as `readNpy` and `readSafetensors` give them. */
export interface ShapedNumbers {
  /** The elements, the last axis fastest. */
  readonly data: ArrayLike<number>;
  /** Sizes of the axes. */
  readonly shape: readonly number[];
}

/** Features [N, D] of N pictures: a tensor, an array of rows, or numbers with a shape. */
export type Features = Tensor | ShapedNumbers | readonly ArrayLike<number>[];

/** The features as a matrix; waits for a tensor. Refuses what is no matrix, and numbers that are not finite. */
export async function readFeatures(op: string, name: string, features: Features): Promise<Matrix> {
  const { data, shape } = await readNumbers(op, name, features);
  if (shape.length !== 2)
    throw new ShapeError({
      op,
      problem: `${name} has shape ${showShape(shape)}, expected [N, D]: a row of features for each picture.`,
    });
  const [rows, columns] = shape;
  const wrong = data.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0)
    throw new ArgumentError({
      op,
      problem: `${name} is ${data[wrong]} at [${Math.floor(wrong / columns)}, ${wrong % columns}], expected finite numbers.`,
    });
  return { rows, columns, data };
}

/** The numbers in float64 with their shape; waits for a tensor. */
export async function readNumbers(
  op: string,
  name: string,
  values: Features,
): Promise<{ readonly data: Float64Array; readonly shape: readonly number[] }> {
  if (values instanceof Tensor) return { data: Float64Array.from(await values.data()), shape: values.shape };
  if (Array.isArray(values)) return fromRows(op, name, values as readonly ArrayLike<number>[]);
  if (typeof values !== "object" || values === null || !("data" in values) || !("shape" in values))
    throw new ArgumentError({
      op,
      problem: `${name} is ${showValue(values)}, expected a tensor, an array of rows, or { data, shape }.`,
    });
  const { data, shape } = values;
  const size = shape.reduce((product, n) => product * n, 1);
  if (data.length !== size)
    throw new ShapeError({
      op,
      problem: `${name} has ${data.length} elements, and shape ${showShape(shape)} has ${size}.`,
    });
  return { data: Float64Array.from(data, Number), shape };
}

function fromRows(
  op: string,
  name: string,
  rows: readonly ArrayLike<number>[],
): { readonly data: Float64Array; readonly shape: readonly number[] } {
  const columns = rows.length === 0 ? 0 : rows[0].length;
  const data = new Float64Array(rows.length * columns);
  rows.forEach((row, i) => {
    if (row?.length !== columns)
      throw new ShapeError({
        op,
        problem: `${name}[${i}] has ${showValue(row?.length)} elements, and ${name}[0] ${showValue(columns)}.`,
        advice: "Expected an array of rows of one length.",
      });
    data.set(Float64Array.from(row, Number), i * columns);
  });
  return { data, shape: [rows.length, columns] };
}

/** Refuses features of different networks: rows of different length. */
export function expectSameWidth(op: string, a: number, b: number): void {
  if (a !== b)
    throw new ShapeError({
      op,
      problem: `the pictures of one set have ${a} features, those of the other ${b}.`,
      advice: "Compute both by the same network.",
    });
}

/** Refuses sets of fewer pictures than the metric is defined for. */
export function expectEnough(op: string, name: string, count: number, least: number): void {
  if (count < least)
    throw new ArgumentError({ op, problem: `${name} are of ${count} pictures, expected at least ${least}.` });
}
