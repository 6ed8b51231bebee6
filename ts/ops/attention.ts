// Attention over several heads, and its fused gradient.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { reshape } from "./arithmetic.ts";
import { broadcastsTo, expectDType, expectRank, expectSameDType, expectShape, floating } from "./checks.ts";
import { slice } from "./shape.ts";
import type { AttributesOf, Op, Sample, TensorType } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

type AttentionSignature = { readonly heads: "int"; readonly scale: "float"; readonly causal: "bool" };
type AttentionAttributes = AttributesOf<AttentionSignature>;

/** Refuses operands that do not fit each other. */
function expectAttention(
  op: string,
  q: TensorType,
  k: TensorType,
  v: TensorType,
  mask: TensorType | undefined,
  heads: number,
): void {
  expectRank(op, "q", q, 3, "[B, Lq, heads * D]");
  expectRank(op, "k", k, 3, "[B, Lk, heads * D]");
  expectRank(op, "v", v, 3, "[B, Lk, heads * Dv]");
  expectDType(op, "q", q, floating);
  expectSameDType(op, ["q", "k"], q, k);
  expectSameDType(op, ["q", "v"], q, v);
  const [batch, queries, channels] = q.shape;
  const keys = k.shape[1];
  expectShape(op, "k", k, [batch, keys, channels], "(batch and channels of q)");
  expectShape(op, "v", v, [batch, keys, v.shape[2]], "(batch and length of k)");
  if (!Number.isInteger(heads) || heads < 1)
    throw new ArgumentError({ op, problem: `heads is ${heads}, expected an integer >= 1.` });
  if (channels % heads !== 0 || v.shape[2] % heads !== 0)
    throw new ShapeError({
      op,
      problem: `${channels} channels of q and k and ${v.shape[2]} of v cannot be shared out evenly to ${heads} heads.`,
    });
  if (!mask) return;
  expectDType(op, "mask", mask, [q.dtype, "int32"]);
  const scores = [batch, heads, queries, keys];
  if (!broadcastsTo(mask.shape, scores))
    throw new ShapeError({
      op,
      problem: `mask has shape ${showShape(mask.shape)}, which does not broadcast to [batch, heads, queries, keys] = ${showShape(scores)}.`,
    });
}

interface Form {
  readonly name: string;
  readonly batch: number;
  readonly lengths: readonly [queries: number, keys: number];
  readonly heads: number;
  /** Channels of a head in q and k, and in v. */
  readonly channels: readonly [number, number];
  readonly causal?: boolean;
  readonly mask?: Sample<AttentionAttributes>["inputs"][number];
}

/** A mask that says with 0 where queries may not look. */
const choice = (shape: readonly number[]) => ({ shape, dtype: "int32", range: [0, 2] }) as const;

const forms: readonly Form[] = [
  { name: "one head", batch: 2, lengths: [5, 5], heads: 1, channels: [8, 8] },
  { name: "heads", batch: 2, lengths: [19, 19], heads: 3, channels: [16, 16] },
  { name: "cross", batch: 2, lengths: [7, 11], heads: 2, channels: [5, 3] },
  { name: "one key", batch: 1, lengths: [4, 1], heads: 2, channels: [3, 4] },
  { name: "one query", batch: 3, lengths: [1, 37], heads: 1, channels: [33, 17] },
  { name: "causal", batch: 2, lengths: [21, 21], heads: 2, channels: [4, 4], causal: true },
  { name: "causal, fewer keys", batch: 1, lengths: [9, 5], heads: 2, channels: [4, 6], causal: true },
  { name: "causal, more keys", batch: 1, lengths: [5, 9], heads: 1, channels: [4, 6], causal: true },
  { name: "added mask", batch: 2, lengths: [6, 7], heads: 2, channels: [4, 4], mask: { shape: [2, 2, 6, 7] } },
  {
    name: "added mask for all heads",
    batch: 2,
    lengths: [6, 7],
    heads: 2,
    channels: [4, 4],
    mask: { shape: [2, 1, 6, 7] },
  },
  { name: "added mask of keys", batch: 2, lengths: [3, 40], heads: 2, channels: [4, 4], mask: { shape: [40] } },
  { name: "added mask of queries", batch: 2, lengths: [5, 6], heads: 2, channels: [4, 4], mask: { shape: [5, 1] } },
  { name: "choosing mask", batch: 2, lengths: [6, 21], heads: 2, channels: [4, 4], mask: choice([2, 1, 6, 21]) },
  { name: "choosing mask of heads", batch: 2, lengths: [4, 5], heads: 3, channels: [2, 2], mask: choice([3, 1, 1]) },
  {
    name: "choosing mask, causal",
    batch: 2,
    lengths: [18, 18],
    heads: 2,
    channels: [4, 4],
    causal: true,
    mask: choice([1, 2, 18, 18]),
  },
  { name: "several tiles", batch: 1, lengths: [60, 300], heads: 2, channels: [20, 36], mask: choice([60, 300]) },
  { name: "several tiles, causal", batch: 1, lengths: [270, 270], heads: 1, channels: [9, 7], causal: true },
];

