// Matrix products with optional transposition of either operand and a bias row: linear layers, batches, their gradients.

import { reshape, sum, sumToShape } from "./arithmetic.ts";
import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import { ShapeError, showShape } from "../errors/index.ts";
import type { Op, OpBuilder, Shape, TensorType } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

type MatmulSignature = { readonly transposeA: "bool"; readonly transposeB: "bool" };

/** The last two sizes, swapped where the matrices are read transposed. */
function matrixOf(name: string, { shape }: TensorType, transpose: boolean, axes: string): readonly [number, number] {
  if (shape.length < 2)
    throw new ShapeError({
      op: "matmul",
      problem: `${name} has shape ${showShape(shape)}, expected ${axes}.`,
      advice: "reshape it: a row is [1, K], a column [K, 1].",
    });
  const [rows, cols] = shape.slice(-2);
  return transpose ? [cols, rows] : [rows, cols];
}

/** The axes before the last two, broadcast against each other. */
function broadcastBatch(a: Shape, b: Shape): Shape {
  const batch: number[] = [];
  for (let i = Math.max(a.length, b.length); i > 2; i--) {
    const m = a[a.length - i] ?? 1;
    const n = b[b.length - i] ?? 1;
    if (m !== n && m !== 1 && n !== 1)
      throw new ShapeError({
        op: "matmul",
        problem: `the batches of a ${showShape(a)} and b ${showShape(b)} do not broadcast: sizes ${m} and ${n} at axis -${i}.`,
        advice: "All axes but the last two must be equal, or one of them 1.",
      });
    batch.push(m === 1 ? n : m);
  }
  return batch;
}

/** All matrices of a value under each other. */
function allRows<V>(b: OpBuilder<V>, value: V): V {
  const { shape } = b.type(value);
  const cols = shape[shape.length - 1];
  const rows = sizeOf(shape.slice(0, -1));
  return shape.length === 2 ? value : b.apply(reshape, [value], { shape: [rows, cols] });
}

/**
 * y = op(a) op(b) + bias, where op transposes each matrix if asked; a [..., M, K], b [..., K, N], bias [N],
 * y [..., M, N], the leading axes broadcast as numpy does. The bias is added once, after the sum.
 */
export const matmul: Op<MatmulSignature> = defineOp({
  name: "matmul",
  epilogue: true,
  inputs: ["a", "b", "bias?"],
  terms: ([a], { transposeA }) => a!.shape[a!.shape.length - (transposeA ? 2 : 1)],
  factors: [0, 1],
  multiplyAdds: ([a], { transposeA }, y) => sizeOf(y.shape) * a!.shape[a!.shape.length - (transposeA ? 2 : 1)],
  attributes: { transposeA: "bool", transposeB: "bool" },
  infer([a, b, bias], { transposeA, transposeB }) {
    const [m, k] = matrixOf("a", a!, transposeA, transposeA ? "[..., K, M]" : "[..., M, K]");
    const [kb, n] = matrixOf("b", b!, transposeB, transposeB ? "[..., N, K]" : "[..., K, N]");
    expectDType("matmul", "a", a!, floating);
    expectSameDType("matmul", ["a", "b"], a!, b!);
    if (k !== kb)
      throw new ShapeError({
        op: "matmul",
        problem: `inner sizes ${k} and ${kb} differ: a ${showShape(a!.shape)}${transposeA ? " transposed" : ""}, b ${showShape(b!.shape)}${transposeB ? " transposed" : ""}.`,
      });
    if (bias) {
      expectSameDType("matmul", ["a", "bias"], a!, bias);
      expectShape("matmul", "bias", bias, [n], "(one for each column of b)");
    }
    return { shape: [...broadcastBatch(a!.shape, b!.shape), m, n], dtype: a!.dtype };
  },
  keeps: { inputs: [0, 1] },
  gradient(b, c) {
    const { transposeA, transposeB } = c.attributes;
    type Value = typeof c.gradient;
    const product = (x: Value, y: Value, tx: boolean, ty: boolean) =>
      b.apply(matmul, [x, y], { transposeA: tx, transposeB: ty });
    const da = () => {
      const perMatrix = transposeA
        ? product(c.input(1), c.gradient, transposeB, true)
        : product(c.gradient, c.input(1), false, !transposeB);
      return sumToShape(b, perMatrix, c.inputTypes[0]!.shape);
    };
    const db = () => {
      // One matrix for all rows of a: its gradient is one product over all of them.
      const shared = c.inputTypes[1]!.shape.length === 2 && !transposeA;
      const [a, dy] = shared ? [allRows(b, c.input(0)), allRows(b, c.gradient)] : [c.input(0), c.gradient];
      const perMatrix = transposeB ? product(dy, a, true, transposeA) : product(a, dy, !transposeA, false);
      return sumToShape(b, perMatrix, c.inputTypes[1]!.shape);
    };
    const dbias = () => b.apply(sum, [allRows(b, c.gradient)], { axes: [0], keepDims: false });
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
    {
      name: "batch",
      inputs: [{ shape: [3, 7, 19] }, { shape: [3, 19, 5] }, { shape: [5] }],
      attributes: { transposeA: false, transposeB: false },
    },
    {
      name: "batch, both transposed",
      inputs: [{ shape: [2, 9, 6] }, { shape: [2, 33, 9] }, undefined],
      attributes: { transposeA: true, transposeB: true },
    },
    {
      name: "batch, a transposed",
      inputs: [{ shape: [4, 35, 3] }, { shape: [4, 35, 2] }, undefined],
      attributes: { transposeA: true, transposeB: false },
    },
    {
      name: "batches broadcast",
      inputs: [{ shape: [2, 1, 4, 5] }, { shape: [3, 5, 17] }, undefined],
      attributes: { transposeA: false, transposeB: false },
    },
    {
      name: "one matrix for a batch of rows",
      inputs: [{ shape: [2, 3, 4, 21] }, { shape: [18, 21] }, { shape: [18] }],
      attributes: { transposeA: false, transposeB: true },
    },
    {
      name: "one matrix for a batch, a transposed",
      inputs: [{ shape: [3, 21, 4] }, { shape: [21, 6] }, undefined],
      attributes: { transposeA: true, transposeB: false },
    },
    {
      name: "one matrix times a batch",
      inputs: [{ shape: [6, 21] }, { shape: [3, 21, 34] }, undefined],
      attributes: { transposeA: false, transposeB: false },
    },
    {
      name: "columns",
      inputs: [{ shape: [5, 70] }, { shape: [2, 70, 1] }, undefined],
      attributes: { transposeA: false, transposeB: false },
    },
    {
      name: "large matrices",
      inputs: [{ shape: [2, 130, 70] }, { shape: [2, 70, 131] }, undefined],
      attributes: { transposeA: false, transposeB: false },
    },
  ],
});
