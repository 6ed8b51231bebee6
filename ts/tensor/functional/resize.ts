// Images at another size: interpolation, and averages over areas.

import { ArgumentError, showValue } from "../../errors/index.ts";
import { expectAttributes, expectRank } from "../../ops/checks.ts";
import { ops } from "../../ops/index.ts";
import { expectCorners, resizeModes } from "../../ops/resize.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";
import type { Pair } from "./window.ts";
import { both, pair } from "./window.ts";

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
  expectTensor("resize2d", "x", x);
  expectResampling("resize2d", options);
  const { mode = "nearest", alignCorners = false } = options;
  return apply(ops.resize2d, [x], { size: targetSize(x, options), mode, alignCorners });
}

/** Refuses options by which no image can be resized. */
export function expectResampling(op: string, options: Resize2dOptions): void {
  const { size, scale, mode = "nearest", alignCorners = false } = options;
  if ((size === undefined) === (scale === undefined))
    throw new ArgumentError({
      op,
      problem: size === undefined ? "neither size nor scale is given." : "both size and scale are given.",
      advice: "Give one of them: { size: [64, 64] } or { scale: 2 }.",
    });
  if (size !== undefined) pair(op, "size", size, 1);
  else expectScale(op, scale);
  expectAttributes({ name: op, attributes: { mode: resizeModes, alignCorners: "bool" } }, { mode, alignCorners });
  expectCorners(op, mode, alignCorners);
}

function expectScale(op: string, scale: unknown): void {
  const factors: readonly unknown[] = Array.isArray(scale) ? scale : [scale, scale];
  if (factors.length !== 2 || !factors.every((factor) => Number.isFinite(factor) && (factor as number) > 0))
    throw new ArgumentError({
      op,
      problem: `scale is [${factors.map(showValue).join(", ")}], expected 2 numbers above 0.`,
    });
}

/** Height and width of the result, of checked options. */
function targetSize(x: Tensor, { size, scale }: ResizeTarget): readonly number[] {
  if (size !== undefined) return both(size);
  expectRank("resize2d", "x", x, 4, "[N, H, W, C]");
  return both(scale).map((factor, axis) => Math.floor(x.shape[axis + 1] * factor));
}

/**
 * Means over a grid of `size` [H', W'] overlapping or touching areas (`torch.nn.functional.adaptive_avg_pool2d`):
 * x [N, H, W, C] -> [N, H', W', C]. Row i averages the rows floor(i H / H') to ceil((i + 1) H / H') - 1, columns likewise.
 */
export function adaptiveAvgPool2d(x: Tensor, size: Pair): Tensor {
  expectTensor("adaptiveAvgPool2d", "x", x);
  expectRank("adaptiveAvgPool2d", "x", x, 4, "[N, H, W, C]");
  return resize2d(x, { size: pair("adaptiveAvgPool2d", "size", size, 1), mode: "area" });
}

/** Mean of each channel of an image (`adaptive_avg_pool2d(x, 1)`): x [N, H, W, C] -> [N, 1, 1, C]. */
export function globalAvgPool2d(x: Tensor): Tensor {
  return adaptiveAvgPool2d(x, 1);
}
