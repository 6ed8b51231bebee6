// Seeded randomness: the permanent enumeration of draws, and the global stream for tensors made outside of train and sample.

import { ArgumentError, DTypeError, showValue } from "../errors/index.ts";
import type { DType, Shape } from "../ops/index.ts";
import { ops } from "../ops/index.ts";
import type { StepNumber } from "./recording.ts";
import { Counter, observe, perStep } from "./recording.ts";
import type { Tensor, TensorOptions } from "./tensor.ts";
import { apply, defaultDType, executorOf } from "./tensor.ts";

/**
 * What random numbers are drawn for. The number is a word of the Philox counter, so these uses share no bits under
 * one seed. It never changes, or old seeds would give new pictures.
 */
export const draws = {
  /** x_T of a sampling run. */
  initialNoise: 0,
  /** epsilon of a training step. */
  forwardNoise: 1,
  /** t of a training step. */
  timestep: 2,
  /** z of a reverse step. */
  reverseNoise: 3,
  /** The second noise of a reverse step that needs two. */
  secondReverseNoise: 4,
  /** Order of the data in an epoch. */
  shuffle: 5,
  /** Initial weights. */
  weights: 6,
  /** `randn`, `rand` and `randint` where no other use is named. */
  normal: 7,
  /** Of `rand`. */
  uniform: 8,
  /** Of `randint`. */
  integer: 9,
  /** Dropout of the layer number k is drawn at dropout + k. */
  dropout: 256,
} as const;

/** A seed: a non-negative safe integer, or a bigint of up to 64 bits. */
export type Seed = number | bigint;

/** Checks a seed and makes it the 64-bit key of the generator. */
export function seedKey(op: string, seed: Seed): bigint {
  const valid = typeof seed === "bigint" ? seed >= 0n && seed < 1n << 64n : Number.isSafeInteger(seed) && seed >= 0;
  if (!valid)
    throw new ArgumentError({
      op,
      problem: `seed is ${showValue(seed)}.`,
      advice: "A seed is an integer from 0 to 2^53 - 1, or a bigint below 2^64.",
    });
  return BigInt(seed);
}

const stream = { key: 0n, tensors: new Counter(), parameters: 0, dropouts: 0 };

/**
 * Restarts the global stream from which weights are initialised, layers of dropout are numbered, and `randn`, `rand` and `randint` without a `seed`
 * draw (PyTorch's `torch.manual_seed`). It starts at seed 0: two runs of a program draw the same numbers.
 */
export function manualSeed(seed: Seed): void {
  const key = seedKey("manualSeed", seed);
  stream.tensors.set(0);
  stream.key = key;
  stream.parameters = 0;
  stream.dropouts = 0;
}

/** Where in the noise a tensor lies: element e of row i is drawn at counter (e / 4, draw, image + i, step). */
export interface NoiseOptions {
  /** Default: the global stream's, at its next place. */
  readonly seed?: Seed;
  /** What it is drawn for, see `draws`. The same place in the noise gives the same bits again. */
  readonly draw?: number;
  /** Number of the image in row 0. */
  readonly image?: StepNumber;
  /** Number of the step that it is drawn for. */
  readonly step?: StepNumber;
}

/** @internal The place in the noise that the options name, else the next one of the global stream. */
export function placeInNoise(op: string, options: NoiseOptions, use: number) {
  const { draw = use, image = 0 } = options;
  const key = (): bigint => observe(() => stream.key);
  if (options.seed === undefined && options.step === undefined)
    return { seed: key(), draw, image, step: perStep(() => stream.tensors.add()) };
  const seed = options.seed === undefined ? key() : seedKey(op, options.seed);
  return { seed, draw, image, step: options.step ?? 0 };
}

/** @internal The floating dtype asked for, or the default one. */
export function floatingType(op: string, dtype: DType | undefined): "float32" | "float64" {
  if (dtype === "int32")
    throw new DTypeError({ op, problem: "dtype is int32, expected float32 or float64.", advice: "Use randint." });
  return dtype ?? defaultDType();
}

/**
 * Standard normal numbers (`torch.randn`): the same bits on every device. Rows of axis 0 are images: row k of a seed
 * is the same whatever the batch.
 */
export function randn(shape: Shape, options: TensorOptions & NoiseOptions = {}): Tensor {
  const dtype = floatingType("randn", options.dtype);
  return apply(ops.randn, [], { shape, dtype, ...placeInNoise("randn", options, draws.normal) }, executorOf(options));
}

/** Uniform numbers in [low, high), default [0, 1) (`torch.rand`). */
export function rand(
  shape: Shape,
  options: TensorOptions & NoiseOptions & { readonly low?: number; readonly high?: number } = {},
): Tensor {
  const { low = 0, high = 1 } = options;
  const dtype = floatingType("rand", options.dtype);
  return apply(
    ops.rand,
    [],
    { shape, dtype, ...placeInNoise("rand", options, draws.uniform), low, high },
    executorOf(options),
  );
}

/** Integers low <= value < high as int32 (`torch.randint`). */
export function randint(
  low: number,
  high: number,
  shape: Shape,
  options: NoiseOptions & { readonly device?: TensorOptions["device"] } = {},
): Tensor {
  return apply(
    ops.randint,
    [],
    { shape, ...placeInNoise("randint", options, draws.integer), low, high },
    executorOf(options),
  );
}

/** @internal The place in the noise of the next parameter to be initialised. */
export function nextWeights(): { seed: bigint; draw: number; image: number; step: number } {
  return { seed: stream.key, draw: draws.weights, image: 0, step: stream.parameters++ };
}

/** @internal What the next layer of dropout draws for. */
export function nextDropout(): number {
  return draws.dropout + stream.dropouts++;
}
