// SpatialAttention: the pixels of an image look at each other.

import { ArgumentError, showValue } from "../../errors/index.ts";
import { attention } from "../../tensor/functional/attention.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { Linear } from "../layers.ts";
import { Module } from "../module.ts";
import { GroupNorm } from "../norm.ts";
import type { RenamedLayers } from "../weights.ts";
import { buildPart } from "../part.ts";

/** Options of `SpatialAttention`. */
export interface SpatialAttentionOptions extends TensorOptions {
  /** Channels of a head; default: all, in one head. */
  readonly headDim?: number;
  /** Groups of the normalisation before; undefined: there is none. */
  readonly groups?: number;
  /** Added to the variance there; default 1e-5. */
  readonly epsilon?: number;
  /** What the result is divided by; default 1. */
  readonly outputScale?: number;
}

/**
 * GroupNorm, attention of all pixels to all, and x added (Wang et al. 2018; Ho et al. 2020, appendix B; diffusers' `Attention`
 * as `UNet2DModel` makes it): x [N, H, W, channels] -> the same shape. There are floor(channels / headDim) heads of headDim
 * channels each: where headDim does not divide the channels, queries, keys and values are narrower than x. Throws
 * ArgumentError where headDim leaves no head, or groups do not divide the channels.
 */
export class SpatialAttention extends Module implements RenamedLayers {
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels of the result: those of x. */
  readonly outChannels: number;
  /** Number of heads. */
  readonly heads: number;
  /** The normalisation before; undefined where there is none. */
  readonly group_norm: GroupNorm | undefined;
  /** Makes the queries. */
  readonly to_q: Linear;
  /** Makes the keys. */
  readonly to_k: Linear;
  /** Makes the values. */
  readonly to_v: Linear;
  /** Mixes the heads; a list, as in diffusers, so that names in files agree. */
  readonly to_out: readonly [Linear];
  private readonly outputScale: number;

  constructor(channels: number, options: SpatialAttentionOptions = {}) {
    super();
    const { headDim = channels, groups, epsilon, outputScale = 1, device, dtype } = options;
    const heads = Math.floor(channels / headDim);
    if (!Number.isInteger(headDim) || headDim < 1 || heads < 1)
      throw new ArgumentError({
        op: "SpatialAttention",
        problem: `headDim is ${showValue(headDim)}, expected an integer from 1 to ${channels}, the number of channels.`,
        advice: "Leave headDim out (attention_head_dim null) for one head of all channels.",
      });
    const [own, width] = [{ device, dtype }, heads * headDim];
    this.inChannels = this.outChannels = channels;
    this.heads = heads;
    this.outputScale = outputScale;
    this.group_norm =
      groups === undefined
        ? undefined
        : buildPart("group_norm", () => new GroupNorm(groups, channels, { ...own, epsilon }));
    this.to_q = new Linear(channels, width, own);
    this.to_k = new Linear(channels, width, own);
    this.to_v = new Linear(channels, width, own);
    this.to_out = [new Linear(width, channels, own)];
  }

  /** As diffusers called the layers until 0.13, and as files of that time have them. */
  get formerNames(): Readonly<Record<string, string>> {
    return { query: "to_q", key: "to_k", value: "to_v", proj_attn: "to_out.0" };
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const [batch, height, width, channels] = x.shape;
      const h = (this.group_norm ? this.group_norm.forward(x) : x).reshape([batch, height * width, channels]);
      const [q, k, v] = [this.to_q, this.to_k, this.to_v].map((layer) => layer.forward(h));
      const mixed = this.to_out[0].forward(attention(q, k, v, { heads: this.heads }));
      const sum = mixed.reshape(x.shape).add(x);
      return this.outputScale === 1 ? sum : sum.div(this.outputScale);
    });
  }
}
