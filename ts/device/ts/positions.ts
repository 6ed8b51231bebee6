// Positions of elements: of one counted in row-major order, and of all that some axes span.

import { sizeOf } from "../../ops/index.ts";
import type { View } from "./view.ts";
import { stridesOf } from "./view.ts";
import { walk } from "./walk.ts";

/** Position of element i, counted in row-major order. */
export function positionOf({ offset, pitch, cols }: View, i: number): number {
  const row = Math.floor(i / cols);
  return offset + row * pitch + (i - row * cols);
}

/**
 * Positions, relative to the first, of the elements that the listed axes of x span, in row-major order; over `shape`
 * where that is smaller than x's.
 */
export function positionsAlong(x: View, axes: readonly number[], shape = x.shape): Int32Array {
  const strides = stridesOf(x);
  const sizes = axes.map((axis) => shape[axis]);
  const positions = new Int32Array(sizeOf(sizes));
  let filled = 0;
  walk(sizes, [{ offset: 0, strides: axes.map((axis) => strides[axis]) }], (n, [start], [step]) => {
    for (let i = 0; i < n; i++) positions[filled++] = start + i * step;
  });
  return positions;
}

/** The axes of a tensor of this rank but the listed ones. */
export function otherAxes(rank: number, listed: readonly number[]): number[] {
  const among = new Set(resolved(rank, listed));
  return Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !among.has(axis));
}

/** Axes counted from the start, in ascending order. */
export function resolved(rank: number, axes: readonly number[]): number[] {
  return axes.map((axis) => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b);
}
