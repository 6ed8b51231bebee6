// Images at another size as a layer.

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
