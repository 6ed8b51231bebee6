// Losses: what training minimises.

import { ArgumentError, ShapeError, showShape } from "../../errors/index.ts";
import { expectDType, expectSameDType, expectShape, floating } from "../../ops/checks.ts";
import { ops } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/** How a loss is reduced: to the mean, to the sum, or not at all. */
export type Reduction = "mean" | "sum" | "none";

/** Options of every loss. */
export interface LossOptions {
  /** Default "mean": over the number of errors, whatever their weights. */
  readonly reduction?: Reduction;
  /**
   * Factors of the errors. Its axes are the first ones of the errors, each of the same size or 1: [N] has one factor for
   * each sample.
   */
  readonly weight?: Tensor;
}

/** Refuses a pair of which a loss makes no sense; losses do not broadcast. */
function expectPair(op: string, prediction: Tensor, target: Tensor): void {
  expectTensor(op, "prediction", prediction);
  expectTensor(op, "target", target);
  expectDType(op, "prediction", prediction, floating);
  expectSameDType(op, ["prediction", "target"], prediction, target);
  expectShape(op, "target", target, prediction.shape, "as the prediction (losses do not broadcast)");
}

/** The errors times their weights. */
function weighted(op: string, errors: Tensor, weight: Tensor | undefined): Tensor {
  if (!weight) return errors;
  expectTensor(op, "weight", weight);
  const { shape } = errors;
  if (weight.rank > shape.length || weight.shape.some((n, axis) => n !== 1 && n !== shape[axis]))
    throw new ShapeError({
      op,
      problem: `weight has shape ${showShape(weight.shape)}, the errors ${showShape(shape)}.`,
      advice: "Its axes are the first ones of the errors, each of the same size or 1.",
    });
  return errors.mul(weight.reshape(shape.map((_, axis) => weight.shape[axis] ?? 1)));
}

/** Weights and reduces what `errors` computes, whose steps are freed. */
function reduced(op: string, { reduction = "mean", weight }: LossOptions, errors: () => Tensor): Tensor {
  return scope(() => {
    const all = weighted(op, errors(), weight);
    switch (reduction) {
      case "mean":
        return all.mean();
      case "sum":
        return all.sum();
      case "none":
        return all;
      default:
        throw new ArgumentError({
          op,
          problem: `reduction is ${String(reduction)}.`,
          advice: 'Choose "mean", "sum" or "none".',
        });
    }
  });
}

/** Refuses a negative parameter, or with `positive` also 0. */
function expectParameter(op: string, name: string, value: number, positive: boolean): void {
  if (!(positive ? value > 0 : value >= 0))
    throw new ArgumentError({ op, problem: `${name} is ${value}, expected a number ${positive ? ">" : ">="} 0.` });
}

/** Squared error (`torch.nn.functional.mse_loss`): a scalar, or with "none" the errors of the elements. */
export function mse(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  expectPair("mse", prediction, target);
  const { reduction = "mean", weight } = options;
  if (!weight && (reduction === "mean" || reduction === "sum"))
    return apply(ops.mseLoss, [prediction, target], { reduction });
  return reduced("mse", options, () => prediction.sub(target).square());
}

/** Absolute error (`torch.nn.functional.l1_loss`). The gradient is 0 where prediction and target are equal. */
export function l1(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  expectPair("l1", prediction, target);
  return reduced("l1", options, () => prediction.sub(target).abs());
}

/** d^2 / 2 where |d| <= delta and delta (|d| - delta / 2) beyond, with q the part of |d| up to delta. */
function huberErrors(prediction: Tensor, target: Tensor, delta: number): Tensor {
  const size = prediction.sub(target).abs();
  const q = size.clamp({ max: delta });
  return q.square().mul(0.5).add(size.sub(q).mul(delta));
}

/**
 * With d = prediction - target: d^2 / 2 where |d| <= delta, delta (|d| - delta / 2) elsewhere
 * (`torch.nn.functional.huber_loss`). Throws ArgumentError unless delta > 0.
 */
