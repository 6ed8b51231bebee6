// Pooling over windows of images.

import { ops } from "../../ops/index.ts";
import { expectNarrow } from "../../ops/pool.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import type { Padding, Pair } from "./window.ts";
import { pair, sides } from "./window.ts";

/** How the window of a pooling moves. */
export interface MaxPool2dOptions {
  /** Default: the kernel. */
  readonly stride?: Pair;
  /** Pixels around the image that never win, default 0. */
  readonly padding?: Padding;
}

/** Largest value of each window (`torch.nn.functional.max_pool2d`); x [N, H, W, C]. */
export function maxPool2d(x: Tensor, kernel: Pair, options: MaxPool2dOptions = {}): Tensor {
  return apply(ops.maxPool2d, [x], poolWindow("maxPool2d", kernel, options));
}

/** The window and how it moves, for each direction and side; throws ArgumentError for what is none. */
export function poolWindow(
  op: string,
  kernel: Pair,
  { stride = kernel, padding = 0 }: MaxPool2dOptions,
): Record<"kernel" | "stride" | "padding", readonly number[]> {
  const window = {
    kernel: pair(op, "kernel", kernel, 1),
    stride: pair(op, "stride", stride, 1),
    padding: sides(op, padding),
  };
  expectNarrow(op, window.padding, window.kernel);
  return window;
}

/** How the window of an average pooling moves. */
export interface AvgPool2dOptions {
  /** Default: the kernel. */
  readonly stride?: Pair;
  /** Zeros around the image, at most half of the kernel; default 0. */
  readonly padding?: Padding;
  /** Whether a window's sum is divided by the kernel's size even where it covers padding; default true. */
  readonly countPadding?: boolean;
}

/**
 * Mean of each window (`torch.nn.functional.avg_pool2d`, whose `count_include_pad` is `countPadding`): x [N, H, W, C]
 * -> [N, H', W', C] with H' = floor((H + top + bottom - kernel) / stride) + 1. Rows and columns that no whole window
 * covers are left out. Throws ShapeError where the kernel does not fit.
 */
export function avgPool2d(x: Tensor, kernel: Pair, options: AvgPool2dOptions = {}): Tensor {
  const { countPadding = true } = options;
  return apply(ops.avgPool2d, [x], { ...poolWindow("avgPool2d", kernel, options), countPadding });
}
