// MidBlock: two resnet blocks, and attention between them, where images are smallest.

import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";
import type { BlockSettings } from "./blocks.ts";
import { groupsFor } from "./blocks.ts";
import { buildParts } from "../part.ts";
import { ResnetBlock2D } from "./resnet-block.ts";
import { SpatialAttention } from "./spatial-attention.ts";

/** What a `MidBlock` is made of. */
export interface MidBlockOptions extends BlockSettings {
  /** Channels of x and of the result. */
  readonly channels: number;
  /** Whether there is attention between the resnet blocks. */
  readonly attention: boolean;
  /**
   * Groups of the normalisation before attention; default: as elsewhere in the block, but no normalisation at all where
   * `timeScaleShift` is "scale_shift" (so diffusers).
   */
  readonly attentionGroups?: number;
}

/** The middle of a U-Net (diffusers' `UNetMidBlock2D`): x [N, H, W, channels], embedding -> the shape of x. */
export class MidBlock extends Module {
  /** One, or none. */
  readonly attentions: readonly SpatialAttention[];
  /** Each after what it is given by the one before. */
  readonly resnets: readonly ResnetBlock2D[];

  constructor(options: MidBlockOptions) {
    super();
    const { channels, headDim, epsilon, outputScale, device, dtype } = options;
    const groups = options.groups ?? groupsFor(channels);
    const attentionGroups = options.attentionGroups ?? (options.timeScaleShift === "scale_shift" ? undefined : groups);
    this.attentions = buildParts(
      "attentions",
      options.attention ? 1 : 0,
      () => new SpatialAttention(channels, { headDim, groups: attentionGroups, epsilon, outputScale, device, dtype }),
    );
    this.resnets = buildParts("resnets", 2, () => new ResnetBlock2D(channels, channels, { ...options, groups }));
  }

  forward(x: Tensor, embedding: Tensor): Tensor {
    return scope(() => {
      const first = this.resnets[0].forward(x, embedding);
      const between = this.attentions.length > 0 ? this.attentions[0].forward(first) : first;
      return this.resnets[1].forward(between, embedding);
    });
  }
}
