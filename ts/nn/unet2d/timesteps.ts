// Timesteps: the sinusoidal embedding as a part of a model, and t in all forms that a model takes.

import { ShapeError, showShape } from "../../errors/index.ts";
import { full } from "../../tensor/creation.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { expectTensor } from "../../tensor/value.ts";
import { Module } from "../module.ts";
import { timestepEmbedding } from "../timestep-embedding.ts";

/** `timestepEmbedding` as a layer without weights (diffusers' `Timesteps`): t [N] -> [N, dim]. */
export class Timesteps extends Module {
  /** Size of the last axis of the result. */
  readonly outFeatures: number;
  private readonly flipSinToCos: boolean;
  private readonly freqShift: number;

  constructor(dim: number, options: { readonly flipSinToCos: boolean; readonly freqShift: number }) {
    super();
    this.outFeatures = dim;
    this.flipSinToCos = options.flipSinToCos;
    this.freqShift = options.freqShift;
  }

  /** `dtype` is that of the result. */
  forward(t: Tensor, dtype: "float32" | "float64"): Tensor {
    const { flipSinToCos, freqShift } = this;
    return timestepEmbedding(t, this.outFeatures, { flipSinToCos, freqShift, dtype });
  }
}

/** One time for each image of x [N, ...]: a number or a single time is that of all. */
export function timesOf(op: string, t: Tensor | number, x: Tensor): Tensor {
  const [images] = x.shape;
  if (typeof t === "number")
    return full([images], t, { dtype: Number.isInteger(t) ? "int32" : x.dtype, device: x.device });
  expectTensor(op, "t", t);
  if (t.rank === 1 && t.size === images) return t;
  if (t.rank > 1 || t.size !== 1)
    throw new ShapeError({
      op,
      problem: `t has shape ${showShape(t.shape)}, expected [${images}], one for each image of x ${showShape(x.shape)}, or one for all.`,
    });
  return t.reshape([1]).broadcastTo([images]);
}
