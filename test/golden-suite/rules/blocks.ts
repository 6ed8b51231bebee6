// The blocks of golden/ops/blocks, written out in single operations.

import type { Tensor } from "langevin";
import { attention, conv2d, groupNorm, layerNorm, linear } from "langevin";
import type { Rule, Rules } from "./rule.ts";

/** norm, SiLU, 3x3 convolution, twice; the embedding is added between, the input through a 1x1 convolution at the end. */
const resnetBlock: Rule = ({ inputs, params: { groups, eps: epsilon } }) => {
  const { emb, n1w, n1b, c1w, c1b, ew, eb, n2w, n2b, c2w, c2b, sw, sb } = inputs;
  const x = inputs.x.permute([0, 2, 3, 1]);
  const fromOIHW = (w: Tensor): Tensor => w.permute([2, 3, 1, 0]);
  const first = conv2d(groupNorm(x, groups, n1w, n1b, { epsilon }).silu(), fromOIHW(c1w), c1b, { padding: 1 });
  const embedded = linear(emb.silu(), ew.transpose(), eb);
  const h = first.add(embedded.reshape([embedded.shape[0], 1, 1, embedded.shape[1]]));
  const second = conv2d(groupNorm(h, groups, n2w, n2b, { epsilon }).silu(), fromOIHW(c2w), c2b, { padding: 1 });
  return second.add(conv2d(x, fromOIHW(sw), sb)).permute([0, 3, 1, 2]);
};

/** Attention and a feed-forward network, each after a norm and added to its input. */
const transformerBlock: Rule = ({ inputs, params: { heads, eps: epsilon } }) => {
  const { x, lnw, lnb, qkvw, qkvb, ow, ob, ln2w, ln2b, f1w, f1b, f2w, f2b } = inputs;
  const channels = x.shape[2];
  const dense = (h: Tensor, weight: Tensor, bias: Tensor): Tensor => linear(h, weight.transpose(), bias);
  const qkv = dense(layerNorm(x, channels, lnw, lnb, { epsilon }), qkvw, qkvb);
  const [q, k, v] = [0, 1, 2].map((i) => qkv.slice(null, null, [i * channels, (i + 1) * channels]));
  const h = x.add(dense(attention(q, k, v, { heads }), ow, ob));
  return h.add(dense(dense(layerNorm(h, channels, ln2w, ln2b, { epsilon }), f1w, f1b).gelu(), f2w, f2b));
};

export const blockRules: Rules = { resnet_block: resnetBlock, transformer_block: transformerBlock };
