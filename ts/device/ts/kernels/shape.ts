// Ops that move elements: permute, slice, place, flip, triangle, concat.

import type { Shape } from "../../../ops/index.ts";
import type { Kernel, View } from "../view.ts";
import { stridesOf } from "../view.ts";
import type { Path } from "../walk.ts";
import { pathOf, walk } from "../walk.ts";

/** Copies an array of `shape` from one path to another. */
function move(shape: Shape, y: View, to: Path, x: View, from: Path): void {
  walk(shape, [to, from], (n, at, step) => {
    const [target, source] = [y.data, x.data];
    for (let i = 0; i < n; i++) target[at[0] + i * step[0]] = source[at[1] + i * step[1]];
  });
}

/** The path to every steps-th element from starts on. */
function slicePath(view: View, starts: Shape, steps: Shape): Path {
  const strides = stridesOf(view);
  return {
    offset: strides.reduce((offset, stride, axis) => offset + starts[axis] * stride, view.offset),
    strides: strides.map((stride, axis) => stride * steps[axis]),
  };
}

export const permute: Kernel<{ readonly axes: Shape }> = (y, [x], { axes }) => {
  const strides = stridesOf(x!);
  const from = { offset: x!.offset, strides: axes.map((axis) => strides[axis < 0 ? axis + axes.length : axis]) };
  move(y.shape, y, pathOf(y), x!, from);
};

export const slice: Kernel<{ readonly starts: Shape; readonly steps: Shape }> = (y, [x], { starts, steps }) =>
  move(y.shape, y, pathOf(y), x!, slicePath(x!, starts, steps));

interface Places {
  readonly starts: Shape;
  readonly steps: Shape;
  readonly value: number;
}

export const place: Kernel<Places> = (y, [x], { starts, steps, value }) => {
  for (let row = 0; row < y.rows; row++)
    y.data.fill(value, y.offset + row * y.pitch, y.offset + row * y.pitch + y.cols);
  move(x!.shape, y, slicePath(y, starts, steps), x!, pathOf(x!));
};

export const flip: Kernel<{ readonly axes: Shape }> = (y, [x], { axes }) => {
  const flipped = new Set(axes.map((axis) => (axis < 0 ? axis + y.shape.length : axis)));
  const own = stridesOf(x!);
  const last = own.map((stride, axis) => (flipped.has(axis) ? (y.shape[axis] - 1) * stride : 0));
  const from = {
    offset: last.reduce((offset, distance) => offset + distance, x!.offset),
    strides: own.map((stride, axis) => (flipped.has(axis) ? -stride : stride)),
  };
  move(y.shape, y, pathOf(y), x!, from);
};

export const triangle: Kernel<{ readonly part: "lower" | "upper"; readonly diagonal: number }> = (
  y,
  [x],
  { part, diagonal },
) => {
  const height = y.shape[y.shape.length - 2];
  for (let row = 0; row < y.rows; row++) {
    const [to, from] = [y.offset + row * y.pitch, x!.offset + row * x!.pitch];
    const onDiagonal = (row % height) + diagonal;
    for (let col = 0; col < y.cols; col++) {
      const kept = part === "lower" ? col <= onDiagonal : col >= onDiagonal;
      y.data[to + col] = kept ? x!.data[from + col] : 0;
    }
  }
};

export const concat: Kernel<{ readonly axis: number }> = (y, inputs, attributes) => {
  const strides = stridesOf(y);
  const axis = attributes.axis < 0 ? attributes.axis + y.shape.length : attributes.axis;
  let { offset } = y;
  for (const x of inputs) {
    move(x!.shape, y, { offset, strides }, x!, pathOf(x!));
    offset += x!.shape[axis] * strides[axis];
  }
};
