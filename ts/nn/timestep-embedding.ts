// Embeddings of timesteps and noise levels: sines and cosines of them at many frequencies, and the layers that follow.

import { ArgumentError, DTypeError, showValue } from "../errors/index.ts";
import { expectIntegers, expectRank } from "../ops/checks.ts";
import type { DType } from "../ops/index.ts";
import { concat, zeros } from "../tensor/creation.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../tensor/tensor.ts";
import { defaultDType, tensor } from "../tensor/tensor.ts";
import { expectTensor } from "../tensor/value.ts";
import { normal } from "./init.ts";
import type { LayerOptions } from "./layers.ts";
import { Linear } from "./layers.ts";
import { Module } from "./module.ts";

/** Options of `timestepEmbedding`; the defaults are those of diffusers. */
export interface TimestepEmbeddingOptions {
  /** Whether the cosines come first; default false: the sines do (`flip_sin_to_cos`). */
  readonly flipSinToCos?: boolean;
  /** What is taken from the number of frequencies in the exponent; default 1 (`downscale_freq_shift`); below floor(dim / 2). */
  readonly freqShift?: number;
  /** Factor of the angles; default 1. */
  readonly scale?: number;
  /** The longest period is about 2 pi times this; default 10,000. */
  readonly maxPeriod?: number;
  /** dtype of the result; default: that of t, or the default one where t is int32. */
  readonly dtype?: DType;
}

/**
 * Sines and cosines of timesteps (Vaswani et al. 2017, section 3.5; diffusers' `get_timestep_embedding`): t [N], int32
 * or floating, fractions and negative numbers included, -> [N, dim] with sin(scale t w_i) in column i and cos(scale t w_i)
 * in column half + i, where half = floor(dim / 2) and w_i = maxPeriod^(-i / (half - freqShift)). An odd dim ends with a
 * column of zeros. Frequencies are computed in float64 and rounded once. Throws ShapeError unless t is [N], and
 * ArgumentError for options outside their ranges.
 */
export function timestepEmbedding(t: Tensor, dim: number, options: TimestepEmbeddingOptions = {}): Tensor {
  const op = "timestepEmbedding";
  const { flipSinToCos = false } = options;
  expectTensor(op, "t", t);
  expectRank(op, "t", t, 1, "[N]");
  const frequencies = angularFrequencies(op, dim, options);
  const dtype = options.dtype ?? (t.dtype === "int32" ? defaultDType() : t.dtype);
  if (dtype === "int32") throw new DTypeError({ op, problem: "dtype is int32, expected float32 or float64." });
  const to = { dtype, device: t.device };
  return scope(() => {
    const angles = t.to(dtype).unsqueeze(1).mul(tensor(frequencies, to));
    const waves = sinesAndCosines(angles, flipSinToCos);
    return dim % 2 === 0 ? waves : concat([waves, zeros([t.size, 1], to)], 1);
  });
}

/** scale maxPeriod^(-i / (half - freqShift)), for i below half = floor(dim / 2). */
function angularFrequencies(op: string, dim: number, options: TimestepEmbeddingOptions): Float64Array {
  const { freqShift = 1, scale = 1, maxPeriod = 10_000 } = options;
  expectIntegers(op, "dim", [dim], 1, 2);
  const half = Math.floor(dim / 2);
  if (!(freqShift < half))
    throw new ArgumentError({
      op,
      problem: `freqShift is ${showValue(freqShift)}, expected a number below ${half}, the number of frequencies of dim ${dim}.`,
      advice: "Give a larger dim, or freqShift: 0.",
    });
  if (!Number.isFinite(scale))
    throw new ArgumentError({ op, problem: `scale is ${showValue(scale)}, expected a finite number.` });
  if (!(maxPeriod > 0 && maxPeriod < Infinity))
    throw new ArgumentError({ op, problem: `maxPeriod is ${showValue(maxPeriod)}, expected a number above 0.` });
  const step = -Math.log(maxPeriod) / (half - freqShift);
  return Float64Array.from({ length: half }, (_, i) => scale * Math.exp(step * i));
}

/** [N, half] -> [N, 2 half]. */
function sinesAndCosines(angles: Tensor, flipSinToCos: boolean): Tensor {
  const waves = [angles.sin(), angles.cos()];
  return concat(flipSinToCos ? waves.reverse() : waves, 1);
}

/**
 * Two linear layers with SiLU between, which follow a sinusoidal embedding (diffusers' `TimestepEmbedding`):
 * [N, inFeatures] -> [N, outFeatures]. The hidden layer is as wide as the result.
 */
export class TimestepEmbedding<In extends number = number, Out extends number = number> extends Module {
  /** Size of the last axis of the sinusoidal embedding. */
  readonly inFeatures: In;
  /** Size of the last axis of the result. */
  readonly outFeatures: Out;
  /** The first layer; named as in diffusers. */
  readonly linear_1: Linear;
  /** The second one. */
  readonly linear_2: Linear;

  constructor(inFeatures: In, outFeatures: Out, options: LayerOptions = {}) {
    super();
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.linear_1 = new Linear(inFeatures, outFeatures, options);
    this.linear_2 = new Linear(outFeatures, outFeatures, options);
  }

  /** Applies the layers to an embedding. */
  forward(embedding: Tensor): Tensor {
    return scope(() => this.linear_2.forward(this.linear_1.forward(embedding).silu()));
  }
}

/** Options of `GaussianFourierProjection`. */
export interface GaussianFourierOptions extends TensorOptions {
  /** Standard deviation of the frequencies; default 1. */
  readonly scale?: number;
  /** Whether the logarithm of x is projected; default true. */
  readonly log?: boolean;
  /** Whether the cosines come first; default false. */
  readonly flipSinToCos?: boolean;
}

/**
 * Sines and cosines of noise levels at random frequencies, which stay as they were drawn (Tancik et al. 2020, eq. 5;
 * diffusers' `GaussianFourierProjection`): floating x [N], by default through ln, so that it is above 0,
 * -> [N, 2 frequencies], sin(2 pi ln(x) w_i) and then cos(2 pi ln(x) w_i). Throws ShapeError unless x is [N].
 */
export class GaussianFourierProjection extends Module {
  /** Size of the last axis of the result: two for each frequency. */
  readonly outFeatures: number;
  /** The frequencies; frozen. */
  readonly weight: Parameter;
  /** Whether the logarithm of x is projected. */
  readonly log: boolean;
  /** Whether the cosines come first. */
  readonly flipSinToCos: boolean;

  constructor(frequencies = 256, options: GaussianFourierOptions = {}) {
    super();
    expectIntegers("GaussianFourierProjection", "frequencies", [frequencies], 1, 1);
    this.outFeatures = 2 * frequencies;
    this.weight = normal([frequencies], options.scale ?? 1, "plain", options).requireGrad(false);
    this.log = options.log ?? true;
    this.flipSinToCos = options.flipSinToCos ?? false;
  }

  /** Projects noise levels. */
  forward(x: Tensor): Tensor {
    expectTensor("GaussianFourierProjection", "x", x);
    expectRank("GaussianFourierProjection", "x", x, 1, "[N]");
    return scope(() => {
      const levels = this.log ? x.log() : x;
      const angles = levels.unsqueeze(1).mul(this.weight.mul(2 * Math.PI));
      return sinesAndCosines(angles, this.flipSinToCos);
    });
  }
}
