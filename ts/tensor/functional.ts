// Operations of networks as functions: convolution, pooling, linear, embedding, losses.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { expectShape } from "../ops/checks.ts";
import { ops } from "../ops/index.ts";
import { scope } from "./scope.ts";
import type { Tensor } from "./tensor.ts";
import { apply } from "./tensor.ts";

/** One number for both directions, or [y, x]. */
export type Pair = number | readonly [y: number, x: number];
/** One number for all sides, [y, x], or [top, bottom, left, right]. */
export type Padding = Pair | readonly [top: number, bottom: number, left: number, right: number];

function pair(value: Pair): readonly [number, number] {
  return typeof value === "number" ? [value, value] : value;
}

function sides(value: Padding): readonly number[] {
  if (typeof value === "number") return [value, value, value, value];
  return value.length === 2 ? [value[0], value[0], value[1], value[1]] : value;
}

/** How the window of a convolution moves. */
export interface Conv2dOptions {
  /** Default 1. */
  readonly stride?: Pair;
  /** Zeros around the image, default 0. */
  readonly padding?: Padding;
  /** Default 1. */
  readonly dilation?: Pair;
}

/**
 * Cross-correlation (`torch.nn.functional.conv2d`, without groups): x [N, H, W, I], weight [KH, KW, I, O], bias [O]
 * -> [N, H', W', O] with H' = floor((H + top + bottom - dilation (KH - 1) - 1) / stride) + 1.
 */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, dilation = 1 } = options;
  return apply(ops.conv2d, [x, weight, bias], {
    stride: pair(stride),
    padding: sides(padding),
    dilation: pair(dilation),
  });
}

/** How the window of the convolution moves whose transpose this is. */
export interface ConvTranspose2dOptions extends Conv2dOptions {
  /** Rows and columns added at the bottom and right, smaller than the stride; default 0. */
  readonly outputPadding?: Pair;
}

/**
 * Transposed convolution (`torch.nn.functional.conv_transpose2d`): x [N, H, W, I], weight [KH, KW, O, I], bias [O]
 * -> [N, H', W', O] with H' = (H - 1) stride - top - bottom + dilation (KH - 1) + outputPadding + 1.
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  options: ConvTranspose2dOptions = {},
): Tensor {
  const [stride, dilation, extra] = [options.stride ?? 1, options.dilation ?? 1, options.outputPadding ?? 0].map(pair);
  const padding = sides(options.padding ?? 0);
  if (x.rank !== 4 || weight.rank !== 4)
    throw new ShapeError({
      op: "convTranspose2d",
      problem: `x ${showShape(x.shape)} and weight ${showShape(weight.shape)}, expected [N, H, W, I] and [KH, KW, O, I].`,
    });
  const size = [0, 1].map(
    (axis) =>
      (x.shape[axis + 1] - 1) * stride[axis] -
      padding[2 * axis] -
      padding[2 * axis + 1] +
      dilation[axis] * (weight.shape[axis] - 1) +
      extra[axis] +
      1,
  );
  return apply(ops.convTranspose2d, [x, weight, bias], { stride, padding, dilation, size });
}

/** How the window of a pooling moves. */
export interface MaxPool2dOptions {
  /** Default: the kernel. */
  readonly stride?: Pair;
  /** Pixels around the image that never win, default 0. */
  readonly padding?: Padding;
}

/** Largest value of each window (`torch.nn.functional.max_pool2d`); x [N, H, W, C]. */
export function maxPool2d(x: Tensor, kernel: Pair, options: MaxPool2dOptions = {}): Tensor {
  const { stride = kernel, padding = 0 } = options;
  return apply(ops.maxPool2d, [x], { kernel: pair(kernel), stride: pair(stride), padding: sides(padding) });
}

/** x W + b (`torch.nn.functional.linear`): x [..., I], weight [I, O], bias [O] -> [..., O]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const width = x.shape[x.rank - 1];
  if (x.rank === 0 || weight.rank !== 2 || width !== weight.shape[0])
    throw new ShapeError({
      op: "linear",
      problem: `expected ${weight.shape[0]} input features, got ${width ?? "a scalar"} (x ${showShape(x.shape)}, weight ${showShape(weight.shape)}).`,
    });
  const product = (rows: Tensor): Tensor =>
    apply(ops.matmul, [rows, weight, bias], { transposeA: false, transposeB: false });
  if (x.rank === 2) return product(x);
  return scope(() =>
    product(x.reshape([x.size / Math.max(1, width), width])).reshape([...x.shape.slice(0, -1), weight.shape[1]]),
  );
}

/** Rows of `table` [rows, D] picked by int32 `index` [...] (`torch.nn.functional.embedding`) -> [..., D]. */
export function embedding(table: Tensor, index: Tensor): Tensor {
  return apply(ops.embedding, [table, index], {});
}

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
