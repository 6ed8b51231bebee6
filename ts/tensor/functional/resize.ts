// Images at another size: interpolation, and averages over areas.

import { ArgumentError, ShapeError, showShape, showValue } from "../../errors/index.ts";
import { ops } from "../../ops/index.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import type { Pair } from "./window.ts";
import { pair } from "./window.ts";

/** The new size of images: either in pixels, or as multiples of the old one. */
export type ResizeTarget =
  | {
      /** [H, W] in pixels, or one number for both. */
      readonly size: Pair;
      /** Not beside size. */
      readonly scale?: undefined;
    }
  | {
      /** What height and width are multiplied by, [y, x] or one number for both; sizes are rounded down. */
      readonly scale: Pair;
      /** Not beside scale. */
      readonly size?: undefined;
    };

/** To what size, and how. */
export type Resize2dOptions = ResizeTarget & {
  /**
   * "nearest" (the default): each output pixel is a copy of one input pixel. "bilinear": a mixture of the 2x2 pixels around
   * it. "bicubic": of 4x4 pixels, by cubic convolution with A = -0.75; may go beyond the range of the input. "area": the mean
   * of the pixels that it covers, of which those cut by its border count in full.
   */
  readonly mode?: "nearest" | "bilinear" | "bicubic" | "area";
  /** Whether the centres of the corner pixels stay where they are; for "bilinear" and "bicubic". Default false. */
  readonly alignCorners?: boolean;
};

/**
 * Images at another size (`torch.nn.functional.interpolate` with `antialias=False`): x [N, H, W, C] -> [N, H', W', C], floating.
 * Positions follow from the two sizes, as PyTorch has them when given `size` or `recompute_scale_factor=True`. Throws
 * ArgumentError unless exactly one of `size` and `scale` is given and the new size is at least 1x1, and for `alignCorners` with
 * a mode that has none.
 */
export function resize2d(x: Tensor, options: Resize2dOptions): Tensor {
  const { mode = "nearest", alignCorners = false } = options;
  return apply(ops.resize2d, [x], { size: targetSize(x, options), mode, alignCorners });
}

function targetSize(x: Tensor, { size, scale }: ResizeTarget): readonly number[] {
  if ((size === undefined) === (scale === undefined))
    throw new ArgumentError({
      op: "resize2d",
      problem: size === undefined ? "neither size nor scale is given." : "both size and scale are given.",
      advice: "Give one of them: { size: [64, 64] } or { scale: 2 }.",
    });
  if (size !== undefined) return pair(size);
  if (x.rank !== 4)
    throw new ShapeError({ op: "resize2d", problem: `x has shape ${showShape(x.shape)}, expected [N, H, W, C].` });
  return pair(scale).map((factor, axis) => {
    if (!(factor > 0 && factor < Infinity))
      throw new ArgumentError({ op: "resize2d", problem: `scale is ${showValue(factor)}, expected a number above 0.` });
    return Math.floor(x.shape[axis + 1] * factor);
  });
}

/**
 * Means over a grid of `size` [H', W'] overlapping or touching areas (`torch.nn.functional.adaptive_avg_pool2d`):
 * x [N, H, W, C] -> [N, H', W', C]. Row i averages the rows floor(i H / H') to ceil((i + 1) H / H') - 1, columns likewise.
 */
export function adaptiveAvgPool2d(x: Tensor, size: Pair): Tensor {
  return resize2d(x, { size, mode: "area" });
}

/** Mean of each channel of an image (`adaptive_avg_pool2d(x, 1)`): x [N, H, W, C] -> [N, 1, 1, C]. */
export function globalAvgPool2d(x: Tensor): Tensor {
  return adaptiveAvgPool2d(x, 1);
}
