// Matrix product with optional transposition of either operand and a bias row: linear layers and their gradients.

import { sum } from "./arithmetic.ts";
import { expectDType, expectRank, expectSameDType, expectShape, floating } from "./checks.ts";
import { ShapeError, showShape } from "../errors/index.ts";
import type { Op } from "./types.ts";
import { defineOp } from "./types.ts";

type MatmulSignature = { readonly transposeA: "bool"; readonly transposeB: "bool" };

/**
 * y = op(a) op(b) + bias, where op transposes if asked; a [M, K], b [K, N], bias [N], y [M, N].
 * The bias is added once, after the sum.
 */
export const matmul: Op<MatmulSignature> = defineOp({
  name: "matmul",
  inputs: ["a", "b", "bias?"],
  terms: ([a], { transposeA }) => a!.shape[transposeA ? 0 : 1],
  attributes: { transposeA: "bool", transposeB: "bool" },
  infer([a, b, bias], { transposeA, transposeB }) {
    expectRank("matmul", "a", a!, 2, transposeA ? "[K, M]" : "[M, K]");
    expectRank("matmul", "b", b!, 2, transposeB ? "[N, K]" : "[K, N]");
    expectDType("matmul", "a", a!, floating);
    expectSameDType("matmul", ["a", "b"], a!, b!);
    const [m, k] = transposeA ? [a!.shape[1], a!.shape[0]] : [a!.shape[0], a!.shape[1]];
    const [kb, n] = transposeB ? [b!.shape[1], b!.shape[0]] : [b!.shape[0], b!.shape[1]];
    if (k !== kb)
      throw new ShapeError({
        op: "matmul",
        problem: `inner sizes ${k} and ${kb} differ: a ${showShape(a!.shape)}${transposeA ? " transposed" : ""}, b ${showShape(b!.shape)}${transposeB ? " transposed" : ""}.`,
      });
    if (bias) {
      expectSameDType("matmul", ["a", "bias"], a!, bias);
      expectShape("matmul", "bias", bias, [n], "(one for each column of b)");
    }
    return { shape: [m, n], dtype: a!.dtype };
  },
  keeps: { inputs: [0, 1] },
  gradient(b, c) {
    const { transposeA, transposeB } = c.attributes;
    const product = (x: typeof c.gradient, y: typeof c.gradient, tx: boolean, ty: boolean) =>
      b.apply(matmul, [x, y], { transposeA: tx, transposeB: ty });
    const da = () =>
      transposeA
        ? product(c.input(1), c.gradient, transposeB, true)
        : product(c.gradient, c.input(1), false, !transposeB);
    const db = () =>
      transposeB
        ? product(c.gradient, c.input(0), true, transposeA)
        : product(c.input(0), c.gradient, !transposeA, false);
    const dbias = () => b.apply(sum, [c.gradient], { axes: [0], keepDims: false });
    return [da, db, dbias].map((rule, i) => (c.inputTypes[i] && c.needs(i) ? rule() : undefined));
  },
  samples: [
    {
      name: "plain",
      inputs: [{ shape: [7, 19] }, { shape: [19, 37] }, undefined],
      attributes: { transposeA: false, transposeB: false },
    },
    {
      name: "bias",
      inputs: [{ shape: [33, 16] }, { shape: [16, 48] }, { shape: [48] }],
      attributes: { transposeA: false, transposeB: false },
    },
    {
      name: "a transposed",
      inputs: [{ shape: [130, 9] }, { shape: [130, 21] }, undefined],
      attributes: { transposeA: true, transposeB: false },
    },
    {
      name: "b transposed",
      inputs: [{ shape: [5, 40] }, { shape: [18, 40] }, { shape: [18] }],
      attributes: { transposeA: false, transposeB: true },
    },
    {
      name: "both transposed",
      inputs: [{ shape: [6, 5] }, { shape: [3, 6] }, undefined],
      attributes: { transposeA: true, transposeB: true },
    },
    {
      name: "one input",
      inputs: [{ shape: [4, 1] }, { shape: [1, 16] }, { shape: [16] }],
      attributes: { transposeA: false, transposeB: false },
    },
  ],
});
