// Attention in this library's layout, heads within the channels, and in PyTorch's, heads as an axis.

import { ShapeError, showShape } from "../../errors/index.ts";
import { broadcastsTo, expectDType, expectSameDType, expectShape, floating } from "../../ops/checks.ts";
import type { Shape } from "../../ops/index.ts";
import { ops, sizeOf } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/** Who may look at whom, and how sharply. */
export interface ScaledDotProductAttentionOptions {
  /**
   * int32: 0 where a query may not look at a key; floating: added to the scores (-Infinity hides, too). No gradient
   * reaches a mask: one that requires a gradient is refused.
   */
  readonly mask?: Tensor;
  /** Query i looks at keys 0 to i only; default false. */
  readonly causal?: boolean;
  /** Factor of the scores; default 1 / sqrt(D), D being the channels of a head of q. */
  readonly scale?: number;
}

/** Options of `attention`. */
export interface AttentionOptions extends ScaledDotProductAttentionOptions {
  /** Number of heads that the channels are shared out to; default 1. */
  readonly heads?: number;
}

/**
 * softmax(scale q kᵀ + mask) v in each head (Vaswani et al. 2017, eq. 1): q [B, Lq, heads D], k [B, Lk, heads D],
 * v [B, Lk, heads Dv] -> [B, Lq, heads Dv], a head being adjacent channels, so that nothing is moved between linear
 * layers. The mask broadcasts to [B, heads, Lq, Lk]. A query that may look nowhere gives 0. Needs memory for tiles of
 * the weights only, never for all of [Lq, Lk]. Throws ShapeError where operands do not fit.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  expectTensor("attention", "q", q);
  const { heads = 1, mask, causal = false, scale = 1 / Math.sqrt(q.shape[q.rank - 1] / heads) } = options;
  return apply(ops.attention, [q, k, v, mask], { heads, scale, causal });
}

/**
 * The same for heads that are an axis of their own (`torch.nn.functional.scaled_dot_product_attention`): q [..., Lq, D],
 * k [..., Lk, D], v [..., Lk, Dv] -> [..., Lq, Dv] with equal leading axes, the mask broadcast to [..., Lq, Lk].
 * PyTorch gives NaN for a query that may look nowhere, this 0. Throws ShapeError where operands do not fit.
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: ScaledDotProductAttentionOptions = {},
): Tensor {
  const operands = Object.entries({ q, k, v });
  for (const [name, x] of operands) expectTensor("scaledDotProductAttention", name, x);
  const lead = q.shape.slice(0, -2);
  for (const [name, x] of operands)
    // prettier-ignore
    if (x.rank < 2 || x.rank !== q.rank || lead.some((n, axis) => x.shape[axis] !== n))
      throw new ShapeError({
        op: "scaledDotProductAttention",
        problem: `${name} has shape ${showShape(x.shape)}, expected ${showShape(lead).slice(0, -1)}${lead.length > 0 ? ", " : ""}length, channels].`,
        advice: "The axes before the last two must be those of q.",
      });
  expectFitting(q, k, v);
  const { mask, ...rest } = options;
  if (mask) expectMask(mask, q, k);
  return scope(() => {
    const merged = (x: Tensor): Tensor => x.reshape([sizeOf(lead), ...x.shape.slice(-2)]);
    const y = attention(merged(q), merged(k), merged(v), { ...rest, mask: mask && mergeMask(mask, lead) });
    return y.reshape([...lead, ...y.shape.slice(-2)]);
  });
}

/** Refuses keys and values that do not fit the queries, whose leading axes they share. */
function expectFitting(q: Tensor, k: Tensor, v: Tensor): void {
  const op = "scaledDotProductAttention";
  const lead = q.shape.slice(0, -2);
  const keys = k.shape[k.rank - 2];
  expectDType(op, "q", q, floating);
  expectSameDType(op, ["q", "k"], q, k);
  expectSameDType(op, ["q", "v"], q, v);
  expectShape(op, "k", k, [...lead, keys, q.shape[q.rank - 1]], "(channels of q)");
  expectShape(op, "v", v, [...lead, keys, v.shape[v.rank - 1]], "(length of k)");
}

/** Refuses a mask that does not say for each query and key whether they may meet. */
function expectMask(mask: Tensor, q: Tensor, k: Tensor): void {
  const op = "scaledDotProductAttention";
  expectTensor(op, "mask", mask);
  expectDType(op, "mask", mask, [q.dtype, "int32"]);
  const scores = [...q.shape.slice(0, -1), k.shape[k.rank - 2]];
  if (!broadcastsTo(mask.shape, scores))
    throw new ShapeError({
      op,
      problem: `mask has shape ${showShape(mask.shape)}, which does not broadcast to ${showShape(scores)}.`,
      advice: "Its last axes are queries and keys, those before them the leading ones of q.",
    });
}

/** A mask that broadcasts to [...lead, Lq, Lk] as one that does to [lead as one axis, 1, Lq, Lk]. */
function mergeMask(mask: Tensor, lead: Shape): Tensor {
  const own = mask.shape.slice(0, -2);
  const [queries, keys] = [1, 1, ...mask.shape].slice(-2);
  if (own.every((n) => n === 1)) return mask.reshape([1, 1, queries, keys]);
  return mask.broadcastTo([...lead, queries, keys]).reshape([sizeOf(lead), 1, queries, keys]);
}
