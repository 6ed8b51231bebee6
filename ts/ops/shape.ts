// Ops that move elements: permute, slice, place, flip, triangle, concat. All copy, but for slices of the leading axis, which are views.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { expectHolds, expectIntegers, expectSameDType, expectSizes, resolveAxes, resolveAxis } from "./checks.ts";
import type { Op, Shape } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

/** Reorders axes: axis i of the result is axis `axes[i]` of x. */
export const permute: Op<{ readonly axes: "ints" }> = defineOp({
  name: "permute",
  inputs: ["x"],
  exact: true,
  attributes: { axes: "ints" },
  infer([x], { axes }) {
    const order = resolveAxes("permute", axes, x!.shape.length);
    if (order.length !== x!.shape.length)
      throw new ArgumentError({
        op: "permute",
        problem: `axes [${axes.join(", ")}] for a tensor of shape ${showShape(x!.shape)}.`,
        advice: "List every axis once.",
      });
    return { shape: order.map((axis) => x!.shape[axis]), dtype: x!.dtype };
  },
  gradient(b, { gradient, attributes, inputTypes }) {
    const order = resolveAxes("permute", attributes.axes, inputTypes[0]!.shape.length);
    return [b.apply(permute, [gradient], { axes: order.map((_, i) => order.indexOf(i)) })];
  },
  samples: [
    { name: "transpose", inputs: [{ shape: [33, 17] }], attributes: { axes: [1, 0] } },
    { name: "NCHW to NHWC", inputs: [{ shape: [2, 3, 4, 5] }], attributes: { axes: [0, 2, 3, 1] } },
    { name: "outer", inputs: [{ shape: [3, 2, 5] }], attributes: { axes: [1, 0, 2] } },
    { name: "int32", inputs: [{ shape: [3, 4], dtype: "int32", range: [0, 99] }], attributes: { axes: [-1, -2] } },
  ],
});

/** Shape of x[starts : stops : steps], every axis listed, indexes already resolved. */
function slicedShape(op: string, shape: Shape, starts: Shape, stops: Shape, steps: Shape): number[] {
  for (const [name, list] of [
    ["starts", starts],
    ["stops", stops],
    ["steps", steps],
  ] as const)
    if (list.length !== shape.length)
      throw new ArgumentError({
        op,
        problem: `${list.length} ${name} for a tensor of shape ${showShape(shape)}, expected ${shape.length}.`,
      });
  return shape.map((n, axis) => {
    const [start, stop, step] = [starts[axis], stops[axis], steps[axis]];
    const valid = Number.isInteger(start) && Number.isInteger(stop) && Number.isInteger(step);
    if (!valid || step < 1 || start < 0 || stop > n || start > stop)
      throw new ArgumentError({
        op,
        problem: `${start}:${stop}:${step} on axis ${axis} of ${showShape(shape)}.`,
        advice: `Expected 0 <= start <= stop <= ${n} and step >= 1; without a stop a range goes to the end.`,
      });
    return Math.ceil((stop - start) / step);
  });
}

type SliceSignature = { readonly starts: "ints"; readonly stops: "ints"; readonly steps: "ints" };

/** x[starts : stops : steps] on every axis. */
export const slice: Op<SliceSignature> = defineOp({
  name: "slice",
  inputs: ["x"],
  exact: true,
  attributes: { starts: "ints", stops: "ints", steps: "ints" },
  infer: ([x], { starts, stops, steps }) => ({
    shape: slicedShape("slice", x!.shape, starts, stops, steps),
    dtype: x!.dtype,
  }),
  viewOffset([x], { starts, stops, steps }) {
    const whole = x!.shape.every(
      (n, axis) => axis === 0 || (starts[axis] === 0 && stops[axis] === n && steps[axis] === 1),
    );
    return whole && x!.shape.length > 0 && steps[0] === 1 ? starts[0] * sizeOf(x!.shape.slice(1)) : undefined;
  },
  gradient: (b, { gradient, inputTypes, attributes: { starts, steps } }) => [
    b.apply(place, [gradient], { shape: inputTypes[0]!.shape, starts, steps, value: 0 }),
  ],
  samples: [
    {
      name: "channels",
      inputs: [{ shape: [2, 3, 3, 8] }],
      attributes: { starts: [0, 0, 0, 2], stops: [2, 3, 3, 7], steps: [1, 1, 1, 1] },
    },
    { name: "steps", inputs: [{ shape: [7, 9] }], attributes: { starts: [1, 0], stops: [7, 9], steps: [2, 3] } },
    {
      name: "leading axis",
      inputs: [{ shape: [5, 3, 2] }],
      attributes: { starts: [1, 0, 0], stops: [4, 3, 2], steps: [1, 1, 1] },
    },
    { name: "empty", inputs: [{ shape: [4, 2] }], attributes: { starts: [2, 0], stops: [2, 2], steps: [1, 1] } },
  ],
});

