// Losses.

import { ArgumentError } from "../../errors/index.ts";
import { expectShape } from "../../ops/checks.ts";
import { ops } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";

/** How a loss is reduced: to the mean, to the sum, or not at all. */
export type Reduction = "mean" | "sum" | "none";

/** Squared error (`torch.nn.functional.mse_loss`): a scalar, or with "none" the errors of the elements. */
export function mse(prediction: Tensor, target: Tensor, reduction: Reduction = "mean"): Tensor {
  switch (reduction) {
    case "mean":
    case "sum":
      return apply(ops.mseLoss, [prediction, target], { reduction });
    case "none":
      expectShape("mse", "target", target, prediction.shape, "as the prediction (losses do not broadcast)");
      return scope(() => prediction.sub(target).square());
    default:
      throw new ArgumentError({
        op: "mse",
        problem: `reduction is ${String(reduction)}.`,
        advice: 'Choose "mean", "sum" or "none".',
      });
  }
}
