// The operations of golden/ops/losses.

import { mse } from "langevin";
import type { Rules } from "./rule.ts";

export const lossRules: Rules = {
  mse_loss: ({ inputs: { pred, target }, params }) => mse(pred, target, params.reduction),
};