/**
 * A tensor of `shape` full of `value`, with x at starts, starts + steps, ...: padding, and with 0 the gradient of slice.
 */
export const place: Op<{
  readonly shape: "ints";
  readonly starts: "ints";
  readonly steps: "ints";
  readonly value: "float";
}> = defineOp({
  name: "place",
  inputs: ["x"],
  exact: true,
  attributes: { shape: "ints", starts: "ints", steps: "ints", value: "float" },
  infer([x], { shape, starts, steps, value }) {
    expectSizes("place", shape);
    const rank = x!.shape.length;
    expectIntegers("place", "starts", starts, rank, 0);
    expectIntegers("place", "steps", steps, rank, 1);
    if (shape.length !== rank || x!.shape.some((n, i) => n > 0 && starts[i] + (n - 1) * steps[i] >= shape[i]))
      throw new ShapeError({
        op: "place",
        problem: `${showShape(x!.shape)} at ${showShape(starts)} in steps of ${showShape(steps)} does not fit into ${showShape(shape)}.`,
      });
    expectHolds("place", x!.dtype, value);
    return { shape, dtype: x!.dtype };
  },
  gradient: (b, { gradient, inputTypes, attributes: { starts, steps } }) => [
    b.apply(slice, [gradient], {
      starts,
      steps,
      stops: inputTypes[0]!.shape.map((n, i) => (n === 0 ? starts[i] : starts[i] + (n - 1) * steps[i] + 1)),
    }),
  ],
  samples: [
    {
      name: "channels",
      inputs: [{ shape: [2, 3, 3, 5] }],
      attributes: { shape: [2, 3, 3, 8], starts: [0, 0, 0, 2], steps: [1, 1, 1, 1], value: 0 },
    },
    {
      name: "steps",
      inputs: [{ shape: [3, 3] }],
      attributes: { shape: [7, 9], starts: [1, 0], steps: [2, 3], value: 0 },
    },
    {
      name: "border",
      inputs: [{ shape: [2, 5, 6, 3] }],
      attributes: { shape: [2, 8, 9, 3], starts: [0, 1, 2, 0], steps: [1, 1, 1, 1], value: -0.5 },
    },
    {
      name: "int32",
      inputs: [{ shape: [5], dtype: "int32", range: [-99, 99] }],
      attributes: { shape: [13], starts: [1], steps: [2], value: -7 },
    },
    { name: "scalar", inputs: [{ shape: [] }], attributes: { shape: [], starts: [], steps: [], value: 3 } },
  ],
});

/** Reverses the order along `axes`. */
export const flip: Op<{ readonly axes: "ints" }> = defineOp({
  name: "flip",
  inputs: ["x"],
  exact: true,
  attributes: { axes: "ints" },
  infer([x], { axes }) {
    resolveAxes("flip", axes, x!.shape.length);
    return x!;
  },
  gradient: (b, { gradient, attributes }) => [b.apply(flip, [gradient], attributes)],
  samples: [
    { name: "last", inputs: [{ shape: [3, 33] }], attributes: { axes: [-1] } },
    { name: "image", inputs: [{ shape: [2, 5, 4, 3] }], attributes: { axes: [1, 2] } },
    { name: "all", inputs: [{ shape: [3, 4, 5] }], attributes: { axes: [0, 1, 2] } },
    { name: "int32", inputs: [{ shape: [20_001], dtype: "int32", range: [-99, 99] }], attributes: { axes: [0] } },
  ],
});

