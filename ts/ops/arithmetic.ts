// Broadcasting arithmetic, and the reductions and reshapes that are its gradients; they refer to each other, so they share a file.

import { ShapeError, showShape } from "../errors/index.ts";
import {
  broadcastShapes,
  broadcastsTo,
  expectDType,
  expectSameDType,
  expectSizes,
  floating,
  reducedShape,
} from "./checks.ts";
import { fill } from "./create.ts";
import type { DType, GradientContext, Op, OpBuilder, Sample, Shape, TensorType } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

/** The same elements in the same order under another shape: a view, no kernel runs. */
export const reshape: Op<{ readonly shape: "ints" }> = defineOp({
  name: "reshape",
  inputs: ["x"],
  attributes: { shape: "ints" },
  view: true,
  infer([x], { shape }) {
    expectSizes("reshape", shape);
    if (sizeOf(shape) !== sizeOf(x!.shape))
      throw new ShapeError({
        op: "reshape",
        problem: `${showShape(x!.shape)} has ${sizeOf(x!.shape)} elements, ${showShape(shape)} ${sizeOf(shape)}.`,
      });
    return { shape, dtype: x!.dtype };
  },
  gradient: (b, { gradient, inputTypes }) => [b.apply(reshape, [gradient], { shape: inputTypes[0]!.shape })],
  samples: [
    { name: "merge", inputs: [{ shape: [2, 3, 4] }], attributes: { shape: [6, 4] } },
    { name: "to scalar", inputs: [{ shape: [1, 1] }], attributes: { shape: [] } },
  ],
});

/** Repeats axes of size 1, and prepends axes, until the shape is `shape`; a dense copy. */
export const broadcastTo: Op<{ readonly shape: "ints" }> = defineOp({
  name: "broadcastTo",
  inputs: ["x"],
  exact: true,
  attributes: { shape: "ints" },
  infer([x], { shape }) {
    expectSizes("broadcastTo", shape);
    if (!broadcastsTo(x!.shape, shape))
      throw new ShapeError({
        op: "broadcastTo",
        problem: `${showShape(x!.shape)} does not broadcast to ${showShape(shape)}.`,
        advice: "Only axes of size 1 can be repeated, and new axes come first.",
      });
    return { shape, dtype: x!.dtype };
  },
  gradient: (b, { gradient, inputTypes }) => [sumToShape(b, gradient, inputTypes[0]!.shape)],
  samples: [
    { name: "channels", inputs: [{ shape: [2, 1, 1, 5] }], attributes: { shape: [2, 3, 4, 5] } },
    { name: "new axes", inputs: [{ shape: [3] }], attributes: { shape: [2, 4, 3] } },
    { name: "scalar", inputs: [{ shape: [] }], attributes: { shape: [7] } },
    { name: "last", inputs: [{ shape: [3, 1] }], attributes: { shape: [3, 6] } },
  ],
});

/** Sums `value` over the axes along which `shape` was broadcast: the gradient of broadcasting. */
export function sumToShape<V>(b: OpBuilder<V>, value: V, shape: Shape): V {
  const from = b.type(value).shape;
  const lead = from.length - shape.length;
  const axes: number[] = [];
  from.forEach((n, i) => {
    if (i < lead || (shape[i - lead] === 1 && n !== 1)) axes.push(i);
  });
  const summed = axes.length === 0 ? value : b.apply(sum, [value], { axes, keepDims: true });
  return lead === 0 ? summed : b.apply(reshape, [summed], { shape });
}

/** Attributes of a reduction. */
export type ReduceSignature = { readonly axes: "ints"; readonly keepDims: "bool" };

/** Spreads the gradient of a reduction back over the reduced axes. */
export function spread<V>(b: OpBuilder<V>, gradient: V, x: TensorType, axes: readonly number[]): V {
  const kept = b.apply(reshape, [gradient], { shape: reducedShape("sum", x.shape, axes, true) });
  return b.apply(broadcastTo, [kept], { shape: x.shape });
}

/** What every reduction is tried on. */
export const reduceSamples = [
  { name: "all", inputs: [{ shape: [3, 5, 2] }], attributes: { axes: [0, 1, 2], keepDims: false } },
  { name: "first, kept", inputs: [{ shape: [4, 3, 5] }], attributes: { axes: [0], keepDims: true } },
  { name: "last", inputs: [{ shape: [3, 4, 7] }], attributes: { axes: [2], keepDims: false } },
  { name: "middle", inputs: [{ shape: [2, 5, 3, 4] }], attributes: { axes: [1, 2], keepDims: false } },
  { name: "all but last", inputs: [{ shape: [3, 6, 7, 5] }], attributes: { axes: [0, 1, 2], keepDims: false } },
  { name: "first and last", inputs: [{ shape: [3, 4, 6] }], attributes: { axes: [0, 2], keepDims: false } },
  { name: "many terms", inputs: [{ shape: [2, 2500] }], attributes: { axes: [1], keepDims: false } },
  { name: "many rows", inputs: [{ shape: [2100, 3] }], attributes: { axes: [0], keepDims: false } },
  { name: "very many terms", inputs: [{ shape: [33_500] }], attributes: { axes: [0], keepDims: false } },
  { name: "none", inputs: [{ shape: [3, 2] }], attributes: { axes: [], keepDims: false } },
];

/** Sum over `axes`. Pairwise beyond 1,024 terms. */
export const sum: Op<ReduceSignature> = defineOp({
  name: "sum",
  inputs: ["x"],
  attributes: { axes: "ints", keepDims: "bool" },
  infer: ([x], { axes, keepDims }) => ({ shape: reducedShape("sum", x!.shape, axes, keepDims), dtype: x!.dtype }),
  gradient: (b, { gradient, inputTypes, attributes }) => [spread(b, gradient, inputTypes[0]!, attributes.axes)],
  samples: [
    ...reduceSamples,
    {
      name: "int32",
      inputs: [{ shape: [3, 4], dtype: "int32", range: [-9, 9] }],
      attributes: { axes: [0], keepDims: false },
    },
  ],
});

