// Losses that are computed in one pass.

import { neg } from "./arithmetic.ts";
import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import type { Op, TensorType } from "./types.ts";
import { defineOp } from "./types.ts";

const reduction = { reduction: ["mean", "sum"] } as const;

function expectPair(op: string, prediction: TensorType, target: TensorType): void {
  expectDType(op, "prediction", prediction, floating);
  expectSameDType(op, ["prediction", "target"], prediction, target);
  expectShape(op, "target", target, prediction.shape, "as the prediction (losses do not broadcast)");
}

/** Squared error over all elements, summed pairwise, divided by their number for "mean". */
export const mseLoss: Op<typeof reduction> = defineOp({
  name: "mseLoss",
  inputs: ["prediction", "target"],
  attributes: reduction,
  infer([prediction, target]) {
    expectPair("mseLoss", prediction!, target!);
    return { shape: [], dtype: prediction!.dtype };
  },
  keeps: { inputs: [0, 1] },
  gradient(b, c) {
    const dPrediction = b.apply(mseLossGradient, [c.input(0), c.input(1), c.gradient], c.attributes);
    return [c.needs(0) ? dPrediction : undefined, c.needs(1) ? b.apply(neg, [dPrediction], {}) : undefined];
  },
  samples: [
    { name: "mean", inputs: [{ shape: [4, 8, 8, 3] }, { shape: [4, 8, 8, 3] }], attributes: { reduction: "mean" } },
    { name: "sum", inputs: [{ shape: [37] }, { shape: [37] }], attributes: { reduction: "sum" } },
    { name: "long", inputs: [{ shape: [5, 1001] }, { shape: [5, 1001] }], attributes: { reduction: "mean" } },
  ],
});

/** 2 (prediction - target) dy, divided by the number of elements for "mean"; dy is a scalar. */
export const mseLossGradient: Op<typeof reduction> = defineOp({
  name: "mseLossGradient",
  inputs: ["prediction", "target", "dy"],
  attributes: reduction,
  inPlace: [0, 1],
  infer([prediction, target, dy]) {
    expectPair("mseLossGradient", prediction!, target!);
    expectShape("mseLossGradient", "dy", dy!, [], "(a scalar)");
    return prediction!;
  },
  samples: [
    {
      name: "mean",
      inputs: [{ shape: [4, 3, 3, 3] }, { shape: [4, 3, 3, 3] }, { shape: [] }],
      attributes: { reduction: "mean" },
    },
    { name: "sum", inputs: [{ shape: [37] }, { shape: [37] }, { shape: [] }], attributes: { reduction: "sum" } },
  ],
});

/**
 * Loss and gradient of `mseLoss` in one pass, each written to memory that is given: what plans make of the two. `dy` is the
 * gradient of the loss.
 */
export const mseLossWithGradient: Op<typeof reduction> = defineOp({
  name: "mseLossWithGradient",
  inputs: ["loss", "gradient", "prediction", "target", "dy"],
  attributes: reduction,
  writes: [0, 1],
  infer([loss, gradient, prediction, target, dy]) {
    const op = "mseLossWithGradient";
    expectPair(op, prediction!, target!);
    expectSameDType(op, ["prediction", "gradient"], prediction!, gradient!);
    expectShape(op, "gradient", gradient!, prediction!.shape, "as the prediction");
    expectSameDType(op, ["prediction", "loss"], prediction!, loss!);
    expectShape(op, "loss", loss!, [], "(a scalar)");
    expectShape(op, "dy", dy!, [], "(a scalar)");
    return loss!;
  },
  samples: [
    lossAndGradient("mean", [4, 3, 3, 3], "mean"),
    lossAndGradient("sum", [37], "sum"),
    lossAndGradient("long", [5, 1001], "mean"),
  ],
});

function lossAndGradient(name: string, shape: readonly number[], reduced: "mean" | "sum") {
  return {
    name,
    inputs: [{ shape: [] }, { shape }, { shape }, { shape }, { shape: [] }],
    attributes: { reduction: reduced },
  };
}
