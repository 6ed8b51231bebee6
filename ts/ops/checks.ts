// Rules for shapes and dtypes that several ops share, and the checks that throw the clear error.

import { ArgumentError, DTypeError, ShapeError, showShape, showValue } from "../errors/index.ts";
import type { AttributeSignature, DType, Shape, TensorType } from "./types.ts";
import { sizeOf } from "./types.ts";

/** Largest rank that executors handle. */
export const maxRank = 8;
/** Most elements of a tensor: what an int32 counts. */
export const mostElements = 2 ** 31 - 1;

/** The shape that numpy's broadcasting gives, or a ShapeError naming the axis that does not fit. */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const result: number[] = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const m = a[a.length - i] ?? 1;
    const n = b[b.length - i] ?? 1;
    if (m !== n && m !== 1 && n !== 1)
      throw new ShapeError({
        op,
        problem: `shapes ${showShape(a)} and ${showShape(b)} do not broadcast: sizes ${m} and ${n} at axis -${i}.`,
        advice: "Sizes of an axis must be equal, or one of them 1.",
      });
    result[rank - i] = m === 1 ? n : m;
  }
  return result;
}

/** Whether `from` broadcasts to exactly `to`. */
export function broadcastsTo(from: Shape, to: Shape): boolean {
  return from.length <= to.length && from.every((n, i) => n === 1 || n === to[to.length - from.length + i]);
}

/** Turns negative axes into positive ones, refusing those out of range and repeated ones. */
export function resolveAxes(op: string, axes: readonly number[], rank: number): number[] {
  if (!Array.isArray(axes))
    throw new ArgumentError({ op, problem: `the axes are ${showValue(axes)}, expected a number or a list of them.` });
  const resolved = (axes as readonly number[]).map((axis) => resolveAxis(op, axis, rank));
  if (new Set(resolved).size !== resolved.length)
    throw new ArgumentError({ op, problem: `axes [${axes.join(", ")}] name an axis twice.` });
  return resolved;
}

/** Turns a negative axis into a positive one. */
export function resolveAxis(op: string, axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= rank)
    throw new ArgumentError({
      op,
      problem: `axis ${axis} does not exist in a tensor of rank ${rank}.`,
      advice: rank === 0 ? "A scalar has no axes." : `Axes go from ${-rank} to ${rank - 1}.`,
    });
  return resolved;
}

/** The shape left after reducing `axes`. */
export function reducedShape(op: string, shape: Shape, axes: readonly number[], keepDims: boolean): Shape {
  const reduced = new Set(resolveAxes(op, axes, shape.length));
  return keepDims ? shape.map((n, i) => (reduced.has(i) ? 1 : n)) : shape.filter((_, i) => !reduced.has(i));
}

/** Refuses operands of another dtype than the ones listed. */
export function expectDType(op: string, name: string, type: TensorType, allowed: readonly DType[]): void {
  if (!allowed.includes(type.dtype))
    throw new DTypeError({
      op,
      problem: `${name} is ${type.dtype}, expected ${allowed.join(" or ")}.`,
      advice: `Convert it with .to("${allowed[0]}").`,
    });
}

/** The floating dtypes. */
export const floating = ["float32", "float64"] as const;

/** Refuses a value that elements of this dtype cannot have. */
export function expectHolds(op: string, dtype: DType, value: unknown): void {
  if (typeof value !== "number" || (dtype === "int32" && (value | 0) !== value))
    throw new ArgumentError({ op, problem: `the value is ${showValue(value)}, which ${dtype} does not hold.` });
}

/** Refuses two operands of different dtypes. */
export function expectSameDType(op: string, names: readonly [string, string], a: TensorType, b: TensorType): void {
  if (a.dtype !== b.dtype)
    throw new DTypeError({
      op,
      problem: `${names[0]} is ${a.dtype} and ${names[1]} is ${b.dtype}.`,
      advice: `Convert one of them with .to(...): there is no implicit conversion.`,
    });
}

