// Softmax and its logarithm along an axis, and their fused gradients.

import { expectDType, expectSameDType, expectShape, floating, resolveAxis } from "./checks.ts";
import type { Op, Sample } from "./types.ts";
import { defineOp } from "./types.ts";

type Along = { readonly axis: "int" };

const shapes: readonly (readonly [name: string, shape: readonly number[], axis: number])[] = [
  ["last", [4, 3, 37], -1],
  ["middle", [3, 5, 2, 7], 1],
  ["first", [9, 35], 0],
  ["one element", [5, 1], 1],
  ["vector", [10], 0],
  ["long rows", [2, 2500], 1],
  ["long columns", [2100, 3], 0],
  ["many rows", [3, 40, 150], -1],
  ["many columns", [2, 6, 3, 700], 1],
];

/** One case for each shape; the first input is drawn from `range`. */
function samplesFrom(range: readonly [number, number], inputs: number): Sample<{ readonly axis: number }>[] {
  return shapes.map(([name, shape, axis]) => ({
    name,
    inputs: [{ shape, range }, { shape }].slice(0, inputs),
    attributes: { axis },
  }));
}

/** A function of x along an axis whose gradient `gradientOp` computes from the output. */
function alongAxis(name: string, gradientOp: Op<Along>): Op<Along> {
  return defineOp<Along>({
    name,
    inputs: ["x"],
    attributes: { axis: "int" },
    infer([x], { axis }) {
      expectDType(name, "x", x!, floating);
      resolveAxis(name, axis, x!.shape.length);
      return x!;
    },
    keeps: { output: true },
    gradient: (b, c) => [b.apply(gradientOp, [c.output(), c.gradient], c.attributes)],
    samples: samplesFrom([-9, 9], 1),
  });
}

/** The fused gradient of such a function, from its output and dy. */
function gradientAlongAxis(name: string, range: readonly [number, number]): Op<Along> {
  return defineOp<Along>({
    name,
    inputs: ["y", "dy"],
    attributes: { axis: "int" },
    infer([y, dy], { axis }) {
      expectDType(name, "y", y!, floating);
      expectSameDType(name, ["y", "dy"], y!, dy!);
      expectShape(name, "dy", dy!, y!.shape, "as y");
      resolveAxis(name, axis, y!.shape.length);
      return y!;
    },
    samples: samplesFrom(range, 2),
  });
}

/** y (dy - s), s the sum of y dy along the axis. */
export const softmaxGradient: Op<Along> = gradientAlongAxis("softmaxGradient", [0, 1]);
/** dy - e^y s, s the sum of dy along the axis. */
export const logSoftmaxGradient: Op<Along> = gradientAlongAxis("logSoftmaxGradient", [-9, 0]);

/**
 * e^x / s, s the sum of e^x along the axis; the largest x is subtracted first, so nothing overflows. NaN where the line
 * holds a NaN or an Infinity, or -Infinity only.
 */
export const softmax: Op<Along> = alongAxis("softmax", softmaxGradient);
/** x - log(sum of e^x along the axis); what softmax says of infinities and NaN holds here, too. */
export const logSoftmax: Op<Along> = alongAxis("logSoftmax", logSoftmaxGradient);
