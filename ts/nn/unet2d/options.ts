// The options of UNet2D: their types and meaning, what is allowed, and what does not fit together.

import { z } from "zod";
import type { LangevinError } from "../../errors/index.ts";
import { showValue } from "../../errors/index.ts";
import type { ActivationName } from "./activation.ts";
import { activations } from "./activation.ts";
import { imageChannels } from "./skip-blocks.ts";

const downBlocks = [
  "DownBlock2D",
  "AttnDownBlock2D",
  "ResnetDownsampleBlock2D",
  "SkipDownBlock2D",
  "AttnSkipDownBlock2D",
] as const;
const upBlocks = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D"] as const;

/** Old files write the same names with this before them. */
const oldPrefix = "UNetRes";

/** A block on the way down without the prefix of old files. */
export type PlainDownBlockType = (typeof downBlocks)[number];
/** A block on the way up without the prefix of old files. */
export type PlainUpBlockType = (typeof upBlocks)[number];

/**
 * A block on the way down, as diffusers names it: resnet blocks and a step to half the size ("DownBlock2D"), the same with
 * attention after every resnet block ("AttnDownBlock2D"), with a resnet block that halves ("ResnetDownsampleBlock2D"), or
 * NCSN++'s, through which the image goes beside its features ("SkipDownBlock2D", "AttnSkipDownBlock2D").
 */
export type DownBlockType = PlainDownBlockType | `UNetRes${PlainDownBlockType}`;
/** A block on the way up, as diffusers names it; see `DownBlockType`. */
export type UpBlockType = PlainUpBlockType | `UNetRes${PlainUpBlockType}`;

/**
 * Options of `UNet2D`. Each is a key of diffusers' config.json in camel case (`down_block_types` is `downBlockTypes`), and what
 * is left out is what diffusers' `UNet2DModel` takes for it.
 */
export interface UNet2DOptions {
  /** [height, width] of the images, or one number for both; default null: any. Only for who asks the model. */
  readonly sampleSize?: number | readonly [height: number, width: number] | null;
  /** Channels of x; default 3. */
  readonly inChannels?: number;
  /** Channels of the result; default 3. */
  readonly outChannels?: number;
  /** Whether images from 0 to 1 are brought to -1 to 1 first; default false. */
  readonly centerInputSample?: boolean;
  /**
   * What the network is told of t: sines and cosines of it ("positional", the default); of its logarithm, at random
   * frequencies ("fourier": t is then a noise level above 0, and the result is divided by it); a row of a table ("learned").
   */
  readonly timeEmbeddingType?: "positional" | "fourier" | "learned";
  /** Channels of the time embedding; default null: four times `blockOutChannels[0]`. */
  readonly timeEmbeddingDim?: number | null;
  /** See `timestepEmbedding`; default 0. */
  readonly freqShift?: number;
  /** Whether cosines come before sines; default true. */
  readonly flipSinToCos?: boolean;
  /** The blocks on the way down, from the largest images on; default one "DownBlock2D" and three "AttnDownBlock2D". */
  readonly downBlockTypes?: readonly DownBlockType[];
  /** The block between, or null for none; default "UNetMidBlock2D". */
  readonly midBlockType?: "UNetMidBlock2D" | null;
  /** The blocks on the way up, from the smallest images on; default three "AttnUpBlock2D" and one "UpBlock2D". */
  readonly upBlockTypes?: readonly UpBlockType[];
  /** Channels of the blocks on the way down; default [224, 448, 672, 896]. */
  readonly blockOutChannels?: readonly number[];
  /** Resnet blocks in each block on the way down, on the way up one more; default 2. */
  readonly layersPerBlock?: number;
  /** What sums in the middle block are divided by; default 1. */
  readonly midBlockScaleFactor?: number;
  /** Zeros around images that a convolution halves: 1 (the default), or 0 for one row and column below and right. */
  readonly downsamplePadding?: 0 | 1;
  /** How blocks with attention halve images: by a convolution ("conv", the default) or by a resnet block. */
  readonly downsampleType?: "conv" | "resnet";
  /** How blocks with attention double images; default "conv". */
  readonly upsampleType?: "conv" | "resnet";
  /** Probability of a feature to be dropped while training; default 0. */
  readonly dropout?: number;
  /** Activation of the resnet blocks; default "silu". */
  readonly actFn?: ActivationName;
  /** Channels of a head of attention, default 8; null: all channels of a block in one head. */
  readonly attentionHeadDim?: number | null;
  /** Groups of the normalisations, default 32; null where all blocks choose themselves (the "Skip" ones do). */
  readonly normNumGroups?: number | null;
  /** Groups before attention in the middle; default null: `normNumGroups`, but no normalisation with "scale_shift". */
  readonly attnNormNumGroups?: number | null;
  /** Added to the variance in normalisations; default 1e-5. */
  readonly normEps?: number;
  /** How resnet blocks are told the time: see `ResnetSettings.timeScaleShift`; default "default". */
  readonly resnetTimeScaleShift?: "default" | "scale_shift";
  /** Whether the middle block has attention; default true. */
  readonly addAttention?: boolean;
  /**
   * What becomes of class labels: a row of a table of `numClassEmbeds` (null, the default), the same as of timesteps
   * ("timestep"), or nothing, as they are embeddings already ("identity").
   */
  readonly classEmbedType?: "timestep" | "identity" | null;
  /** Number of classes; default null: labels are not taken, unless `classEmbedType` says how. */
  readonly numClassEmbeds?: number | null;
  /** Number of timesteps; default null. Needed where their embedding is learned. */
  readonly numTrainTimesteps?: number | null;
}

