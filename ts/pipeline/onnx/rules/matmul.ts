// The rule of matrix products.

import type { OnnxGraph, OnnxValue } from "../graph.ts";
import type { Rules } from "../rule.ts";
import type { Size } from "../size.ts";

/** The value with its last two axes told apart the other way round; nothing moves. */
export function swapped({ name, dtype, shape, order }: OnnxValue): OnnxValue {
  const [rows, columns] = [shape.length - 2, shape.length - 1];
  return {
    name,
    dtype,
    shape: [...shape.slice(0, rows), shape[columns], shape[rows]],
    order: order.map((axis) => (axis === rows ? columns : axis === columns ? rows : axis)),
  };
}

const isSwapped = ({ order }: OnnxValue): boolean => order[0] === 1;

/** a b + bias for two matrices: Gemm reads each as it is stored. */
function matrixProduct(
  graph: OnnxGraph,
  a: OnnxValue,
  b: OnnxValue,
  bias: OnnxValue | undefined,
  shape: readonly Size[],
): OnnxValue {
  const attributes = { transA: isSwapped(a) ? 1 : 0, transB: isSwapped(b) ? 1 : 0 };
  return graph.node("Gemm", [a, b, bias], attributes, { dtype: "float32", shape });
}

/** How many rows all matrices of a value have together; undefined where that is no line in the batch. */
function allRows({ shape }: OnnxValue): Size | undefined {
  const outer = shape.slice(0, -1);
  const growing = outer.filter((size) => typeof size !== "number");
  const count = outer.reduce<number>((product, size) => product * (typeof size === "number" ? size : 1), 1);
  if (growing.length > 1) return undefined;
  return growing.length === 0 ? count : { times: growing[0].times * count, plus: growing[0].plus * count };
}

/** Rules of products. */
export const matmulRules: Rules = {
  matmul: (graph, { inputs: [x, y, bias], attributes: { transposeA, transposeB }, shape, dtype }) => {
    const a = transposeA ? swapped(x!) : x!;
    const b = transposeB ? swapped(y!) : y!;
    if (a.shape.length === 2 && b.shape.length === 2) return matrixProduct(graph, a, b, bias, shape);
    // The weight of a linear layer, which lies as PyTorch's does: so it need not be moved.
    const rows = b.shape.length === 2 && isSwapped(b) ? allRows(a) : undefined;
    if (rows !== undefined) {
      const product = matrixProduct(graph, graph.reshape(a, [rows, a.shape.at(-1)!]), b, bias, [rows, b.shape[1]]);
      return graph.reshape(product, shape);
    }
    const product = graph.node("MatMul", [graph.ours(a), graph.ours(b)], {}, { dtype, shape });
    return bias ? graph.node("Add", [product, bias], {}, { dtype, shape }) : product;
  },
};
