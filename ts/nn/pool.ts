// Pooling as layers.

import type { AvgPool2dOptions, MaxPool2dOptions } from "../tensor/functional/pool.ts";
import { avgPool2d, maxPool2d, poolWindow } from "../tensor/functional/pool.ts";
import { adaptiveAvgPool2d } from "../tensor/functional/resize.ts";
import type { Pair } from "../tensor/functional/window.ts";
import { pair } from "../tensor/functional/window.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** Largest value of each window (`torch.nn.MaxPool2d`): [N, H, W, C] -> [N, H', W', C]; see `maxPool2d`. */
export class MaxPool2d extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** Height and width of the window. */
  readonly kernel: Pair;
  /** How the window moves. */
  readonly options: MaxPool2dOptions;

  constructor(kernel: Pair, options: MaxPool2dOptions = {}) {
    super();
    poolWindow("MaxPool2d", kernel, options);
    this.kernel = kernel;
    this.options = options;
  }

  /** Applies the layer to x [N, H, W, C]. */
  forward(x: Tensor): Tensor {
    return maxPool2d(x, this.kernel, this.options);
  }
}

/** Means over a grid of areas (`torch.nn.AdaptiveAvgPool2d`): [N, H, W, C] -> [N, H', W', C]; see `adaptiveAvgPool2d`. */
export class AdaptiveAvgPool2d extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** Height and width of the result. */
  readonly size: Pair;

  constructor(size: Pair) {
    super();
    pair("AdaptiveAvgPool2d", "size", size, 1);
    this.size = size;
  }

  /** Applies the layer to x [N, H, W, C]. */
  forward(x: Tensor): Tensor {
    return adaptiveAvgPool2d(x, this.size);
  }
}

/** Mean of each window (`torch.nn.AvgPool2d`): [N, H, W, C] -> [N, H', W', C]; see `avgPool2d`. */
export class AvgPool2d extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** Height and width of the window. */
  readonly kernel: Pair;
  /** How the window moves. */
  readonly options: AvgPool2dOptions;

  constructor(kernel: Pair, options: AvgPool2dOptions = {}) {
    super();
    poolWindow("AvgPool2d", kernel, options);
    this.kernel = kernel;
    this.options = options;
  }

  /** Applies the layer to x [N, H, W, C]. */
  forward(x: Tensor): Tensor {
    return avgPool2d(x, this.kernel, this.options);
  }
}
