// UNet2D: the convolutional U-Net of diffusion models, as diffusers' UNet2DModel has it.

import { ArgumentError, ShapeError, showShape, showValue } from "../../errors/index.ts";
import { expectRank } from "../../ops/checks.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { expectTensor } from "../../tensor/value.ts";
import { Identity } from "../activations.ts";
import { Conv2d, Embedding } from "../layers.ts";
import { Module } from "../module.ts";
import { GroupNorm } from "../norm.ts";
import { GaussianFourierProjection, TimestepEmbedding } from "../timestep-embedding.ts";
import type { BlockSettings } from "./blocks.ts";
import { groupsFor } from "./blocks.ts";
import type { ConfigNotes, UNet2DConfig } from "./config.ts";
import { checkOptions, readConfig, writeConfig } from "./config.ts";
import { DownBlock } from "./down-block.ts";
import { MidBlock } from "./mid-block.ts";
import type { ResolvedUNet2DOptions, UNet2DOptions } from "./options.ts";
import { plainBlockType } from "./options.ts";
import { buildPart, buildParts } from "../part.ts";
import type { UNet2DPreset } from "./presets.ts";
import { presets } from "./presets.ts";
import { SkipDownBlock, SkipUpBlock } from "./skip-blocks.ts";
import { Timesteps, timesOf } from "./timesteps.ts";
import { UpBlock } from "./up-block.ts";

/** What a model may be told beside images and times. */
export interface UNet2DInputs {
  /**
   * One for each image: int32 [N], numbers of classes; with `classEmbedType` "timestep" numbers [N], with "identity" embeddings
   * [N, time embedding]. A model with classes needs them, one without refuses them.
   */
  readonly classLabels?: Tensor;
}

/** Standard deviation of the frequencies of "fourier" (Song et al. 2021). */
const fourierScale = 16;

/**
 * The U-Net of Ho et al. 2020 and what grew out of it (diffusers' `UNet2DModel`, whose options, names of weights and results it
 * has): x [N, H, W, inChannels] and a time for each image -> [N, H, W, outChannels]. Blocks on the way down halve
 * images, all but the last; those on the way up double them and take the others' results beside their own.
 *
 *     const model = new UNet2D({ sampleSize: 32, blockOutChannels: [64, 128], normNumGroups: 16,
 *       downBlockTypes: ["DownBlock2D", "AttnDownBlock2D"], upBlockTypes: ["AttnUpBlock2D", "UpBlock2D"] });
 */
export class UNet2D extends Module {
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels of the result. */
  readonly outChannels: number;
  /** The options, those that were left out included. */
  readonly options: ResolvedUNet2DOptions;
  /** Makes features of images. */
  readonly conv_in: Conv2d;
  /** What the network is told of t, before layers. */
  readonly time_proj: Timesteps | GaussianFourierProjection | Embedding;
  /** The layers after it. */
  readonly time_embedding: TimestepEmbedding;
  /** Of class labels; undefined where there are none. */
  readonly class_embedding: Embedding | TimestepEmbedding | Identity | undefined;
  /** From the largest images to the smallest. */
  readonly down_blocks: readonly (DownBlock | SkipDownBlock)[];
  /** From the smallest images to the largest. */
  readonly up_blocks: readonly (UpBlock | SkipUpBlock)[];
  /** Undefined where `midBlockType` is null. */
  readonly mid_block: MidBlock | undefined;
  /** Normalises what the last block gives. */
  readonly conv_norm_out: GroupNorm;
  /** Makes the result of it. */
  readonly conv_out: Conv2d;
  /** What a config.json said about itself. */
  private readonly notes: ConfigNotes;