/** Mean over `axes`: the sum divided once by the number of terms. */
export const mean: Op<ReduceSignature> = defineOp({
  name: "mean",
  inputs: ["x"],
  attributes: { axes: "ints", keepDims: "bool" },
  infer([x], { axes, keepDims }) {
    expectDType("mean", "x", x!, floating);
    return { shape: reducedShape("mean", x!.shape, axes, keepDims), dtype: x!.dtype };
  },
  gradient(b, { gradient, inputTypes, outputType, attributes }) {
    const x = inputTypes[0]!;
    const count = sizeOf(x.shape) / Math.max(1, sizeOf(outputType.shape));
    const divisor = b.apply(fill, [], { shape: [], dtype: x.dtype, value: count });
    return [spread(b, b.apply(div, [gradient, divisor], {}), x, attributes.axes)];
  },
  samples: reduceSamples,
});

type NoAttributes = Record<never, never>;

/** Gradients with respect to a and b, before they are summed to the operands' shapes. */
type BinaryGradient = <V>(
  b: OpBuilder<V>,
  context: GradientContext<V, NoAttributes>,
) => readonly [a: () => V, b: () => V];

/** Pairs of shapes that broadcast in every way; b is drawn from `divisorRange`. */
export function binarySamples(divisorRange: readonly [number, number]): Sample<NoAttributes>[] {
  const pair = (name: string, a: readonly number[], b: readonly number[]): Sample<NoAttributes> => ({
    name,
    inputs: [{ shape: a }, { shape: b, range: divisorRange }],
    attributes: {},
  });
  return [
    pair("same", [3, 5, 7], [3, 5, 7]),
    pair("row", [4, 9], [9]),
    pair("column", [5, 6], [5, 1]),
    pair("bias over image", [2, 3, 3, 6], [2, 1, 1, 6]),
    pair("both", [4, 1, 3], [5, 1]),
    pair("scalar left", [], [2, 3]),
    pair("scalar right", [33], []),
    {
      name: "int32",
      inputs: [
        { shape: [3, 4], dtype: "int32", range: [-20, 20] },
        { shape: [4], dtype: "int32", range: [1, 9] },
      ],
      attributes: {},
    },
  ];
}

interface BinaryOptions {
  readonly dtypes?: readonly DType[];
  readonly exact?: boolean;
  readonly samples?: Sample<NoAttributes>[];
}

/** op(a, b), element by element with numpy's broadcasting. */
export function binary(
  name: string,
  keeps: Op["keeps"],
  rule: BinaryGradient,
  options: BinaryOptions = {},
): Op<NoAttributes> {
  return defineOp<NoAttributes>({
    name,
    inputs: ["a", "b"],
    attributes: {},
    exact: options.exact ?? false,
    inPlace: [0, 1],
    parts: ["element"],
    cheap: true,
    infer([a, b]) {
      if (options.dtypes) expectDType(name, "a", a!, options.dtypes);
      expectSameDType(name, ["a", "b"], a!, b!);
      return { shape: broadcastShapes(name, a!.shape, b!.shape), dtype: a!.dtype };
    },
    keeps,
    gradient(b, context) {
      const gradients = rule(b, context);
      return gradients.map((gradient, i) =>
        context.needs(i) ? sumToShape(b, gradient(), context.inputTypes[i]!.shape) : undefined,
      );
    },
    samples: options.samples ?? binarySamples([-1, 1]),
  });
}

/** -x. */
export const neg: Op<NoAttributes> = defineOp<NoAttributes>({
  name: "neg",
  inPlace: [0],
  parts: ["element"],
  inputs: ["x"],
  exact: true,
  attributes: {},
  infer: ([x]) => x!,
  gradient: (b, { gradient }) => [b.apply(neg, [gradient], {})],
  samples: [
    { name: "image", inputs: [{ shape: [2, 3, 5, 7] }], attributes: {} },
    { name: "int32", inputs: [{ shape: [37], dtype: "int32", range: [-9, 9] }], attributes: {} },
  ],
});

/** a + b; like all that follow with numpy's broadcasting, and in int32 modulo 2^32. */
export const add: Op<NoAttributes> = binary("add", {}, (_, { gradient }) => [() => gradient, () => gradient]);

/** a - b. */
export const sub: Op<NoAttributes> = binary("sub", {}, (b, { gradient }) => [
  () => gradient,
  () => b.apply(neg, [gradient], {}),
]);

/** a b, element by element. */
export const mul: Op<NoAttributes> = binary("mul", { inputs: [0, 1] }, (b, c) => [
  () => b.apply(mul, [c.gradient, c.input(1)], {}),
  () => b.apply(mul, [c.gradient, c.input(0)], {}),
]);

/** a / b; int32 division truncates towards zero, and gives 0 where b is 0. */
export const div: Op<NoAttributes> = binary(
  "div",
  { inputs: [0, 1] },
  (b, c) => [
    () => b.apply(div, [c.gradient, c.input(1)], {}),
    () => {
      // -(g (a / b)) / b: the square of a small b would underflow.
      const quotient = b.apply(div, [c.input(0), c.input(1)], {});
      return b.apply(neg, [b.apply(div, [b.apply(mul, [c.gradient, quotient], {}), c.input(1)], {})], {});
    },
  ],
  { samples: binarySamples([0.5, 2]) },
);
