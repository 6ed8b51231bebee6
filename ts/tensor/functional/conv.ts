// Convolution and its transpose.

import { ShapeError, showShape } from "../../errors/index.ts";
import { ops } from "../../ops/index.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import type { Padding, Pair } from "./window.ts";
import { pair, sides } from "./window.ts";

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
