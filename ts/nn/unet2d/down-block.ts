// DownBlock: resnet blocks, with attention or without, and a step to half the size.

import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";
import type { DownBlockOptions, DownResult } from "./blocks.ts";
import { buildPart, buildParts } from "../part.ts";
import { Downsample2D } from "./resample.ts";
import { ResnetBlock2D } from "./resnet-block.ts";
import { SpatialAttention } from "./spatial-attention.ts";

/** What a `DownBlock` is made of beside resnet blocks. */
export interface DownBlockParts {
  /** Whether attention follows every resnet block. */
  readonly attention: boolean;
  /** How images are halved at the end: by a convolution, by a resnet block, or not at all. */
  readonly downsample: "conv" | "resnet" | undefined;
}

/**
 * A block on the way down (diffusers' `DownBlock2D`, `AttnDownBlock2D` and `ResnetDownsampleBlock2D`):
 * x [N, H, W, inChannels], embedding [N, embeddingChannels] -> what each layer gives and, at half the size, the end.
 */
export class DownBlock extends Module {
  /** One for each resnet block, or none. */
  readonly attentions: readonly SpatialAttention[];
  /** Each after what it is given by the one before. */
  readonly resnets: readonly ResnetBlock2D[];
  /** A list of one, as in diffusers; undefined where the block keeps the size. */
  readonly downsamplers: readonly [Downsample2D | ResnetBlock2D] | undefined;

  constructor(options: DownBlockOptions, { attention, downsample }: DownBlockParts) {
    super();
    const { layers, inChannels, outChannels, groups, headDim, epsilon, device, dtype } = options;
    const resnet = (from: number, resample?: "down"): ResnetBlock2D =>
      new ResnetBlock2D(from, outChannels, { ...options, resample });
    this.attentions = buildParts(
      "attentions",
      attention ? layers : 0,
      () => new SpatialAttention(outChannels, { headDim, groups, epsilon, device, dtype }),
    );
    this.resnets = buildParts("resnets", layers, (i) => resnet(i === 0 ? inChannels : outChannels));
    this.downsamplers =
      downsample &&
      buildPart("downsamplers[0]", () =>
        downsample === "resnet"
          ? [resnet(outChannels, "down")]
          : [new Downsample2D(outChannels, options.downsamplePadding, { device, dtype })],
      );
  }

  forward(x: Tensor, embedding: Tensor, image: Tensor): DownResult {
    return scope(() => {
      const skips: Tensor[] = [];
      let h = x;
      this.resnets.forEach((resnet, i) => {
        h = resnet.forward(h, embedding);
        if (this.attentions.length > 0) h = this.attentions[i].forward(h);
        skips.push(h);
      });
      if (this.downsamplers) skips.push(this.downsamplers[0].forward(h, embedding));
      return { skips, image };
    });
  }
}
