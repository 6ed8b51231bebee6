// Normalisation by mean and variance: over the pixels and channels of a group, or over the trailing axes.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { reshape } from "./arithmetic.ts";
import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import { copy } from "./functions.ts";
import { slice } from "./shape.ts";
import type {
  AttributeSignature,
  AttributesOf,
  Op,
  OpBuilder,
  Sample,
  SampleInput,
  Shape,
  TensorType,
} from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

/** What the two ops of one kind of normalisation share. */
interface Kind<S extends AttributeSignature> {
  readonly attributes: S;
  /** Checks x and the attributes, and returns the shape of weight and bias. */
  readonly weightShape: (op: string, x: TensorType, attributes: AttributesOf<S>) => Shape;
  readonly cases: readonly Case<S>[];
}

/** A sample before it is known which of the two ops it is for. */
interface Case<S extends AttributeSignature> {
  readonly name: string;
  readonly x: SampleInput;
  readonly weight: SampleInput;
  readonly attributes: AttributesOf<S>;
}

function normalised<S extends AttributeSignature>(name: string, kind: Kind<S>, gradientOp: Op<S>): Op<S> {
  return defineOp<S>({
    name,
    epilogue: true,
    cheap: true,
    inputs: ["x", "weight?", "bias?"],
    attributes: kind.attributes,
    infer([x, weight, bias], attributes) {
      const shape = kind.weightShape(name, x!, attributes);
      if (weight) expectWeight(name, "weight", x!, weight, shape);
      if (bias) expectWeight(name, "bias", x!, bias, shape);
      return x!;
    },
    keeps: { inputs: [0, 1] },
    gradient(b, c) {
      const [x, weight, bias] = c.inputTypes;
      const all = b.apply(gradientOp, [c.input(0), c.gradient, weight && c.input(1)], c.attributes);
      const shape = kind.weightShape(name, x!, c.attributes);
      const [size, count] = [sizeOf(x!.shape), sizeOf(shape)];
      const [toWeight, toBias] = [weight && c.needs(1), bias && c.needs(2)];
      // Copied, so that these, which stay, do not hold the memory of the gradient of x, which goes.
      const rows = toWeight || toBias ? b.apply(copy, [part(b, all, size, [2 * count])], {}) : undefined;
      return [
        c.needs(0) ? part(b, all, 0, x!.shape) : undefined,
        rows !== undefined && toWeight ? part(b, rows, 0, shape) : undefined,
        rows !== undefined && toBias ? part(b, rows, count, shape) : undefined,
      ];
    },
    samples: kind.cases.flatMap(({ name: label, x, weight, attributes }): Sample<AttributesOf<S>>[] => [
      { name: label, inputs: [x, weight, weight], attributes },
      { name: `${label}, no weight`, inputs: [x, undefined, undefined], attributes },
    ]),
  });
}

/**
 * Gradients with respect to x, weight and bias, from x, dy and the weight: one flat result with the elements of the three,
 * one after the other.
 */
function normalisedGradient<S extends AttributeSignature>(name: string, kind: Kind<S>): Op<S> {
  return defineOp<S>({
    name,
    inputs: ["x", "dy", "weight?"],
    attributes: kind.attributes,
    infer([x, dy, weight], attributes) {
      const shape = kind.weightShape(name, x!, attributes);
      expectSameDType(name, ["x", "dy"], x!, dy!);
      expectShape(name, "dy", dy!, x!.shape, "as x");
      if (weight) expectWeight(name, "weight", x!, weight, shape);
      return { shape: [sizeOf(x!.shape) + 2 * sizeOf(shape)], dtype: x!.dtype };
    },
    terms: ([x]) => sizeOf(x!.shape.slice(0, -1)),
    samples: kind.cases.flatMap(({ name: label, x, weight, attributes }): Sample<AttributesOf<S>>[] => [
      { name: label, inputs: [x, { shape: x.shape }, weight], attributes },
      { name: `${label}, no weight`, inputs: [x, { shape: x.shape }, undefined], attributes },
    ]),
  });
}

function expectWeight(op: string, name: string, x: TensorType, weight: TensorType, shape: Shape): void {
  expectSameDType(op, ["x", name], x, weight);
  expectShape(op, name, weight, shape, `(x is ${showShape(x.shape)})`);
}

function expectEpsilon(op: string, epsilon: number): void {
  if (!(epsilon >= 0 && epsilon < Infinity))
    throw new ArgumentError({ op, problem: `epsilon is ${epsilon}, expected a number >= 0.` });
}

/** Elements of a flat result from `start` on, as an array of `shape`: a view. */
function part<V>(b: OpBuilder<V>, flat: V, start: number, shape: Shape): V {
  const stop = start + sizeOf(shape);
  return b.apply(reshape, [b.apply(slice, [flat], { starts: [start], stops: [stop], steps: [1] })], { shape });
}