/** The sample of each form: q, k, v, the gradient of the output where it is an input, and the mask. */
function samplesOf(withGradient: boolean): Sample<AttentionAttributes>[] {
  return forms.map(
    ({ name, batch, lengths: [queries, keys], heads, channels: [depth, width], causal = false, mask }) => ({
      name,
      inputs: [
        { shape: [batch, queries, heads * depth], range: [-2, 2] },
        { shape: [batch, keys, heads * depth], range: [-2, 2] },
        { shape: [batch, keys, heads * width] },
        ...(withGradient ? [{ shape: [batch, queries, heads * width] }] : []),
        mask,
      ],
      attributes: { heads, scale: 1 / Math.sqrt(depth), causal },
    }),
  );
}

/** Scores of one head, those that a mask hides included. */
function scoresOf(q: TensorType, k: TensorType): number {
  return q.shape[0] * q.shape[1] * k.shape[1];
}

/**
 * softmax(scale q k^T + mask) v for each head (Vaswani et al. 2017, eq. 1); q [B, Lq, heads * D], k [B, Lk, heads * D],
 * v [B, Lk, heads * Dv], y [B, Lq, heads * Dv], a head being adjacent channels. A floating mask is added to the scores,
 * an int32 one says with 0 where a query may not look; it broadcasts to [B, heads, Lq, Lk]. Causal: query i looks at
 * keys 0 to i. A query that may look nowhere gives 0.
 */
export const attention: Op<AttentionSignature> = defineOp({
  name: "attention",
  inputs: ["q", "k", "v", "mask?"],
  attributes: { heads: "int", scale: "float", causal: "bool" },
  terms: ([q, k], { heads }) => k!.shape[1] + q!.shape[2] / heads,
  multiplyAdds: ([q, k, v]) => scoresOf(q!, k!) * (q!.shape[2] + v!.shape[2]),
  infer([q, k, v, mask], { heads }) {
    expectAttention("attention", q!, k!, v!, mask, heads);
    return { shape: [q!.shape[0], q!.shape[1], v!.shape[2]], dtype: q!.dtype };
  },
  keeps: { inputs: [0, 1, 2, 3] },
  constants: [3],
  gradient(b, c) {
    const mask = c.inputTypes[3] && c.input(3);
    const all = b.apply(attentionGradient, [c.input(0), c.input(1), c.input(2), c.gradient, mask], c.attributes);
    let start = 0;
    return [0, 1, 2].map((i) => {
      const { shape } = c.inputTypes[i]!;
      const part = { starts: [start], stops: [(start += sizeOf(shape))], steps: [1] };
      return c.needs(i) ? b.apply(reshape, [b.apply(slice, [all], part)], { shape }) : undefined;
    });
  },
  samples: samplesOf(false),
});

/** The gradients of q, k and v, one after the other; the weights are computed again. */
export const attentionGradient: Op<AttentionSignature> = defineOp({
  name: "attentionGradient",
  inputs: ["q", "k", "v", "dy", "mask?"],
  attributes: { heads: "int", scale: "float", causal: "bool" },
  terms: ([q, k, v], { heads }) => k!.shape[1] + Math.max(q!.shape[1], q!.shape[2] / heads, v!.shape[2] / heads),
  // The scores again, dq and dk; dv and the gradient of the weights.
  multiplyAdds: ([q, k, v]) => scoresOf(q!, k!) * (3 * q!.shape[2] + 2 * v!.shape[2]),
  infer([q, k, v, dy, mask], { heads }) {
    expectAttention("attentionGradient", q!, k!, v!, mask, heads);
    expectSameDType("attentionGradient", ["q", "dy"], q!, dy!);
    expectShape("attentionGradient", "dy", dy!, [q!.shape[0], q!.shape[1], v!.shape[2]], "as the output");
    return { shape: [sizeOf(q!.shape) + sizeOf(k!.shape) + sizeOf(v!.shape)], dtype: q!.dtype };
  },
  samples: samplesOf(true),
});