/** Refuses an operand of another rank. `layout` spells the axes, as in `[N, H, W, C]`. */
export function expectRank(op: string, name: string, type: TensorType, rank: number, layout: string): void {
  if (type.shape.length !== rank)
    throw new ShapeError({
      op,
      problem: `${name} has shape ${showShape(type.shape)}, expected ${layout}.`,
    });
}

/** Refuses an operand of another shape. */
export function expectShape(op: string, name: string, type: TensorType, shape: Shape, why: string): void {
  if (type.shape.length !== shape.length || type.shape.some((n, i) => n !== shape[i]))
    throw new ShapeError({
      op,
      problem: `${name} has shape ${showShape(type.shape)}, expected ${showShape(shape)} ${why}.`,
    });
}

/** Refuses what is no shape: sizes that are negative or fractional, more than 2^31 - 1 elements, a rank above 8. */
export function expectSizes(op: string, shape: Shape): void {
  if (!Array.isArray(shape))
    throw new ShapeError({
      op,
      problem: `the shape is ${showValue(shape)}.`,
      advice: "A shape is an array of sizes, as in [2, 3].",
    });
  if (shape.length > maxRank)
    throw new ShapeError({
      op,
      problem: `${showShape(shape)} has rank ${shape.length}, at most ${maxRank} is possible.`,
    });
  const sizes = shape as readonly number[];
  if (sizes.some((n) => !Number.isInteger(n) || n < 0))
    throw new ShapeError({
      op,
      problem: `[${sizes.map(showValue).join(", ")}] is not a shape.`,
      advice: "Sizes are integers >= 0.",
    });
  const size = Math.max(sizeOf(sizes), ...sizes);
  if (size > mostElements)
    throw new ShapeError({
      op,
      problem: `${showShape(sizes)} has ${size} elements, at most ${mostElements} are possible.`,
    });
}

/** How the values of each kind of attribute are told from others. */
const attributeKinds = {
  int: ["a number", (value: unknown) => typeof value === "number"],
  float: ["a number", (value: unknown) => typeof value === "number"],
  bool: ["true or false", (value: unknown) => typeof value === "boolean"],
  ints: ["an array of numbers", (value: unknown) => Array.isArray(value) && value.every((n) => typeof n === "number")],
  seed: ["a bigint", (value: unknown) => typeof value === "bigint"],
} as const;

/** Refuses attributes of another kind than the record's, as callers without types may give them. */
export function expectAttributes(
  op: { readonly name: string; readonly attributes: AttributeSignature },
  attributes: Readonly<Record<string, unknown>>,
): void {
  for (const name in op.attributes) {
    const [kind, value] = [op.attributes[name], attributes[name]];
    if (typeof kind === "string") {
      const [expected, isOne] = attributeKinds[kind];
      if (!isOne(value))
        throw new ArgumentError({ op: op.name, problem: `${name} is ${showValue(value)}, expected ${expected}.` });
    } else if (!kind.includes(value as string))
      throw new ArgumentError({
        op: op.name,
        problem: `${name} is ${showValue(value)}.`,
        advice: `Choose ${kind.join(" or ")}.`,
      });
  }
}

/** Refuses what is no dtype, as callers without types may give it. */
export function expectDTypeName(op: string, dtype: unknown): void {
  if (dtype !== "float32" && dtype !== "int32" && dtype !== "float64")
    throw new DTypeError({
      op,
      problem: `${showValue(dtype)} is no dtype.`,
      advice: "Choose float32, int32 or float64.",
    });
}

/** Refuses anything but integers of at least `least`. */
export function expectIntegers(
  op: string,
  name: string,
  values: readonly number[],
  count: number,
  least: number,
): void {
  const listed: readonly unknown[] | undefined = Array.isArray(values) ? values : undefined;
  if (listed?.length !== count || listed.some((v) => !Number.isInteger(v) || (v as number) < least)) {
    const given = listed
      ? `[${listed.map((v) => (typeof v === "number" ? v : showValue(v))).join(", ")}]`
      : showValue(values);
    throw new ArgumentError({
      op,
      problem: `${name} is ${given}, expected ${count} integer${count === 1 ? "" : "s"} >= ${least}.`,
    });
  }
}
