// Rules of ops that pick elements by index. An index out of range, which gives NaN here, is an error in other runtimes.

import type { OnnxValue } from "../graph.ts";
import type { Rules } from "../rule.ts";

const positive = (axis: number, { shape }: OnnxValue): number => (axis < 0 ? axis + shape.length : axis);

/** Rules of picking and adding up by index. */
export const indexingRules: Rules = {
  embedding: (graph, { inputs: [table, index], shape, dtype }) =>
    graph.node("Gather", [graph.ours(table!), graph.ours(index!)], { axis: 0 }, { dtype, shape }),

  gather: (graph, { inputs: [x, index], attributes: { axis }, shape, dtype }) =>
    graph.node("GatherElements", [graph.ours(x!), graph.ours(index!)], { axis: positive(axis, x!) }, { dtype, shape }),

  scatterAdd: (graph, { inputs: [index, x], attributes: { axis }, shape, dtype }) => {
    const zeros = graph.node("Expand", [graph.scalar(dtype, 0), graph.sizes(shape)], {}, { dtype, shape });
    const attributes = { axis: positive(axis, x!), reduction: "add" };
    return graph.node("ScatterElements", [zeros, graph.ours(index!), graph.ours(x!)], attributes, { dtype, shape });
  },
};