/** `groups` of adjacent channels are normalised together; `epsilon` is added to their variance. */
type Grouping = { readonly groups: "int"; readonly epsilon: "float" };

const groupKind: Kind<Grouping> = {
  attributes: { groups: "int", epsilon: "float" },
  weightShape(op, x, { groups, epsilon }) {
    expectDType(op, "x", x, floating);
    expectEpsilon(op, epsilon);
    if (x.shape.length < 2)
      throw new ShapeError({ op, problem: `x has shape ${showShape(x.shape)}, expected [N, ..., C].` });
    const channels = x.shape[x.shape.length - 1];
    if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
      throw new ArgumentError({
        op,
        problem: `${channels} channels do not divide into ${groups} groups (x ${showShape(x.shape)}).`,
        advice: "The number of groups must divide the number of channels.",
      });
    return [channels];
  },
  cases: [
    groupCase("image", [2, 4, 5, 6], 3),
    groupCase("one group", [2, 3, 3, 5], 1),
    groupCase("a group a channel", [2, 5, 4, 7], 7),
    groupCase("vectors", [3, 8], 2),
    groupCase("sequence", [2, 9, 6], 3),
    groupCase("volume", [2, 2, 3, 2, 4], 2),
    groupCase("32 groups", [2, 8, 8, 64], 32),
    groupCase("odd channels", [2, 5, 7, 51], 17),
    groupCase("wide groups", [3, 3, 5, 140], 2),
    groupCase("many pixels", [1, 50, 41, 33], 11),
    groupCase("mean far from 0", [2, 8, 8, 8], 2, [99, 101]),
  ],
};

function groupCase(name: string, x: Shape, groups: number, range?: readonly [number, number]): Case<Grouping> {
  return { name, x: inRange(x, range), weight: { shape: x.slice(-1) }, attributes: { groups, epsilon: 1e-5 } };
}

/** The last `axes` axes are normalised; without `center` the mean is taken to be 0. */
type Trailing = { readonly axes: "int"; readonly epsilon: "float"; readonly center: "bool" };

const layerKind: Kind<Trailing> = {
  attributes: { axes: "int", epsilon: "float", center: "bool" },
  weightShape(op, x, { axes, epsilon }) {
    expectDType(op, "x", x, floating);
    expectEpsilon(op, epsilon);
    if (!Number.isInteger(axes) || axes < 1 || axes > x.shape.length)
      throw new ArgumentError({
        op,
        problem: `cannot normalise the last ${axes} axes of x ${showShape(x.shape)}.`,
        advice: `Normalise at least one axis of x, and at most all.`,
      });
    return x.shape.slice(x.shape.length - axes);
  },
  cases: [
    layerCase("rows", [2, 5, 8], 1, true),
    layerCase("rows about 0", [2, 5, 8], 1, false),
    layerCase("two axes", [5, 3, 7], 2, true),
    layerCase("all axes", [3, 6], 2, true),
    layerCase("vector about 0", [37], 1, false),
    layerCase("many rows", [130, 47], 1, true),
    layerCase("long rows", [3, 2500], 1, true),
    layerCase("long rows about 0", [3, 2500], 1, false),
    layerCase("mean far from 0", [4, 64], 1, true, [99, 101]),
  ],
};

function layerCase(
  name: string,
  x: Shape,
  axes: number,
  center: boolean,
  range?: readonly [number, number],
): Case<Trailing> {
  const weight = { shape: x.slice(x.length - axes) };
  return { name, x: inRange(x, range), weight, attributes: { axes, epsilon: 1e-6, center } };
}

function inRange(shape: Shape, range: readonly [number, number] = [-1, 1]): SampleInput {
  return { shape, range };
}

/**
 * s (g - mean(g) - z mean(g z)) with g = dy weight, z the normalised x and s = 1 / sqrt(variance + epsilon); then the sums
 * over images and pixels of dy z, and those of dy.
 */
export const groupNormGradient: Op<Grouping> = normalisedGradient("groupNormGradient", groupKind);
/**
 * z weight + bias, z = (x - mean) / sqrt(variance + epsilon): mean and (biased) variance of each image's groups of
 * channels, over all its pixels. x [N, ..., C], weight and bias [C].
 */
export const groupNorm: Op<Grouping> = normalised("groupNorm", groupKind, groupNormGradient);

/** As groupNormGradient, the sums over all that is not normalised; without `center` no mean(g) is subtracted. */
export const layerNormGradient: Op<Trailing> = normalisedGradient("layerNormGradient", layerKind);
/**
 * z weight + bias, z = (x - mean) / sqrt(variance + epsilon) with mean and (biased) variance over the last axes; without
 * `center` z = x / sqrt(mean of x^2 + epsilon). weight and bias have the shape of those axes.
 */
export const layerNorm: Op<Trailing> = normalised("layerNorm", layerKind, layerNormGradient);
