// The blocks of golden/ops/blocks, written out in single operations.

import type { Tensor } from "langevin";
import { conv2d, groupNorm, linear } from "langevin";
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

export const blockRules: Rules = { resnet_block: resnetBlock };
