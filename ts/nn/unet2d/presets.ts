// Published models by name: the options of the networks, as facts.

import type { UNet2DOptions } from "./options.ts";

/** What google's ports of Ho et al.'s weights have in common. */
const ddpm = {
  inChannels: 3,
  outChannels: 3,
  layersPerBlock: 2,
  attentionHeadDim: null,
  downsamplePadding: 0,
  flipSinToCos: false,
  freqShift: 1,
  normEps: 1e-6,
} as const satisfies UNet2DOptions;

/** The blocks of the network for 256x256 images: attention at 16x16. */
const ddpmAt256 = {
  blockOutChannels: [128, 128, 256, 256, 512, 512],
  downBlockTypes: ["DownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
  upBlockTypes: ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"],
} as const satisfies UNet2DOptions;

/** What openai's consistency models (Song et al. 2023) have in common, as diffusers' conversion script writes them. */
const consistency = {
  attentionHeadDim: 64,
  downsampleType: "resnet",
  upsampleType: "resnet",
} as const satisfies UNet2DOptions;

/** Options by the model's name. */
export const presets = {
  /** google/ddpm-cifar10-32 (Ho et al. 2020): 35,746,307 parameters. */
  "ddpm-cifar10": {
    ...ddpm,
    sampleSize: 32,
    blockOutChannels: [128, 256, 256, 256],
    downBlockTypes: ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    upBlockTypes: ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
  },
  /** google/ddpm-celebahq-256, -church-256, -bedroom-256, -cat-256 (Ho et al. 2020): 113,673,219 parameters. */
  "ddpm-256": { ...ddpm, ...ddpmAt256, sampleSize: 256 },
  /** What diffusers' train_unconditional.py trains unless told otherwise: the same blocks, heads of 8 channels, 113,673,219 parameters. */
  "train-unconditional": { ...ddpmAt256, sampleSize: 64 },
  /**
   * google/ncsnpp-celebahq-256 (Song et al. 2021): noise levels instead of timesteps, the image goes beside its features;
   * 65,574,549 parameters.
   */
  "ncsnpp-256": {
    sampleSize: 256,
    timeEmbeddingType: "fourier",
    attentionHeadDim: null,
    normNumGroups: null,
    normEps: 1e-6,
    midBlockScaleFactor: Math.SQRT2,
    blockOutChannels: [128, 128, 256, 256, 256, 256, 256],
    downBlockTypes: [
      "SkipDownBlock2D",
      "SkipDownBlock2D",
      "SkipDownBlock2D",
      "SkipDownBlock2D",
      "AttnSkipDownBlock2D",
      "SkipDownBlock2D",
      "SkipDownBlock2D",
    ],
    upBlockTypes: [
      "SkipUpBlock2D",
      "SkipUpBlock2D",
      "AttnSkipUpBlock2D",
      "SkipUpBlock2D",
      "SkipUpBlock2D",
      "SkipUpBlock2D",
      "SkipUpBlock2D",
    ],
  },
  /** openai/diffusers-cd_imagenet64_l2 and its like: 1,000 classes at 64x64, 295,899,267 parameters. */
  "consistency-imagenet-64": {
    ...consistency,
    sampleSize: 64,
    layersPerBlock: 3,
    numClassEmbeds: 1000,
    blockOutChannels: [192, 384, 576, 768],
    downBlockTypes: ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    upBlockTypes: ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    resnetTimeScaleShift: "scale_shift",
    attnNormNumGroups: 32,
  },
  /** openai/diffusers-cd_bedroom256_l2, -cd_cat256_l2 and their like: 526,304,771 parameters. */
  "consistency-lsun-256": {
    ...consistency,
    sampleSize: 256,
    blockOutChannels: [256, 256, 512, 512, 1024, 1024],
    downBlockTypes: [
      "ResnetDownsampleBlock2D",
      "ResnetDownsampleBlock2D",
      "ResnetDownsampleBlock2D",
      "AttnDownBlock2D",
      "AttnDownBlock2D",
      "AttnDownBlock2D",
    ],
    upBlockTypes: [
      "AttnUpBlock2D",
      "AttnUpBlock2D",
      "AttnUpBlock2D",
      "ResnetUpsampleBlock2D",
      "ResnetUpsampleBlock2D",
      "ResnetUpsampleBlock2D",
    ],
  },
} as const satisfies Record<string, UNet2DOptions>;

/** Names of published models. */
export type UNet2DPreset = keyof typeof presets;
