// Pooling over windows of images.

import { ops } from "../../ops/index.ts";
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
  const { stride = kernel, padding = 0 } = options;
  return apply(ops.maxPool2d, [x], { kernel: pair(kernel), stride: pair(stride), padding: sides(padding) });
}