/** The lower part of matrices [..., M, N], elements with column - row <= diagonal; or the upper one, with >=. Else 0. */
export const triangle: Op<{ readonly part: readonly ["lower", "upper"]; readonly diagonal: "int" }> = defineOp({
  name: "triangle",
  inputs: ["x"],
  exact: true,
  attributes: { part: ["lower", "upper"], diagonal: "int" },
  infer([x], { diagonal }) {
    if (x!.shape.length < 2)
      throw new ShapeError({
        op: "triangle",
        problem: `x has shape ${showShape(x!.shape)}, expected matrices [..., M, N].`,
      });
    if (!Number.isInteger(diagonal))
      throw new ArgumentError({ op: "triangle", problem: `diagonal is ${diagonal}, expected an integer.` });
    return x!;
  },
  gradient: (b, { gradient, attributes }) => [b.apply(triangle, [gradient], attributes)],
  samples: [
    { name: "lower", inputs: [{ shape: [3, 19, 37] }], attributes: { part: "lower", diagonal: 0 } },
    { name: "upper", inputs: [{ shape: [37, 19] }], attributes: { part: "upper", diagonal: 2 } },
    { name: "below", inputs: [{ shape: [2, 5, 5] }], attributes: { part: "lower", diagonal: -3 } },
    { name: "wide", inputs: [{ shape: [3, 17_000] }], attributes: { part: "upper", diagonal: 40 } },
    {
      name: "int32",
      inputs: [{ shape: [4, 4], dtype: "int32", range: [1, 9] }],
      attributes: { part: "upper", diagonal: -1 },
    },
  ],
});

/** Joins tensors along an axis; all other sizes are equal. */
export const concat: Op<{ readonly axis: "int" }> = defineOp({
  name: "concat",
  inputs: ["x..."],
  exact: true,
  attributes: { axis: "int" },
  infer(inputs, attributes) {
    const first = inputs[0]!;
    const axis = resolveAxis("concat", attributes.axis, first.shape.length);
    let total = 0;
    inputs.forEach((x, k) => {
      expectSameDType("concat", ["x[0]", `x[${k}]`], first, x!);
      if (x!.shape.length !== first.shape.length || x!.shape.some((n, i) => i !== axis && n !== first.shape[i]))
        throw new ShapeError({
          op: "concat",
          problem: `x[${k}] has shape ${showShape(x!.shape)}, x[0] has ${showShape(first.shape)}.`,
          advice: `All sizes but that of axis ${axis} must be equal.`,
        });
      total += x!.shape[axis];
    });
    return { shape: first.shape.map((n, i) => (i === axis ? total : n)), dtype: first.dtype };
  },
  gradient(b, { gradient, attributes, inputTypes, outputType, needs }) {
    const axis = resolveAxis("concat", attributes.axis, outputType.shape.length);
    const steps = outputType.shape.map(() => 1);
    let start = 0;
    return inputTypes.map((x, k) => {
      const stop = start + x!.shape[axis];
      const starts = outputType.shape.map((_, i) => (i === axis ? start : 0));
      const stops = outputType.shape.map((n, i) => (i === axis ? stop : n));
      start = stop;
      return needs(k) ? b.apply(slice, [gradient], { starts, stops, steps }) : undefined;
    });
  },
  samples: [
    { name: "channels", inputs: [{ shape: [2, 3, 3, 4] }, { shape: [2, 3, 3, 6] }], attributes: { axis: 3 } },
    { name: "batch", inputs: [{ shape: [1, 5] }, { shape: [2, 5] }, { shape: [3, 5] }], attributes: { axis: 0 } },
    { name: "middle", inputs: [{ shape: [2, 1, 3] }, { shape: [2, 4, 3] }], attributes: { axis: -2 } },
  ],
});
