// ResnetBlock2D: two convolutions beside a shortcut, told about the time by an embedding.

import { ArgumentError, ShapeError, showShape, showValue } from "../../errors/index.ts";
import { avgPool2d } from "../../tensor/functional/pool.ts";
import { resize2d } from "../../tensor/functional/resize.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { Dropout } from "../dropout.ts";
import { Conv2d, Linear } from "../layers.ts";
import { Module } from "../module.ts";
import { GroupNorm } from "../norm.ts";
import type { ActivationName } from "./activation.ts";
import { activations } from "./activation.ts";
import { firDownsample, firUpsample } from "./fir.ts";
import { buildPart } from "../part.ts";

/** How a block changes the size of its images, without weights. */
const resamplings = {
  /** Every pixel four times. */
  up: (x: Tensor): Tensor => resize2d(x, { scale: 2 }),
  /** The mean of every 2x2 pixels. */
  down: (x: Tensor): Tensor => avgPool2d(x, 2),
  firUp: firUpsample,
  firDown: firDownsample,
} as const;

/** What the blocks of a U-Net have in common. */
export interface ResnetSettings extends TensorOptions {
  /** Channels of the time embedding. */
  readonly embeddingChannels: number;
  /** Added to the variance in group normalisation; default 1e-5. */
  readonly epsilon?: number;
  /** Of features and of the time embedding; default "silu". */
  readonly activation?: ActivationName;
  /**
   * "default": the embedding is added between the two convolutions. "scale_shift": it scales and shifts what the second
   * normalisation gives (Nichol and Dhariwal 2021; Dhariwal and Nichol 2021, eq. 1).
   */
  readonly timeScaleShift?: "default" | "scale_shift";
  /** Probability of a feature to be dropped before the second convolution while training; default 0. */
  readonly dropout?: number;
  /** What the result is divided by; default 1. */
  readonly outputScale?: number;
  /** Whether the time embedding comes activated already; default false. */
  readonly skipTimeActivation?: boolean;
}

/** Options of `ResnetBlock2D`. */
export interface ResnetBlock2DOptions extends ResnetSettings {
  /** Groups of the first normalisation; default 32. */
  readonly groups?: number;
  /** Groups of the second one; default: those of the first. */
  readonly groupsOut?: number;
  /** Changes the size after the first normalisation, and on the shortcut: "up" and "down", or by a filter (see `firUpsample`). */
  readonly resample?: keyof typeof resamplings;
  /** Whether the shortcut has a 1x1 convolution; default: only where the numbers of channels differ. */
  readonly convShortcut?: boolean;
}

/**
 * GroupNorm, activation and 3x3 convolution, twice, the time embedding between, and x added (Ho et al. 2020, appendix B;
 * diffusers' `ResnetBlock2D`): x [N, H, W, inChannels], embedding [N, embeddingChannels] -> [N, H', W', outChannels].
 * Throws ArgumentError where groups do not divide channels.
 */
export class ResnetBlock2D extends Module {
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels of the result. */
  readonly outChannels: number;
  /** Before the first convolution. */
  readonly norm1: GroupNorm;
  /** The first convolution. */
  readonly conv1: Conv2d;
  /** Brings the embedding to the width of the features, or to twice that: scale and shift. */
  readonly time_emb_proj: Linear;
  /** Before the second convolution. */
  readonly norm2: GroupNorm;
  /** The second convolution. */
  readonly conv2: Conv2d;
  /** Of the shortcut, where x is not added as it is. */
  readonly conv_shortcut: Conv2d | undefined;
  /** Undefined where nothing is dropped. */
  readonly dropout: Dropout | undefined;
  private readonly activation: ActivationName;
  private readonly resample: keyof typeof resamplings | undefined;
  private readonly scalesTime: boolean;
  private readonly skipTimeActivation: boolean;
  private readonly outputScale: number;

  constructor(inChannels: number, outChannels: number, options: ResnetBlock2DOptions) {
    super();
    const { embeddingChannels, groups = 32, groupsOut = groups, epsilon, dropout = 0, outputScale = 1 } = options;
    const { convShortcut = inChannels !== outChannels, device, dtype } = options;
    if (!convShortcut && inChannels !== outChannels)
      throw new ArgumentError({
        op: "ResnetBlock2D",
        problem: `convShortcut is false, but ${inChannels} channels cannot be added to ${outChannels}.`,
      });
    if (!(outputScale > 0 && outputScale < Infinity))
      throw new ArgumentError({
        op: "ResnetBlock2D",
        problem: `outputScale is ${showValue(outputScale)}, expected a number above 0.`,
      });
    const own = { device, dtype };
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.activation = options.activation ?? "silu";
    this.resample = options.resample;
    this.scalesTime = options.timeScaleShift === "scale_shift";
    this.skipTimeActivation = options.skipTimeActivation ?? false;
    this.outputScale = outputScale;
    this.norm1 = buildPart("norm1", () => new GroupNorm(groups, inChannels, { ...own, epsilon }));
    this.conv1 = buildPart("conv1", () => new Conv2d(inChannels, outChannels, 3, { ...own, padding: 1 }));
    const width = this.scalesTime ? 2 * outChannels : outChannels;
    this.time_emb_proj = buildPart("time_emb_proj", () => new Linear(embeddingChannels, width, own));
    this.norm2 = buildPart("norm2", () => new GroupNorm(groupsOut, outChannels, { ...own, epsilon }));
    this.conv2 = buildPart("conv2", () => new Conv2d(outChannels, outChannels, 3, { ...own, padding: 1 }));
    this.conv_shortcut = convShortcut ? new Conv2d(inChannels, outChannels, 1, own) : undefined;
    this.dropout = dropout === 0 ? undefined : buildPart("dropout", () => new Dropout(dropout));
  }

  forward(x: Tensor, embedding: Tensor): Tensor {
    if (embedding.rank !== 2 || embedding.shape[0] !== x.shape[0])
      throw new ShapeError({
        op: "ResnetBlock2D",
        problem: `the embedding has shape ${showShape(embedding.shape)} for x ${showShape(x.shape)}, expected [N, channels].`,
      });
    return scope(() => {
      const activate = activations[this.activation];
      const resample = this.resample === undefined ? undefined : resamplings[this.resample];
      const before = activate(this.norm1.forward(x));
      const first = this.conv1.forward(resample ? resample(before) : before);
      const told = activate(this.tell(first, embedding));
      const second = this.conv2.forward(this.dropout ? this.dropout.forward(told) : told);
      const sized = resample ? resample(x) : x;
      const sum = (this.conv_shortcut ? this.conv_shortcut.forward(sized) : sized).add(second);
      return this.outputScale === 1 ? sum : sum.div(this.outputScale);
    });
  }

  /** Normalises features, and lets them know the time before or after. */
  private tell(features: Tensor, embedding: Tensor): Tensor {
    const active = this.skipTimeActivation ? embedding : activations[this.activation](embedding);
    const time = this.time_emb_proj.forward(active);
    const projected = time.reshape([time.shape[0], 1, 1, time.shape[1]]);
    if (!this.scalesTime) return this.norm2.forward(features.add(projected));
    const [scale, shift] = projected.chunk(2, 3);
    return this.norm2.forward(features).mul(scale.add(1)).add(shift);
  }
}