/** The options of a model that exists: none is left out. */
export type ResolvedUNet2DOptions = Required<UNet2DOptions>;

/** A block's name without the prefix of old files. */
export function plainBlockType<Plain extends string>(type: Plain | `UNetRes${Plain}`): Plain {
  return (type.startsWith(oldPrefix) ? type.slice(oldPrefix.length) : type) as Plain;
}

// ---- what each option may be ------------------------------------------------------------------------------------------
//
// The message of each rule is what was expected, in words that follow "expected".

/** Why diffusers knows a block and `UNet2DModel`, or this class, does not build it; by what is in its name. */
const refusals: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/CrossAttn/, "blocks with cross-attention are those of a text-conditional UNet2DConditionModel"],
  [/EncoderBlock2D|DecoderBlock2D/, "encoder and decoder blocks are those of an autoencoder, without a time"],
  [/^(UNetRes)?K(Down|Up)Block2D$/, "blocks of the K-upscaler are not supported"],
];

function blockType<const Plain extends string>(names: readonly Plain[]) {
  const known: readonly string[] = names.flatMap((name) => [name, oldPrefix + name]);
  return z.custom<Plain | `UNetRes${Plain}`>((value) => known.includes(value as string), {
    error: ({ input }) => {
      const reason = typeof input === "string" ? refusals.find(([pattern]) => pattern.test(input))?.[1] : undefined;
      return `one of ${names.join(", ")}${reason === undefined ? "" : ` (${reason})`}`;
    },
  });
}

function integer(least: number) {
  const text = `an integer >= ${least}`;
  return z.int(text).min(least, text);
}

function oneOf<const T extends string | number>(...values: readonly T[]) {
  return z.literal(values, `one of ${values.map((value) => JSON.stringify(value)).join(", ")}`);
}

const count = integer(1);
const flag = z.boolean("true or false");
const size = z.union([count, z.tuple([count, count])], "an integer >= 1, a pair of them, or null");
const positive = z.number("a number above 0").positive("a number above 0");
const probability = z.number("a number from 0 to 1").min(0, "a number from 0 to 1").max(1, "a number from 0 to 1");
const list = <T extends z.ZodType>(element: T, what: string) => z.array(element, what).min(1, what).readonly();

