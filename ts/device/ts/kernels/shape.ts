// Ops that move elements: permute, slice, sliceGradient, concat.

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

export const sliceGradient: Kernel<{ readonly starts: Shape; readonly steps: Shape }> = (dx, [dy], attributes) => {
  for (let row = 0; row < dx.rows; row++)
    dx.data.fill(0, dx.offset + row * dx.pitch, dx.offset + row * dx.pitch + dx.cols);
  move(dy!.shape, dx, slicePath(dx, attributes.starts, attributes.steps), dy!, pathOf(dy!));
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
