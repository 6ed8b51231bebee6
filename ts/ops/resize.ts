// Resampling of NHWC images to another size: one op for all modes, and its transpose as the gradient.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { expectDType, expectIntegers, expectRank, expectSizes, floating } from "./checks.ts";
import type { Op, TensorType } from "./types.ts";
import { defineOp } from "./types.ts";

/** How an output pixel comes from the input pixels around it. */
export const resizeModes = ["nearest", "bilinear", "bicubic", "area"] as const;

/** One of `resizeModes`. */
export type ResizeMode = (typeof resizeModes)[number];

/** `size` [H, W] of the output; `alignCorners` lets the centres of the corner pixels stay where they are. */
const resampling = { size: "ints", mode: resizeModes, alignCorners: "bool" } as const;

interface Resampling {
  readonly size: readonly number[];
  readonly mode: ResizeMode;
  readonly alignCorners: boolean;
}

/** Refuses `alignCorners` with a mode to which it means nothing. */
export function expectCorners(op: string, mode: ResizeMode, alignCorners: boolean): void {
  if (alignCorners && mode !== "bilinear" && mode !== "bicubic")
    throw new ArgumentError({
      op,
      problem: `alignCorners is true with mode "${mode}".`,
      advice: 'Only "bilinear" and "bicubic" have corners to align.',
    });
}

function resizedType(op: string, name: string, x: TensorType, { size, mode, alignCorners }: Resampling): TensorType {
  expectRank(op, name, x, 4, "[N, H, W, C]");
  expectDType(op, name, x, floating);
  expectIntegers(op, "size", size, 2, 1);
  expectCorners(op, mode, alignCorners);
  const [n, h, w, c] = x.shape;
  if (h === 0 || w === 0)
    throw new ShapeError({ op, problem: `${name} has shape ${showShape(x.shape)}: its images have no pixels.` });
  const shape = [n, size[0], size[1], c];
  expectSizes(op, shape);
  return { shape, dtype: x.dtype };
}

/** x [N, H, W, C] at another size (PyTorch's interpolate without antialiasing); the weights are those of `interpolation.ts`. */
export const resize2d: Op<typeof resampling> = defineOp({
  name: "resize2d",
  cheap: true,
  inputs: ["x"],
  attributes: resampling,
  infer: ([x], attributes) => resizedType("resize2d", "x", x!, attributes),
  gradient: (b, c) => [
    b.apply(resize2dGradient, [c.gradient], { ...c.attributes, size: c.inputTypes[0]!.shape.slice(1, 3) }),
  ],
  samples: samplesOf([
    ["up", [2, 3, 5, 17], [7, 8]],
    ["down", [2, 7, 9, 3], [3, 4]],
    ["up and down", [1, 4, 11, 1], [9, 5]],
    ["twice", [2, 4, 3, 20], [8, 6]],
    ["same size", [1, 3, 4, 2], [3, 4]],
    ["from one pixel", [2, 1, 1, 5], [3, 2]],
    ["to one pixel", [3, 9, 10, 70], [1, 1]],
    ["many", [2, 40, 30, 33], [61, 20]],
  ]),
});

/**
 * The transpose of resize2d: dx[j] = the sum over the output pixels i that see input pixel j of their weight for it times
 * dy[i]. dy [N, H', W', C]; `size` is that of the input, [H, W].
 */
export const resize2dGradient: Op<typeof resampling> = defineOp({
  name: "resize2dGradient",
  inputs: ["dy"],
  attributes: resampling,
  infer: ([dy], attributes) => resizedType("resize2dGradient", "dy", dy!, attributes),
  gradient: (b, c) => [b.apply(resize2d, [c.gradient], { ...c.attributes, size: c.inputTypes[0]!.shape.slice(1, 3) })],
  samples: samplesOf([
    ["up", [2, 7, 8, 17], [3, 5]],
    ["down", [2, 3, 4, 3], [7, 9]],
    ["up and down", [1, 9, 5, 1], [4, 11]],
    ["twice", [2, 8, 6, 20], [4, 3]],
    ["from one pixel", [2, 13, 12, 5], [1, 1]],
    ["to one pixel", [3, 1, 1, 70], [9, 10]],
    ["many", [2, 61, 20, 33], [40, 30]],
  ]),
});

type Case = readonly [name: string, from: readonly number[], size: readonly number[]];

/** Each case in each mode. */
function samplesOf(cases: readonly Case[]) {
  return [...resizeModes.map((mode) => [mode, false] as const), ["bilinear", true], ["bicubic", true]].flatMap(
    ([mode, alignCorners]) =>
      cases.map(([name, shape, size]) => ({
        name: `${mode}${alignCorners ? ", corners aligned" : ""}: ${name}`,
        inputs: [{ shape }],
        attributes: { size, mode: mode as ResizeMode, alignCorners: alignCorners as boolean },
      })),
  );
}
