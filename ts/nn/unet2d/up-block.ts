// UpBlock: resnet blocks beside skips, with attention or without, and a step to double the size.

import { concat } from "../../tensor/creation.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";
import type { UpBlockOptions, UpResult } from "./blocks.ts";
import { joinedChannels } from "./blocks.ts";
import { buildPart, buildParts } from "../part.ts";
import { Upsample2D } from "./resample.ts";
import { ResnetBlock2D } from "./resnet-block.ts";
import { SpatialAttention } from "./spatial-attention.ts";

/** What an `UpBlock` is made of beside resnet blocks. */
export interface UpBlockParts {
  /** Whether attention follows every resnet block. */
  readonly attention: boolean;
  /** How images are doubled at the end: by a convolution, by a resnet block, or not at all. */
  readonly upsample: "conv" | "resnet" | undefined;
}

/**
 * A block on the way up (diffusers' `UpBlock2D`, `AttnUpBlock2D` and `ResnetUpsampleBlock2D`): x [N, H, W, inChannels],
 * embedding [N, embeddingChannels], one skip [N, H, W, ...] for each layer, of which the last one is used first
 * -> [N, 2 H, 2 W, outChannels], or of the size of x without a step up.
 */
export class UpBlock extends Module {
  /** One for each resnet block, or none. */
  readonly attentions: readonly SpatialAttention[];
  /** Each after what it is given by the one before. */
  readonly resnets: readonly ResnetBlock2D[];
  /** A list of one, as in diffusers; undefined where the block keeps the size. */
  readonly upsamplers: readonly [Upsample2D | ResnetBlock2D] | undefined;

  constructor(options: UpBlockOptions, { attention, upsample }: UpBlockParts) {
    super();
    const { layers, outChannels, groups, headDim, epsilon, device, dtype } = options;
    const resnet = (from: number, resample?: "up"): ResnetBlock2D =>
      new ResnetBlock2D(from, outChannels, { ...options, resample });
    this.attentions = buildParts(
      "attentions",
      attention ? layers : 0,
      () => new SpatialAttention(outChannels, { headDim, groups, epsilon, device, dtype }),
    );
    this.resnets = buildParts("resnets", layers, (i) => resnet(joinedChannels(options, i)));
    this.upsamplers =
      upsample &&
      buildPart("upsamplers[0]", () =>
        upsample === "resnet" ? [resnet(outChannels, "up")] : [new Upsample2D(outChannels, { device, dtype })],
      );
  }

  forward(x: Tensor, skips: readonly Tensor[], embedding: Tensor, image: Tensor | undefined): UpResult {
    return scope(() => {
      let h = x;
      this.resnets.forEach((resnet, i) => {
        h = resnet.forward(concat([h, skips[skips.length - 1 - i]], 3), embedding);
        if (this.attentions.length > 0) h = this.attentions[i].forward(h);
      });
      return { x: this.upsamplers ? this.upsamplers[0].forward(h, embedding) : h, image };
    });
  }
}
