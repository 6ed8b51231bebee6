// Reductions besides sum and mean (which are gradients of arithmetic and live there): extremes and their places, variance,
// logSumExp, norm.

import { ShapeError, showShape } from "../errors/index.ts";
import type { ReduceSignature } from "./arithmetic.ts";
import { mean, mul, reduceSamples, reshape, spread, sub } from "./arithmetic.ts";
import {
  broadcastsTo,
  expectDType,
  expectIntegers,
  expectSameDType,
  expectShape,
  floating,
  reducedShape,
  resolveAxes,
} from "./checks.ts";
import { fill } from "./create.ts";
import { exp } from "./functions.ts";
import type { AttributesOf, Op, OpBuilder, Shape, TensorType } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

const reduction = { axes: "ints", keepDims: "bool" } as const;

/** Refuses to look for an extreme among no elements. */
function expectTerms(op: string, shape: Shape, axes: readonly number[]): void {
  const empty = resolveAxes(op, axes, shape.length).find((axis) => shape[axis] === 0);
  if (empty !== undefined)
    throw new ShapeError({
      op,
      problem: `axis ${empty} of ${showShape(shape)} has no elements, and so no extreme one.`,
    });
}

function extremeType(op: string, x: TensorType, { axes, keepDims }: AttributesOf<ReduceSignature>): TensorType {
  expectTerms(op, x.shape, axes);
  return { shape: reducedShape(op, x.shape, axes, keepDims), dtype: x.dtype };
}

function extreme(name: "max" | "min"): Op<ReduceSignature> {
  return defineOp({
    name,
    inputs: ["x"],
    exact: true,
    attributes: reduction,
    infer: ([x], attributes) => extremeType(name, x!, attributes),
    keeps: { inputs: [0] },
    gradient: (b, c) => [b.apply(extremeGradient, [c.input(0), c.gradient], { ...c.attributes, of: name })],
    samples: [
      ...reduceSamples,
      {
        name: "int32",
        inputs: [{ shape: [3, 41, 5], dtype: "int32", range: [-99, 99] }],
        attributes: { axes: [1], keepDims: false },
      },
    ],
  });
}

/** Largest element over `axes`; NaN wins. The gradient goes to the first of the largest in row-major order. */
export const max: Op<ReduceSignature> = extreme("max");
/** Smallest element over `axes`; NaN wins. The gradient goes to the first of the smallest in row-major order. */
export const min: Op<ReduceSignature> = extreme("min");

/** dy at the first extreme element of each reduced part of x, zeros elsewhere. */
export const extremeGradient = defineOp({
  name: "extremeGradient",
  inputs: ["x", "dy"],
  exact: true,
  attributes: { ...reduction, of: ["max", "min"] },
  infer([x, dy], attributes) {
    const y = extremeType("extremeGradient", x!, attributes);
    expectSameDType("extremeGradient", ["x", "dy"], x!, dy!);
    expectDType("extremeGradient", "x", x!, floating);
    expectShape("extremeGradient", "dy", dy!, y.shape, "(the reduced shape of x)");
    return x!;
  },
  samples: reduceSamples.map(({ name, inputs: [x], attributes }, i) => ({
    name,
    inputs: [x, { shape: reducedShape("extremeGradient", x.shape, attributes.axes, attributes.keepDims) }],
    attributes: { ...attributes, of: i % 2 === 0 ? ("max" as const) : ("min" as const) },
  })),
});

type PlaceSignature = { readonly axis: "int"; readonly keepDims: "bool" };

function placeOfExtreme(name: "argmax" | "argmin"): Op<PlaceSignature> {
  return defineOp({
    name,
    inputs: ["x"],
    exact: true,
    attributes: { axis: "int", keepDims: "bool" },
    infer: ([x], { axis, keepDims }) => ({ ...extremeType(name, x!, { axes: [axis], keepDims }), dtype: "int32" }),
    samples: [
      { name: "last", inputs: [{ shape: [3, 4, 37] }], attributes: { axis: -1, keepDims: false } },
      { name: "first", inputs: [{ shape: [300, 3] }], attributes: { axis: 0, keepDims: false } },
      { name: "middle, kept", inputs: [{ shape: [2, 9, 3, 5] }], attributes: { axis: 1, keepDims: true } },
      { name: "long", inputs: [{ shape: [40_000] }], attributes: { axis: 0, keepDims: false } },
      { name: "tall", inputs: [{ shape: [9000, 5] }], attributes: { axis: 0, keepDims: false } },
      {
        name: "int32, ties",
        inputs: [{ shape: [3, 2000], dtype: "int32", range: [-9, 9] }],
        attributes: { axis: 1, keepDims: false },
      },
    ],
  });
}

/** Index along `axis` of the largest element: the first of equal ones, and NaN wins. */
export const argmax: Op<PlaceSignature> = placeOfExtreme("argmax");
/** Index along `axis` of the smallest element: the first of equal ones, and NaN wins. */
export const argmin: Op<PlaceSignature> = placeOfExtreme("argmin");

