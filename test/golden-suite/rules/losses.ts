// The operations of golden/ops/losses.

import { bceWithLogits, crossEntropy, huber, l1, mse, pseudoHuber, smoothL1 } from "langevin";
import type { Rules } from "./rule.ts";

export const lossRules: Rules = {
  mse_loss: ({ inputs: { pred, target }, params: { reduction } }) => mse(pred, target, { reduction }),
  mse_weighted: ({ inputs: { pred, target, weight } }) => mse(pred, target, { weight }),
  l1_loss: ({ inputs: { pred, target }, params: { reduction } }) => l1(pred, target, { reduction }),
  huber_loss: ({ inputs: { pred, target }, params: { reduction, delta } }) => huber(pred, target, { reduction, delta }),
  smooth_l1_loss: ({ inputs: { pred, target }, params: { reduction, beta } }) =>
    smoothL1(pred, target, { reduction, beta }),
  pseudo_huber: ({ inputs: { pred, target }, params: { c } }) => pseudoHuber(pred, target, { c }),
  cross_entropy: ({ inputs: { logits, target }, params: { reduction } }) => crossEntropy(logits, target, { reduction }),
  bce_with_logits: ({ inputs: { logits, target }, params: { reduction } }) =>
    bceWithLogits(logits, target, { reduction }),
};
