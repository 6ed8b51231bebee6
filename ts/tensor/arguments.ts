// What the arguments of Tensor's methods mean for a shape: unknown sizes, ranges, axes, and the pieces of a split.

import { ArgumentError, ShapeError, showShape, showValue } from "../errors/index.ts";
import type { Shape } from "../ops/index.ts";
import { expectSizes, resolveAxis } from "../ops/checks.ts";
import { sizeOf } from "../ops/index.ts";

/**
 * One axis of `Tensor.slice`: `[start, stop?, step?]` (null: from the first, to the end, 1),
 * one index (the axis goes), or null (all).
 */
export type SliceRange =
  readonly [start: number | null | undefined, stop?: number | null, step?: number | null] | number | null;

/** Axes to be reduced: one, several, or (left out) all. */
export type Axes = number | readonly number[];

/** How the result of a reduction is shaped. */
export interface ReduceOptions {
  /** Leaves reduced axes as axes of size 1; default false. */
  readonly keepDims?: boolean;
}

/** How a variance is taken. */
export interface VarianceOptions extends ReduceOptions {
  /** What is taken from the number of elements to give the divisor; default 1. */
  readonly correction?: number;
}

/** Which norm is taken. */
export interface NormOptions extends ReduceOptions {
  /** 1, 2 or Infinity; default 2. */
  readonly p?: number;
}

/** The axes that are meant, as given. */
export function listAxes(axes: Axes | undefined, rank: number): readonly number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, axis) => axis);
  return typeof axes === "number" ? [axes] : axes;
}

/** Replaces one -1 by the size that keeps the number of elements. */
export function resolveUnknownSize(from: Shape, to: Shape): Shape {
  if (!Array.isArray(to)) expectSizes("reshape", to);
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

/** Start, stop and step of a range on an axis of size n. */
export function resolveRange(n: number, axis: number, range: SliceRange): readonly [number, number, number] {
  if (range === null) return [0, n, 1];
  const fromEnd = (position: number): number => (position < 0 ? position + n : position);
  if (typeof range === "number") {
    const start = fromEnd(range);
    if (!Number.isInteger(start) || start < 0 || start >= n)
      throw new ArgumentError({
        op: "slice",
        problem: `index ${range} on axis ${axis} of size ${n}.`,
        advice: n === 0 ? "The axis has no elements." : `Expected ${-n} to ${n - 1}; negative ones count from the end.`,
      });
    return [start, start + 1, 1];
  }
  const refuse = (shown: string, advice: string): never => {
    throw new ArgumentError({ op: "slice", problem: `the range of axis ${axis} is ${shown}.`, advice });
  };
  if (!Array.isArray(range))
    return refuse(showValue(range), "Expected [start, stop, step], an index, or null for all.");
  const given = range as readonly unknown[];
  const shown = `[${given.map(showValue).join(", ")}]`;
  if (
    given.length < 1 ||
    given.length > 3 ||
    !given.every((n) => (n ?? undefined) === undefined || Number.isInteger(n))
  )
    return refuse(shown, "Expected [start, stop, step], each an integer, or null for its default.");
  const [start, stop, step] = range;
  if ((step ?? 1) < 0) return refuse(shown, `A step is at least 1: flip(${axis}) reverses an axis.`);
  return [fromEnd(start ?? 0), fromEnd(stop ?? n), step ?? 1];
}

/** A shape in three parts: the sizes before an axis multiplied, its own, and those after it multiplied. */
export function aroundAxis(op: string, shape: Shape, axis: number): readonly [number, number, number] {
  const at = resolveAxis(op, axis, shape.length);
  return [sizeOf(shape.slice(0, at)), shape[at], sizeOf(shape.slice(at + 1))];
}

/** `shape` with another size for an axis. */
export function withSize(op: string, shape: Shape, axis: number, size: number): number[] {
  const at = resolveAxis(op, axis, shape.length);
  return shape.map((n, i) => (i === at ? size : n));
}

/** Sizes of the pieces of an axis: `size` each with a smaller last one, or the listed ones, which must add up. */
export function pieces(n: number, sizes: number | readonly number[]): readonly number[] {
  const given =
    typeof sizes === "number" && Number.isInteger(sizes) && sizes > 0
      ? Array.from({ length: Math.max(1, Math.ceil(n / sizes)) }, (_, i) => Math.min(sizes, n - i * sizes))
      : sizes;
  if (!Array.isArray(given))
    throw new ArgumentError({
      op: "split",
      problem: `the size is ${showValue(given)}, expected an integer >= 1 or a list of sizes.`,
    });
  const listed = given as readonly number[];
  const valid = listed.every((size) => Number.isInteger(size) && size >= 0);
  if (!valid || listed.reduce((sum, size) => sum + size, 0) !== n)
    throw new ArgumentError({
      op: "split",
      problem: `the sizes are [${listed.join(", ")}], expected sizes >= 0 that add up to ${n}.`,
    });
  return listed;
}

/** Refuses listed indexes outside 0..n-1. */
export function expectIndexes(op: string, indexes: readonly number[], n: number, axis: number): void {
  const wrong = indexes.findIndex((index) => !Number.isInteger(index) || index < 0 || index >= n);
  if (wrong >= 0)
    throw new ArgumentError({
      op,
      problem: `index ${indexes[wrong]} at position ${wrong} on axis ${axis} of size ${n}.`,
      advice: "Indexes are integers >= 0 below the size; they do not count from the end.",
    });
}

/** Replaces each -1 of a shape to broadcast to by the size that the axis has. */
export function keepUnknownSizes(from: Shape, to: Shape): Shape {
  if (!Array.isArray(to) || !to.includes(-1)) return to;
  const added = to.length - from.length;
  return to.map((n: number, axis) => (n === -1 ? (from[axis - added] ?? n) : n));
}
