// Rules of ops that make values out of nothing, and of repeating them.

import type { Rules } from "../rule.ts";

/** Rules of constants and broadcasting. */
export const creationRules: Rules = {
  fill: (graph, { attributes: { value }, shape, dtype }) => {
    const number = graph.scalar(dtype, value);
    return shape.length === 0 ? number : graph.node("Expand", [number, graph.sizes(shape)], {}, { dtype, shape });
  },
  broadcastTo: (graph, { inputs: [x], shape, dtype }) =>
    graph.node("Expand", [graph.ours(x!), graph.sizes(shape)], {}, { dtype, shape }),
};