  /**
   * Weights are drawn as PyTorch draws them. Throws ArgumentError that names every option that is wrong or does not fit the
   * others, or the block that cannot be built.
   */
  constructor(options?: UNet2DOptions & TensorOptions);
  /** @internal Of options that `readConfig` has checked. */
  constructor(options: TensorOptions, checked: ReturnType<typeof readConfig>);
  constructor(options: UNet2DOptions & TensorOptions = {}, checked?: ReturnType<typeof readConfig>) {
    super();
    const { device, dtype, ...given } = options;
    const own = { device, dtype };
    this.options = checked?.options ?? checkOptions(given);
    this.notes = checked?.notes ?? {};
    const { inChannels, outChannels, blockOutChannels, normNumGroups, normEps: epsilon } = this.options;
    const [width] = blockOutChannels;
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.conv_in = new Conv2d(inChannels, width, 3, { ...own, padding: 1 });
    const timeDim = this.options.timeEmbeddingDim ?? 4 * width;
    this.time_proj = timeProjection(this.options, own);
    this.time_embedding = new TimestepEmbedding(this.time_proj.outFeatures, timeDim, own);
    this.class_embedding = classEmbedding(this.options, this.time_proj.outFeatures, timeDim, own);
    const settings = blockSettings(this.options, timeDim, own);
    this.down_blocks = downBlocks(this.options, settings);
    this.up_blocks = upBlocks(this.options, settings);
    this.mid_block = midBlock(this.options, settings);
    const groups = normNumGroups ?? groupsFor(width);
    this.conv_norm_out = buildPart("conv_norm_out", () => new GroupNorm(groups, width, { ...own, epsilon }));
    this.conv_out = new Conv2d(width, outChannels, 3, { ...own, padding: 1 });
  }

  /**
   * A model of the content of a config.json of diffusers' `UNet2DModel`, with new weights; `loadWeights` reads those of
   * diffusion_pytorch_model.safetensors. Keys that are missing have diffusers' defaults. Throws FormatError that names every key
   * that is unknown or wrong, with its value and what was expected.
   */
  static fromConfig(config: unknown, options: TensorOptions = {}): UNet2D {
    return new UNet2D(options, readConfig(config));
  }

  /** A model like a published one, with new weights; `overrides` are other options. Throws ArgumentError for a name that is none. */
  static preset(name: UNet2DPreset, overrides: UNet2DOptions & TensorOptions = {}): UNet2D {
    if (!Object.hasOwn(presets, name))
      throw new ArgumentError({
        op: "UNet2D.preset",
        problem: `the name is ${showValue(name)}.`,
        advice: `Known are ${Object.keys(presets).join(", ")}.`,
      });
    return new UNet2D({ ...presets[name], ...overrides });
  }

  /** The content of diffusers' config.json for this model: `fromConfig` makes the same network of it. */
  config(): UNet2DConfig {
    return writeConfig(this.options, this.notes);
  }

  /**
   * x [N, H, W, inChannels], H and W multiples of 2^(blocks - 1), and t, int32 or floating [N] or one for all images
   * -> [N, H, W, outChannels]. Throws ShapeError where images do not fit, ArgumentError where class labels are missing or not
   * wanted.
   */
  forward(x: Tensor, t: Tensor | number, { classLabels }: UNet2DInputs = {}): Tensor {
    this.expectImages(x);
    return scope(() => {
      const times = timesOf("UNet2D", t, x);
      const embedding = this.embed(times, classLabels, x);
      const input = this.options.centerInputSample ? x.mul(2).sub(1) : x;
      const skips = [this.conv_in.forward(input)];
      const bottom = this.descend(input, skips, embedding);
      const middle = this.mid_block ? this.mid_block.forward(bottom, embedding) : bottom;
      const result = this.ascend(middle, skips, embedding);
      return this.options.timeEmbeddingType === "fourier"
        ? result.div(times.to(x.dtype).reshape([-1, 1, 1, 1]))
        : result;
    });
  }

