// Iteration over several operands of one shape, each with its own strides, in as few and as long runs as they allow.

import type { Shape } from "../../ops/index.ts";
import type { View } from "./view.ts";
import { stridesOf } from "./view.ts";

/** Where an operand's elements lie: the first one, and the distance between neighbours along each axis. */
export interface Path {
  readonly offset: number;
  readonly strides: readonly number[];
}

/** Handles `length` elements; operand k has them at offsets[k] + i * steps[k]. */
export type Run = (length: number, offsets: readonly number[], steps: readonly number[]) => void;

/** The path through all of `view`. */
export function pathOf(view: View): Path {
  return { offset: view.offset, strides: stridesOf(view) };
}

/** The path through `view` repeated to `shape` as numpy broadcasts. */
export function broadcastPath(view: View, shape: Shape): Path {
  const own = stridesOf(view);
  const lead = shape.length - own.length;
  return {
    offset: view.offset,
    strides: shape.map((_, axis) => (axis < lead || view.shape[axis - lead] === 1 ? 0 : own[axis - lead])),
  };
}

/** Calls `run` until every element of `shape` was visited once, in row-major order. The lists it gets are reused. */
export function walk(shape: Shape, paths: readonly Path[], run: Run): void {
  if (shape.includes(0)) return;
  const axes = collapse(shape, paths);
  const inner = axes.pop() ?? { size: 1, strides: paths.map(() => 0) };
  const offsets = paths.map((path) => path.offset);
  const position = axes.map(() => 0);
  for (;;) {
    run(inner.size, offsets, inner.strides);
    let axis = axes.length - 1;
    for (; axis >= 0; axis--) {
      const { size, strides } = axes[axis];
      const carry = ++position[axis] === size;
      const moved = carry ? 1 - size : 1;
      for (let k = 0; k < offsets.length; k++) offsets[k] += moved * strides[k];
      if (!carry) break;
      position[axis] = 0;
    }
    if (axis < 0) return;
  }
}

interface Axis {
  size: number;
  /** Stride of each operand. */
  strides: number[];
}

/** Drops axes of size 1 and merges neighbours that every operand passes through in equal steps. */
function collapse(shape: Shape, paths: readonly Path[]): Axis[] {
  const axes: Axis[] = [];
  shape.forEach((size, i) => {
    if (size === 1) return;
    const strides = paths.map((path) => path.strides[i]);
    const outer = axes[axes.length - 1];
    if (outer?.strides.every((stride, k) => stride === strides[k] * size)) {
      outer.size *= size;
      outer.strides = strides;
    } else axes.push({ size, strides });
  });
  return axes;
}