const optionsSchema = z.strictObject({
  sampleSize: size.nullable().default(null),
  inChannels: count.default(3),
  outChannels: count.default(3),
  centerInputSample: flag.default(false),
  timeEmbeddingType: oneOf("positional", "fourier", "learned").default("positional"),
  timeEmbeddingDim: count.nullable().default(null),
  freqShift: z.number("a number").default(0),
  flipSinToCos: flag.default(true),
  downBlockTypes: list(blockType(downBlocks), "a list of names of blocks").default(
    Object.freeze(["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]),
  ),
  midBlockType: oneOf("UNetMidBlock2D").nullable().default("UNetMidBlock2D"),
  upBlockTypes: list(blockType(upBlocks), "a list of names of blocks").default(
    Object.freeze(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
  ),
  blockOutChannels: list(count, "a list of integers >= 1").default(Object.freeze([224, 448, 672, 896])),
  layersPerBlock: count.default(2),
  midBlockScaleFactor: positive.default(1),
  downsamplePadding: oneOf(0, 1).default(1),
  downsampleType: oneOf("conv", "resnet").default("conv"),
  upsampleType: oneOf("conv", "resnet").default("conv"),
  dropout: probability.default(0),
  actFn: oneOf(...(Object.keys(activations) as ActivationName[])).default("silu"),
  attentionHeadDim: count.nullable().default(8),
  normNumGroups: count.nullable().default(32),
  attnNormNumGroups: count.nullable().default(null),
  normEps: positive.default(1e-5),
  resnetTimeScaleShift: oneOf("default", "scale_shift").default("default"),
  addAttention: flag.default(true),
  classEmbedType: oneOf("timestep", "identity").nullable().default(null),
  numClassEmbeds: count.nullable().default(null),
  numTrainTimesteps: count.nullable().default(null),
}) satisfies z.ZodType<ResolvedUNet2DOptions>;

/** Names of all options. */
export const optionNames = Object.keys(optionsSchema.shape) as readonly (keyof UNet2DOptions)[];

/** How wrong options are spoken of: as options, or as keys of a file. */
export interface OptionNaming {
  /** What an option is called; a name that is none comes back as it is. */
  readonly name: (option: string) => string;
  /** Makes the error. */
  readonly error: (problem: string) => LangevinError;
}

/** Fills in defaults; throws an error that names every option that is wrong by itself, or does not fit the others. */
export function resolveOptions(options: unknown, { name, error }: OptionNaming): ResolvedUNet2DOptions {
  const { success, data, error: wrong } = optionsSchema.safeParse(options);
  if (!success) throw error(wrong.issues.map((issue) => problemOf(issue, options, name)).join("; "));
  const misfits = [...misfitsOf(data, name)];
  if (misfits.length > 0) throw error(misfits.join("; "));
  return deepFreeze(data);
}

/** One thing that is wrong: the option, its value and what was expected. */
function problemOf(issue: z.core.$ZodIssue, options: unknown, name: (option: string) => string): string {
  if (issue.code === "unrecognized_keys") return `unknown: ${issue.keys.join(", ")}`;
  const [option, ...inside] = issue.path;
  if (option === undefined) return `the options are ${showValue(options)}, expected an object`;
  const value = issue.path.reduce<unknown>((part, key) => (part as Record<PropertyKey, unknown>)[key], options);
  const place = inside.map((index) => `[${String(index)}]`).join("");
  return `${name(String(option))}${place} is ${showValue(value)}, expected ${issue.message}`;
}

// ---- what options must be to each other -------------------------------------------------------------------------------

const isSkip = (type: string): boolean => type.includes("Skip");

/** What does not fit together. Groups and heads are refused by the blocks that have them. */
function* misfitsOf(options: ResolvedUNet2DOptions, name: (option: string) => string): Generator<string> {
  const { blockOutChannels, downBlockTypes, upBlockTypes } = options;
  const levels = blockOutChannels.length;
  for (const option of ["downBlockTypes", "upBlockTypes"] as const)
    if (options[option].length !== levels)
      yield `${name(option)} has ${options[option].length} blocks, expected ${levels}, as many as ${name("blockOutChannels")}`;
  if (downBlockTypes.length !== levels || upBlockTypes.length !== levels) return;
  yield* sizeMisfits(options, name);
  yield* timeMisfits(options, name);
  yield* skipMisfits(options, name);
}

function* sizeMisfits(options: ResolvedUNet2DOptions, name: (option: string) => string): Generator<string> {
  const { sampleSize, blockOutChannels } = options;
  const multiple = 2 ** (blockOutChannels.length - 1);
  for (const pixels of [sampleSize ?? []].flat())
    if (pixels % multiple !== 0)
      yield `${name("sampleSize")} is ${[sampleSize].flat().join(" x ")}, expected multiples of ${multiple}, as ${blockOutChannels.length} levels halve images ${blockOutChannels.length - 1} times`;
}

function* timeMisfits(options: ResolvedUNet2DOptions, name: (option: string) => string): Generator<string> {
  const { timeEmbeddingType, numTrainTimesteps, freqShift, blockOutChannels } = options;
  const frequencies = Math.floor(blockOutChannels[0] / 2);
  if (timeEmbeddingType === "learned" && numTrainTimesteps === null)
    yield `${name("numTrainTimesteps")} is null, expected the number of timesteps, as ${name("timeEmbeddingType")} is "learned"`;
  if (timeEmbeddingType === "positional" && !(freqShift < frequencies))
    yield `${name("freqShift")} is ${freqShift}, expected less than ${frequencies}, half of ${name("blockOutChannels")}[0]`;
}

/** Blocks through which the image goes: its channels are fixed, and it must be as large as the features. */
function* skipMisfits(options: ResolvedUNet2DOptions, name: (option: string) => string): Generator<string> {
  const last = options.blockOutChannels.length - 1;
  // The last block on either way keeps the size, and neither reads nor writes the image.
  const touchesImage = (type: string, i: number): boolean => isSkip(type) && i < last;
  const ways = [
    {
      option: "downBlockTypes",
      channels: "inChannels",
      misplaced: touchesImage,
      after: (type: string) => !isSkip(type),
    },
    { option: "upBlockTypes", channels: "outChannels", misplaced: (type: string) => !isSkip(type), after: isSkip },
  ] as const;
  for (const { option, channels, misplaced, after } of ways) {
    const types: readonly string[] = options[option];
    const plain = types.findIndex((type) => !isSkip(type));
    if (plain >= 0 && options.normNumGroups === null)
      yield `${name("normNumGroups")} is null, expected a number of groups for ${name(option)}[${plain}] (${types[plain]})`;
    const skip = types.findIndex(touchesImage);
    if (skip >= 0 && options[channels] !== imageChannels)
      yield `${name(channels)} is ${options[channels]}, expected ${imageChannels}, as ${name(option)}[${skip}] (${types[skip]}) knows no other images`;
    const before = types.findIndex(after);
    const wrong = types.findIndex((type, i) => before >= 0 && i > before && misplaced(type, i));
    if (wrong >= 0)
      yield `${name(option)}[${wrong}] is ${types[wrong]} after ${types[before]}, which does not pass on an image of the right size`;
  }
}

function deepFreeze<T extends object>(options: T): T {
  for (const value of Object.values(options)) if (Array.isArray(value)) Object.freeze(value);
  return Object.freeze(options);
}
