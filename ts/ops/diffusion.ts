// The fused steps of diffusion: q_sample, and the whole reverse step of DDPM with its noise in one pass.

import { ShapeError, showShape } from "../errors/index.ts";
import { mul, reshape } from "./arithmetic.ts";
import { expectDType, expectRank, expectSameDType, expectShape, floating } from "./checks.ts";
import { perStepCounter } from "./create.ts";
import { embedding } from "./embedding.ts";
import { slice } from "./shape.ts";
import type { Op, OpBuilder, TensorType } from "./types.ts";
import { defineOp } from "./types.ts";

/** Checks that t has one entry for each image, and that the table has `columns` coefficients for each timestep. */
function expectSchedule(op: string, x: TensorType, t: TensorType, table: TensorType, columns: number): void {
  expectDType(op, "x", x, floating);
  if (x.shape.length === 0) throw new ShapeError({ op, problem: `x is a scalar, expected a batch [N, ...].` });
  expectDType(op, "t", t, ["int32"]);
  expectShape(op, "t", t, [x.shape[0]], "(one timestep for each image)");
  expectRank(op, "coefficients", table, 2, `[T, ${columns}]`);
  expectSameDType(op, ["x", "coefficients"], x, table);
  if (table.shape[1] !== columns)
    throw new ShapeError({
      op,
      problem: `coefficients have shape ${showShape(table.shape)}, expected [T, ${columns}].`,
    });
}

/** value * coefficients[t, column], one factor for each image. */
function scaleImages<V>(b: OpBuilder<V>, value: V, coefficients: V, t: V, column: number): V {
  const [rows] = b.type(coefficients).shape;
  const factor = b.apply(slice, [coefficients], {
    starts: [0, column],
    stops: [rows, column + 1],
    steps: [1, 1],
  });
  const shape = b.type(value).shape.map((n, i) => (i === 0 ? n : 1));
  const perImage = b.apply(reshape, [b.apply(embedding, [factor, t], {})], { shape });
  return b.apply(mul, [value, perImage], {});
}

/**
 * q_sample, Ho et al. 2020 eq. 4: x_t = sqrt(alphaBar_t) x0 + sqrt(1 - alphaBar_t) noise, with
 * coefficients [T, 2] = (sqrt(alphaBar), sqrt(1 - alphaBar)). A timestep outside the table gives NaN.
 */
export const addNoise: Op<Record<never, never>> = defineOp({
  name: "addNoise",
  inputs: ["x0", "noise", "t", "coefficients"],
  inPlace: [0, 1],
  parts: ["element", "element", "image", "whole"],
  attributes: {},
  infer([x0, noise, t, coefficients]) {
    expectSchedule("addNoise", x0!, t!, coefficients!, 2);
    expectSameDType("addNoise", ["x0", "noise"], x0!, noise!);
    expectShape("addNoise", "noise", noise!, x0!.shape, "as x0");
    return x0!;
  },
  keeps: { inputs: [2, 3] },
  constants: [3],
  gradient: (b, c) => [
    c.needs(0) ? scaleImages(b, c.gradient, c.input(3), c.input(2), 0) : undefined,
    c.needs(1) ? scaleImages(b, c.gradient, c.input(3), c.input(2), 1) : undefined,
  ],
  samples: [
    {
      name: "images",
      inputs: [
        { shape: [5, 4, 4, 3] },
        { shape: [5, 4, 4, 3] },
        { shape: [5], dtype: "int32", range: [0, 10] },
        { shape: [10, 2], range: [0, 1] },
      ],
      attributes: {},
    },
    {
      name: "vectors",
      inputs: [
        { shape: [3, 7] },
        { shape: [3, 7] },
        { shape: [3], dtype: "int32", range: [0, 4] },
        { shape: [4, 2], range: [0, 1] },
      ],
      attributes: {},
    },
  ],
});

/**
 * The reverse step of DDPM, Ho et al. 2020 algorithm 2:
 * x_{t-1} = meanScale_t (x_t - epsilonScale_t epsilon) + sigma_t z, and no noise where t = 0.
 * coefficients [T, 3] = (1 / sqrt(alpha), beta / sqrt(1 - alphaBar), sigma). z is the given tensor, else drawn as
 * randn draws it at (seed, draw, image, step). A timestep outside the table gives NaN.
 */
export const ddpmStep: Op<{
  readonly seed: "seed";
  readonly draw: "int";
  readonly image: "int";
  readonly step: "int";
}> = defineOp({
  name: "ddpmStep",
  inputs: ["x", "epsilon", "t", "coefficients", "z?"],
  withoutGradient: "sampling is not trained through",
  attributes: { seed: "seed", draw: "int", image: "int", step: "int" },
  perStep: perStepCounter,
  inPlace: [0, 1, 4],
  parts: ["element", "element", "image", "whole", "element"],
  wholeImages: true,
  infer([x, epsilon, t, coefficients, z]) {
    expectSchedule("ddpmStep", x!, t!, coefficients!, 3);
    expectSameDType("ddpmStep", ["x", "epsilon"], x!, epsilon!);
    expectShape("ddpmStep", "epsilon", epsilon!, x!.shape, "as x");
    if (z) {
      expectSameDType("ddpmStep", ["x", "z"], x!, z);
      expectShape("ddpmStep", "z", z, x!.shape, "as x");
    }
    return x!;
  },
  samples: [
    {
      name: "drawn noise",
      inputs: [
        { shape: [5, 3, 3, 3] },
        { shape: [5, 3, 3, 3] },
        { shape: [5], dtype: "int32", range: [0, 3] },
        { shape: [3, 3], range: [0, 1] },
        undefined,
      ],
      attributes: { seed: 77n, draw: 4, image: 3, step: 12 },
    },
    {
      name: "large image",
      inputs: [
        { shape: [1, 64, 64, 3] },
        { shape: [1, 64, 64, 3] },
        { shape: [1], dtype: "int32", range: [1, 3] },
        { shape: [3, 3], range: [0, 1] },
        undefined,
      ],
      attributes: { seed: 78n, draw: 4, image: 0, step: 1 },
    },
    {
      name: "given noise",
      inputs: [
        { shape: [4, 6] },
        { shape: [4, 6] },
        { shape: [4], dtype: "int32", range: [0, 3] },
        { shape: [3, 3], range: [0, 1] },
        { shape: [4, 6] },
      ],
      attributes: { seed: 0n, draw: 0, image: 0, step: 0 },
    },
  ],
});
