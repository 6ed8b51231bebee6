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

/** a b + bias for two matrices: Gemm reads each as it is stored. */
function matrixProduct(
  graph: OnnxGraph,
  a: OnnxValue,
  b: OnnxValue,
  bias: OnnxValue | undefined,
  shape: readonly Size[],
): OnnxValue {
  const isSwapped = ({ order }: OnnxValue): number => (order[0] === 1 ? 1 : 0);
  return graph.node("Gemm", [a, b, bias], { transA: isSwapped(a), transB: isSwapped(b) }, { dtype: "float32", shape });
}

/** Rules of products. */
export const matmulRules: Rules = {
  matmul: (graph, { inputs: [x, y, bias], attributes: { transposeA, transposeB }, shape, dtype }) => {
    const a = transposeA ? swapped(x!) : x!;
    const b = transposeB ? swapped(y!) : y!;
    if (a.shape.length === 2 && b.shape.length === 2) return matrixProduct(graph, a, b, bias, shape);
    const product = graph.node("MatMul", [graph.ours(a), graph.ours(b)], {}, { dtype, shape });
    return bias ? graph.node("Add", [product, bias], {}, { dtype, shape }) : product;
  },
};
