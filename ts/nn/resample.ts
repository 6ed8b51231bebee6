// Images at another size as layers.

import { expectIntegers } from "../ops/checks.ts";
import { pixelShuffle, pixelUnshuffle } from "../tensor/functional/pixel-shuffle.ts";
import type { Resize2dOptions } from "../tensor/functional/resize.ts";
import { expectResampling, resize2d } from "../tensor/functional/resize.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** Images at another size (`torch.nn.Upsample`, smaller ones too): [N, H, W, C] -> [N, H', W', C]; see `resize2d`. */
export class Upsample extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** To what size, and how. */
  readonly options: Resize2dOptions;

  constructor(options: Resize2dOptions) {
    super();
    expectResampling("Upsample", options ?? {});
    this.options = options;
  }

  forward(x: Tensor): Tensor {
    return resize2d(x, this.options);
  }
}

/** Pixels of channels (`torch.nn.PixelShuffle`): [N, H, W, C factor^2] -> [N, H factor, W factor, C]; see `pixelShuffle`. */
export class PixelShuffle extends Module {
  /** What height and width are multiplied by. */
  readonly factor: number;

  constructor(factor: number) {
    super();
    expectIntegers("PixelShuffle", "factor", [factor], 1, 1);
    this.factor = factor;
  }

  forward(x: Tensor): Tensor {
    return pixelShuffle(x, this.factor);
  }
}

/** Channels of pixels (`torch.nn.PixelUnshuffle`): [N, H factor, W factor, C] -> [N, H, W, C factor^2]; see `pixelUnshuffle`. */
export class PixelUnshuffle extends Module {
  /** What height and width are divided by. */
  readonly factor: number;

  constructor(factor: number) {
    super();
    expectIntegers("PixelUnshuffle", "factor", [factor], 1, 1);
    this.factor = factor;
  }

  forward(x: Tensor): Tensor {
    return pixelUnshuffle(x, this.factor);
  }
}
