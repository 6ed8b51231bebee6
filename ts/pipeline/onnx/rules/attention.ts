// The rule of attention, in the operators that every runtime has: two products around a softmax.

import type { OnnxGraph, OnnxValue } from "../graph.ts";
import type { Rules } from "../rule.ts";
import { fixedSize } from "../rule.ts";
import { Formula } from "./element-wise.ts";
import { swapped } from "./matmul.ts";

/** [B, L, heads * D] as [B, heads, L, D]. */
function headsOf(graph: OnnxGraph, x: OnnxValue, heads: number): OnnxValue {
  const [batch, length, channels] = x.shape;
  const depth = fixedSize("attention", "number of channels", channels) / heads;
  return graph.meaning(graph.reshape(x, [batch, length, heads, depth]), [0, 2, 1, 3]);
}

/** 1 where query i may look at key j: j <= i, as a boolean [Lq, Lk]. */
function causalMask(graph: OnnxGraph, queries: number, keys: number): OnnxValue {
  const looks = Uint8Array.from({ length: queries * keys }, (_, at) => (at % keys <= Math.floor(at / keys) ? 1 : 0));
  return graph.constant("bool", [queries, keys], looks);
}

/** Rules of attention. */
export const attentionRules: Rules = {
  // softmax(scale q k^T + mask) v. Where a query may not look, the score is -Infinity and the weight is set to 0 again
  // afterwards: a query that may look nowhere gives 0, where softmax gives NaN.
  attention: (graph, { inputs: [q, k, v, given], attributes: { heads, scale, causal }, shape, dtype }) => {
    const [queries, keys, values] = [q!, k!, v!].map((x) => headsOf(graph, x, heads));
    const lengths = [queries.shape[2], keys.shape[2]];
    const f = new Formula(graph, [queries.shape[0], heads, ...lengths]);
    const scaledQueries = new Formula(graph, queries.shape, queries.order).mul(queries, scale);
    let scores = f.node("MatMul", [graph.ours(scaledQueries), graph.ours(swapped(keys))]);
    const mask = given && graph.ours(given);
    if (mask?.dtype === "int32") scores = f.where(graph.cast(mask, "bool"), scores, -Infinity);
    else if (mask) scores = f.add(scores, mask);
    if (causal) {
      const [m, n] = lengths.map((length) => fixedSize("attention", "length", length));
      scores = f.where(causalMask(graph, m, n), scores, -Infinity);
    }
    let weights = f.node("Softmax", [scores], { axis: -1 });
    if (mask) weights = f.where(f.node("Equal", [scores, -Infinity], {}, "bool"), 0, weights);
    const width = fixedSize("attention", "number of channels", values.shape[3]);
    const heard = { dtype, shape: [queries.shape[0], heads, queries.shape[2], width] };
    const y = graph.node("MatMul", [weights, graph.ours(values)], {}, heard);
    // [B, heads, L, D] means [B, L, heads, D] from here on.
    const joined = { ...y, shape: [y.shape[0], y.shape[2], y.shape[1], y.shape[3]], order: [0, 2, 1, 3] };
    return graph.reshape(joined, shape);
  },
};
