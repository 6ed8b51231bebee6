// SkipDownBlock and SkipUpBlock: blocks through which the image itself goes down and up beside its features (Song et al. 2021,
// NCSN++; the "input skip" and "output skip" of StyleGAN2).

import { concat } from "../../tensor/creation.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Conv2d } from "../layers.ts";
import { Module } from "../module.ts";
import { GroupNorm } from "../norm.ts";
import type { DownBlockOptions, DownResult, UpBlockOptions, UpResult } from "./blocks.ts";
import { groupsFor, joinedChannels } from "./blocks.ts";
import { firDownsample, firUpsample } from "./fir.ts";
import { buildPart, buildParts } from "../part.ts";
import { ResnetBlock2D } from "./resnet-block.ts";
import { SpatialAttention } from "./spatial-attention.ts";

/** Channels of the image that goes beside; the layers that read and write it know no other number. */
export const imageChannels = 3;

/** Sums of two are divided by this, which keeps the variance. */
const outputScale = Math.SQRT2;

/** Groups before attention, whatever its channels. */
const attentionGroups = 32;

/** What a `SkipDownBlock` or `SkipUpBlock` is made of beside resnet blocks. */
export interface SkipBlockParts {
  /** Whether attention follows every resnet block on the way down, on the way up the last one. */
  readonly attention: boolean;
  /** Whether the block ends with another size. */
  readonly resample: boolean;
}

/**
 * A block on the way down that also halves the image and adds it to the features (diffusers' `SkipDownBlock2D` and
 * `AttnSkipDownBlock2D`); takes and gives what `DownBlock` does, and the image [N, H, W, 3].
 */
export class SkipDownBlock extends Module {
  /** One for each resnet block, or none. */
  readonly attentions: readonly SpatialAttention[];
  /** Each after what it is given by the one before. */
  readonly resnets: readonly ResnetBlock2D[];
  /** Halves the features; undefined where the block keeps the size. */
  readonly resnet_down: ResnetBlock2D | undefined;
  /** Makes features of the halved image. */
  readonly skip_conv: Conv2d | undefined;

  constructor(options: DownBlockOptions, { attention, resample }: SkipBlockParts) {
    super();
    const { layers, inChannels, outChannels, headDim, epsilon, device, dtype } = options;
    const own = { device, dtype };
    const common = { ...options, outputScale, groupsOut: groupsFor(outChannels) };
    this.attentions = buildParts(
      "attentions",
      attention ? layers : 0,
      () => new SpatialAttention(outChannels, { headDim, groups: attentionGroups, epsilon, outputScale, ...own }),
    );
    this.resnets = buildParts("resnets", layers, (i) => {
      const channels = i === 0 ? inChannels : outChannels;
      return new ResnetBlock2D(channels, outChannels, { ...common, groups: groupsFor(channels) });
    });
    const groups = groupsFor(outChannels);
    this.resnet_down = resample
      ? buildPart(
          "resnet_down",
          () =>
            new ResnetBlock2D(outChannels, outChannels, { ...common, groups, convShortcut: true, resample: "firDown" }),
        )
      : undefined;
    this.skip_conv = resample ? new Conv2d(imageChannels, outChannels, 1, own) : undefined;
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
      if (!this.resnet_down || !this.skip_conv) return { skips, image };
      const smaller = firDownsample(image);
      skips.push(this.skip_conv.forward(smaller).add(this.resnet_down.forward(h, embedding)));
      return { skips, image: smaller };
    });
  }
}

/**
 * A block on the way up that also doubles the image that the blocks below have made, and adds to it (diffusers' `SkipUpBlock2D`
 * and `AttnSkipUpBlock2D`); takes and gives what `UpBlock` does, and the image [N, H, W, 3].
 */
export class SkipUpBlock extends Module {
  /** One, after all resnet blocks, or none. */
  readonly attentions: readonly SpatialAttention[];
  /** Each after what it is given by the one before. */
  readonly resnets: readonly ResnetBlock2D[];
  /** Doubles the features; undefined where the block keeps the size. */
  readonly resnet_up: ResnetBlock2D | undefined;
  /** Makes an image of features. */
  readonly skip_conv: Conv2d | undefined;
  /** Comes before it. */
  readonly skip_norm: GroupNorm | undefined;

  constructor(options: UpBlockOptions, { attention, resample }: SkipBlockParts) {
    super();
    const { layers, inChannels, outChannels, skipChannels, headDim, epsilon, device, dtype } = options;
    const own = { device, dtype };
    const groups = groupsFor(outChannels);
    const common = { ...options, outputScale, groupsOut: groups };
    this.attentions = buildParts(
      "attentions",
      attention ? 1 : 0,
      () => new SpatialAttention(outChannels, { headDim, groups: attentionGroups, epsilon, outputScale, ...own }),
    );
    this.resnets = buildParts("resnets", layers, (i) => {
      const channels = joinedChannels(options, i);
      const skip = i === layers - 1 ? skipChannels : outChannels;
      // With attention diffusers divides only the skip's channels by 4 (a matter of precedence), and files depend on it.
      const joined = attention
        ? Math.min((i === 0 ? inChannels : outChannels) + Math.floor(skip / 4), 32)
        : groupsFor(channels);
      return new ResnetBlock2D(channels, outChannels, { ...common, groups: joined });
    });
    this.resnet_up = resample
      ? buildPart(
          "resnet_up",
          () =>
            new ResnetBlock2D(outChannels, outChannels, { ...common, groups, convShortcut: true, resample: "firUp" }),
        )
      : undefined;
    this.skip_conv = resample ? new Conv2d(outChannels, imageChannels, 3, { ...own, padding: 1 }) : undefined;
    this.skip_norm = resample
      ? buildPart("skip_norm", () => new GroupNorm(groups, outChannels, { ...own, epsilon }))
      : undefined;
  }

  forward(x: Tensor, skips: readonly Tensor[], embedding: Tensor, image: Tensor | undefined): UpResult {
    return scope(() => {
      let h = x;
      this.resnets.forEach((resnet, i) => {
        h = resnet.forward(concat([h, skips[skips.length - 1 - i]], 3), embedding);
      });
      if (this.attentions.length > 0) h = this.attentions[0].forward(h);
      const larger = image && firUpsample(image);
      if (!this.resnet_up || !this.skip_conv || !this.skip_norm) return { x: h, image: larger };
      const added = this.skip_conv.forward(this.skip_norm.forward(h).silu());
      return { x: this.resnet_up.forward(h, embedding), image: larger ? larger.add(added) : added };
    });
  }
}
