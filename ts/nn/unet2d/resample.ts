// Downsample2D and Upsample2D: images at half and at double size by a learned convolution.

import { resize2d } from "../../tensor/functional/resize.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { Conv2d } from "../layers.ts";
import { Module } from "../module.ts";
import { buildPart } from "../part.ts";

/** Where the zeros around an image lie that is convolved to half its size: see `Downsample2D`. */
export type DownsamplePadding = 0 | 1;

/**
 * A 3x3 convolution with stride 2 (diffusers' `Downsample2D` with `use_conv`): x [N, H, W, channels] with even H and W
 * -> [N, H / 2, W / 2, channels]. `padding` 1 adds zeros on all sides; 0 only below and on the right, as DDPM's original
 * code in TensorFlow does: the two see the image shifted by a pixel.
 */
export class Downsample2D extends Module {
  /** Channels of x and of the result. */
  readonly inChannels: number;
  /** Channels of the result: those of x. */
  readonly outChannels: number;
  /** The convolution. */
  readonly conv: Conv2d;

  constructor(channels: number, padding: DownsamplePadding, options: TensorOptions = {}) {
    super();
    this.inChannels = this.outChannels = channels;
    this.conv = buildPart(
      "conv",
      () =>
        new Conv2d(channels, channels, 3, { ...options, stride: 2, padding: padding === 0 ? [0, 1, 0, 1] : padding }),
    );
  }

  forward(x: Tensor): Tensor {
    return this.conv.forward(x);
  }
}

/**
 * Every pixel four times, and a 3x3 convolution (diffusers' `Upsample2D` with `use_conv`): x [N, H, W, channels]
 * -> [N, 2 H, 2 W, channels].
 */
export class Upsample2D extends Module {
  /** Channels of x and of the result. */
  readonly inChannels: number;
  /** Channels of the result: those of x. */
  readonly outChannels: number;
  /** The convolution. */
  readonly conv: Conv2d;

  constructor(channels: number, options: TensorOptions = {}) {
    super();
    this.inChannels = this.outChannels = channels;
    this.conv = buildPart("conv", () => new Conv2d(channels, channels, 3, { ...options, padding: 1 }));
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.conv.forward(resize2d(x, { scale: 2 })));
  }
}