  private expectImages(x: Tensor): void {
    expectTensor("UNet2D", "x", x);
    expectRank("UNet2D", "x", x, 4, "[N, H, W, C]");
    if (x.shape[3] !== this.inChannels)
      throw new ShapeError({
        op: "UNet2D",
        problem: `x has shape ${showShape(x.shape)}, expected [N, H, W, ${this.inChannels}].`,
        advice: "Images are NHWC: of NCHW ones take permute([0, 2, 3, 1]).",
      });
    const steps = this.down_blocks.length - 1;
    if (x.shape[1] % 2 ** steps !== 0 || x.shape[2] % 2 ** steps !== 0)
      throw new ShapeError({
        op: "UNet2D",
        problem: `x has shape ${showShape(x.shape)}, expected height and width to be multiples of ${2 ** steps}: images are halved ${steps} times.`,
        advice: "Pad or resize the images.",
      });
  }

  /** Times and class labels -> [N, time embedding]. */
  private embed(times: Tensor, classLabels: Tensor | undefined, x: Tensor): Tensor {
    const time = this.time_embedding.forward(this.project(times, x));
    if (!this.class_embedding) {
      if (classLabels === undefined) return time;
      throw new ArgumentError({
        op: "UNet2D",
        problem: "classLabels are given to a model without classes.",
        advice: "Build it with numClassEmbeds, or leave the labels out.",
      });
    }
    if (classLabels === undefined)
      throw new ArgumentError({
        op: "UNet2D",
        problem: "classLabels are missing: the model is conditioned on classes.",
        advice: "Call forward(x, t, { classLabels }).",
      });
    this.expectLabels(classLabels, x);
    const isTime = this.class_embedding instanceof TimestepEmbedding;
    return time.add(this.class_embedding.forward(isTime ? this.project(classLabels, x) : classLabels));
  }

  private expectLabels(labels: Tensor, x: Tensor): void {
    expectTensor("UNet2D", "classLabels", labels);
    const expected =
      this.class_embedding instanceof Identity ? [x.shape[0], this.time_embedding.outFeatures] : [x.shape[0]];
    if (showShape(labels.shape) !== showShape(expected))
      throw new ShapeError({
        op: "UNet2D",
        problem: `classLabels have shape ${showShape(labels.shape)} for x ${showShape(x.shape)}, expected ${showShape(expected)}.`,
      });
  }

  /** Numbers [N] -> [N, ...], as `timeEmbeddingType` says. */
  private project(numbers: Tensor, x: Tensor): Tensor {
    const dtype = x.dtype === "float64" ? "float64" : "float32";
    if (this.time_proj instanceof Timesteps) return this.time_proj.forward(numbers, dtype);
    return this.time_proj.forward(this.time_proj instanceof Embedding ? numbers : numbers.to(dtype));
  }

  /** Runs the way down, which adds to the skips; the last of them. */
  private descend(input: Tensor, skips: Tensor[], embedding: Tensor): Tensor {
    let image = input;
    for (const block of this.down_blocks) {
      const result = block.forward(skips[skips.length - 1], embedding, image);
      skips.push(...result.skips);
      image = result.image;
    }
    return skips[skips.length - 1];
  }

  /** Runs the way up, which uses up the skips, and the layers after it. */
  private ascend(middle: Tensor, skips: Tensor[], embedding: Tensor): Tensor {
    let [x, image]: [Tensor, Tensor | undefined] = [middle, undefined];
    for (const block of this.up_blocks)
      ({ x, image } = block.forward(x, skips.splice(-block.resnets.length), embedding, image));
    const result = this.conv_out.forward(this.conv_norm_out.forward(x).silu());
    return image ? result.add(image) : result;
  }
}

function timeProjection(options: ResolvedUNet2DOptions, own: TensorOptions): UNet2D["time_proj"] {
  const { timeEmbeddingType, blockOutChannels, numTrainTimesteps, flipSinToCos, freqShift } = options;
  const [width] = blockOutChannels;
  switch (timeEmbeddingType) {
    case "positional":
      return new Timesteps(width, { flipSinToCos, freqShift });
    case "fourier":
      return new GaussianFourierProjection(width, { ...own, scale: fourierScale });
    case "learned":
      return new Embedding(numTrainTimesteps!, width, own);
  }
}