/** Number of elements that each result of reducing x to `result` stands for. */
function termsOf(x: TensorType, result: TensorType): number {
  return sizeOf(x.shape) / Math.max(1, sizeOf(result.shape));
}

/** `gradient` times `factor`. */
function scaled<V>(b: OpBuilder<V>, gradient: V, factor: number): V {
  const value = b.apply(fill, [], { shape: [], dtype: b.type(gradient).dtype, value: factor });
  return b.apply(mul, [gradient, value], {});
}

/**
 * sum (x - mean)^2 / max(0, n - correction) over `axes`, the mean taken first. NaN where n <= correction and all is 0,
 * as 0 / 0 is.
 */
export const variance = defineOp({
  name: "variance",
  inputs: ["x"],
  attributes: { ...reduction, correction: "int" },
  infer([x], { axes, keepDims, correction }) {
    expectDType("variance", "x", x!, floating);
    expectIntegers("variance", "correction", [correction], 1, 0);
    return { shape: reducedShape("variance", x!.shape, axes, keepDims), dtype: x!.dtype };
  },
  keeps: { inputs: [0] },
  gradient(b, { gradient, input, inputTypes, outputType, attributes: { axes, correction } }) {
    const divisor = Math.max(0, termsOf(inputTypes[0]!, outputType) - correction);
    const deviation = b.apply(sub, [input(0), b.apply(mean, [input(0)], { axes, keepDims: true })], {});
    const slope = spread(b, scaled(b, gradient, 2 / divisor), inputTypes[0]!, axes);
    return [b.apply(mul, [slope, deviation], {})];
  },
  samples: reduceSamples
    .filter(({ name }) => name !== "none")
    .map(({ name, inputs, attributes }, i) => ({ name, inputs, attributes: { ...attributes, correction: i % 2 } })),
});

/** log(sum(e^x)) over `axes`, as m + log(sum(e^(x - m))) with the largest element m; that element where it is infinite. */
export const logSumExp: Op<ReduceSignature> = defineOp({
  name: "logSumExp",
  inputs: ["x"],
  attributes: reduction,
  infer([x], { axes, keepDims }) {
    expectDType("logSumExp", "x", x!, floating);
    return { shape: reducedShape("logSumExp", x!.shape, axes, keepDims), dtype: x!.dtype };
  },
  keeps: { inputs: [0], output: true },
  gradient(b, c) {
    const { axes } = c.attributes;
    const y = spread(b, c.output(), c.inputTypes[0]!, axes);
    const share = b.apply(exp, [b.apply(sub, [c.input(0), y], {})], {});
    return [b.apply(mul, [share, spread(b, c.gradient, c.inputTypes[0]!, axes)], {})];
  },
  samples: [
    ...reduceSamples,
    {
      name: "large",
      inputs: [{ shape: [3, 50], range: [900, 1000] }],
      attributes: { axes: [1], keepDims: false },
    },
  ],
});

/** Square root of the sum of squares over `axes`, which neither overflow nor vanish. */
export const norm: Op<ReduceSignature> = defineOp({
  name: "norm",
  inputs: ["x"],
  attributes: reduction,
  infer([x], { axes, keepDims }) {
    expectDType("norm", "x", x!, floating);
    return { shape: reducedShape("norm", x!.shape, axes, keepDims), dtype: x!.dtype };
  },
  keeps: { inputs: [0], output: true },
  gradient(b, c) {
    const x = c.inputTypes[0]!;
    const shape = reducedShape("norm", x.shape, c.attributes.axes, true);
    const [y, dy] = [c.output(), c.gradient].map((value) => b.apply(reshape, [value], { shape }));
    return [b.apply(normGradient, [c.input(0), y, dy], {})];
  },
  samples: reduceSamples,
});

/** dy x / y, and 0 where y is 0; y and dy broadcast to x. */
export const normGradient: Op<Record<never, never>> = defineOp({
  name: "normGradient",
  inputs: ["x", "y", "dy"],
  attributes: {},
  infer([x, y, dy]) {
    expectDType("normGradient", "x", x!, floating);
    expectSameDType("normGradient", ["x", "y"], x!, y!);
    expectSameDType("normGradient", ["x", "dy"], x!, dy!);
    for (const [name, value] of [
      ["y", y!],
      ["dy", dy!],
    ] as const)
      if (!broadcastsTo(value.shape, x!.shape))
        throw new ShapeError({
          op: "normGradient",
          problem: `${name} has shape ${showShape(value.shape)}, which does not broadcast to x's ${showShape(x!.shape)}.`,
        });
    return x!;
  },
  samples: [
    {
      name: "rows",
      inputs: [{ shape: [5, 33] }, { shape: [5, 1], range: [0.5, 2] }, { shape: [5, 1] }],
      attributes: {},
    },
    {
      name: "pixels",
      inputs: [{ shape: [3, 5, 7] }, { shape: [3, 1, 7], range: [0.5, 2] }, { shape: [3, 1, 7] }],
      attributes: {},
    },
    { name: "all", inputs: [{ shape: [2100] }, { shape: [1], range: [20, 30] }, { shape: [1] }], attributes: {} },
  ],
});