export function huber(
  prediction: Tensor,
  target: Tensor,
  { delta = 1, ...options }: LossOptions & { readonly delta?: number } = {},
): Tensor {
  expectPair("huber", prediction, target);
  expectParameter("huber", "delta", delta, true);
  return reduced("huber", options, () => huberErrors(prediction, target, delta));
}

/**
 * With d = prediction - target: d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere
 * (`torch.nn.functional.smooth_l1_loss`); with beta 0 it is `l1`. Throws ArgumentError if beta < 0.
 */
export function smoothL1(
  prediction: Tensor,
  target: Tensor,
  { beta = 1, ...options }: LossOptions & { readonly beta?: number } = {},
): Tensor {
  expectPair("smoothL1", prediction, target);
  expectParameter("smoothL1", "beta", beta, false);
  return reduced("smoothL1", options, () =>
    beta === 0 ? prediction.sub(target).abs() : huberErrors(prediction, target, beta).div(beta),
  );
}

/**
 * sqrt(|d|^2 + c^2) - c for each sample, |d| being the length of its whole difference (Song and Dhariwal 2023, the loss of
 * consistency models; PyTorch has none): [N, ...] -> errors [N]. A small c makes it robust. Throws ArgumentError unless c > 0.
 */
export function pseudoHuber(
  prediction: Tensor,
  target: Tensor,
  { c = 0.03, ...options }: LossOptions & { readonly c?: number } = {},
): Tensor {
  expectPair("pseudoHuber", prediction, target);
  expectParameter("pseudoHuber", "c", c, true);
  return reduced("pseudoHuber", options, () => {
    const axes = prediction.shape.map((_, axis) => axis).slice(1);
    const square = prediction.sub(target).square().sum(axes);
    // The difference of the roots, without their cancellation.
    return square.div(
      square
        .add(c * c)
        .sqrt()
        .add(c),
    );
  });
}

/**
 * -log of the probability that softmax over the last axis gives the target class (`torch.nn.functional.cross_entropy`,
 * but classes are the last axis): logits [..., C] and int32 classes [...] -> errors [...]. `labelSmoothing` moves so
 * much of the wanted probability evenly to all classes. A class outside 0..C-1 gives NaN. Throws ShapeError where the
 * target has not the shape of the logits without their last axis.
 */
export function crossEntropy(
  logits: Tensor,
  target: Tensor,
  { labelSmoothing = 0, ...options }: LossOptions & { readonly labelSmoothing?: number } = {},
): Tensor {
  const op = "crossEntropy";
  expectTensor(op, "logits", logits);
  expectTensor(op, "target", target);
  expectDType(op, "logits", logits, floating);
  expectDType(op, "target", target, ["int32"]);
  expectShape(op, "target", target, logits.shape.slice(0, -1), "as the logits without their last axis");
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw new ArgumentError({ op, problem: `labelSmoothing is ${labelSmoothing}, expected a number from 0 to 1.` });
  return reduced(op, options, () => {
    const logs = logits.logSoftmax(-1);
    const picked = logs.gather(-1, target.reshape([...target.shape, 1]));
    const errors = picked.reshape(target.shape).neg();
    return labelSmoothing === 0 ? errors : errors.mul(1 - labelSmoothing).sub(logs.mean(-1).mul(labelSmoothing));
  });
}

/**
 * -(t log p + (1 - t) log(1 - p)) with p = sigmoid(logits) and t the target in [0, 1]
 * (`torch.nn.functional.binary_cross_entropy_with_logits`), for logits of any size: (1 - t) x + softplus(-x).
 */
export function bceWithLogits(logits: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  expectPair("bceWithLogits", logits, target);
  return reduced("bceWithLogits", options, () => target.neg().add(1).mul(logits).add(logits.neg().softplus()));
}