function classEmbedding(
  { classEmbedType, numClassEmbeds }: ResolvedUNet2DOptions,
  projected: number,
  timeDim: number,
  own: TensorOptions,
): UNet2D["class_embedding"] {
  if (classEmbedType === "timestep") return new TimestepEmbedding(projected, timeDim, own);
  if (classEmbedType === "identity") return new Identity();
  return numClassEmbeds === null ? undefined : new Embedding(numClassEmbeds, timeDim, own);
}

function blockSettings(options: ResolvedUNet2DOptions, timeDim: number, own: TensorOptions): BlockSettings {
  return {
    ...own,
    embeddingChannels: timeDim,
    groups: options.normNumGroups ?? undefined,
    headDim: options.attentionHeadDim ?? undefined,
    epsilon: options.normEps,
    activation: options.actFn,
    timeScaleShift: options.resnetTimeScaleShift,
    dropout: options.dropout,
    downsamplePadding: options.downsamplePadding,
  };
}

function downBlocks(options: ResolvedUNet2DOptions, settings: BlockSettings): UNet2D["down_blocks"] {
  const { downBlockTypes, blockOutChannels: channels, layersPerBlock: layers } = options;
  return buildParts("down_blocks", channels.length, (i) => {
    const block = { ...settings, layers, inChannels: channels[Math.max(i - 1, 0)], outChannels: channels[i] };
    const resample = i < channels.length - 1;
    const by = <T>(how: T): T | undefined => (resample ? how : undefined);
    switch (plainBlockType(downBlockTypes[i])) {
      case "DownBlock2D":
        return new DownBlock(block, { attention: false, downsample: by("conv") });
      case "AttnDownBlock2D":
        return new DownBlock(block, { attention: true, downsample: by(options.downsampleType) });
      case "ResnetDownsampleBlock2D":
        return new DownBlock(block, { attention: false, downsample: by("resnet") });
      case "SkipDownBlock2D":
        return new SkipDownBlock(block, { attention: false, resample });
      case "AttnSkipDownBlock2D":
        return new SkipDownBlock(block, { attention: true, resample });
    }
  });
}

function upBlocks(options: ResolvedUNet2DOptions, settings: BlockSettings): UNet2D["up_blocks"] {
  const { upBlockTypes, layersPerBlock } = options;
  const channels = options.blockOutChannels.toReversed();
  const last = channels.length - 1;
  return buildParts("up_blocks", channels.length, (i) => {
    const block = {
      ...settings,
      layers: layersPerBlock + 1,
      inChannels: channels[Math.max(i - 1, 0)],
      outChannels: channels[i],
      skipChannels: channels[Math.min(i + 1, last)],
    };
    const resample = i < last;
    const by = <T>(how: T): T | undefined => (resample ? how : undefined);
    switch (plainBlockType(upBlockTypes[i])) {
      case "UpBlock2D":
        return new UpBlock(block, { attention: false, upsample: by("conv") });
      case "AttnUpBlock2D":
        return new UpBlock(block, { attention: true, upsample: by(options.upsampleType) });
      case "ResnetUpsampleBlock2D":
        return new UpBlock(block, { attention: false, upsample: by("resnet") });
      case "SkipUpBlock2D":
        return new SkipUpBlock(block, { attention: false, resample });
      case "AttnSkipUpBlock2D":
        return new SkipUpBlock(block, { attention: true, resample });
    }
  });
}

function midBlock(options: ResolvedUNet2DOptions, settings: BlockSettings): MidBlock | undefined {
  const { midBlockType, blockOutChannels, addAttention, attnNormNumGroups, midBlockScaleFactor } = options;
  if (midBlockType === null) return undefined;
  return buildPart(
    "mid_block",
    () =>
      new MidBlock({
        ...settings,
        channels: blockOutChannels[blockOutChannels.length - 1],
        attention: addAttention,
        attentionGroups: attnNormNumGroups ?? undefined,
        outputScale: midBlockScaleFactor,
      }),
  );
}
