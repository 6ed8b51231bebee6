// MultiHeadAttention: attention between linear layers, of a sequence or an image to itself or to a context.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { ScaledDotProductAttentionOptions } from "../tensor/functional/attention.ts";
import { attention } from "../tensor/functional/attention.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LayerOptions } from "./layers.ts";
import { Linear } from "./layers.ts";
import { Module } from "./module.ts";

/** Options of `MultiHeadAttention`. */
export interface MultiHeadAttentionOptions extends LayerOptions {
  /** Channels of the context that keys and values come from; default: those of x. */
  readonly contextDim?: number;
  /** Whether the layer after the heads adds a bias; default: as `bias`. */
  readonly outBias?: boolean;
}

/**
 * Linear layers to queries, keys and values, attention in `heads` heads of channels / heads channels each, and a linear
 * layer back (`torch.nn.MultiheadAttention` with batch_first; the parameters have the names of diffusers' `Attention`:
 * `to_q`, `to_k`, `to_v`, `to_out.0`). x is [N, ..., channels]: the axes between are positions, those of a sequence or of
 * an image. Throws ArgumentError where heads do not divide the channels.
 */
export class MultiHeadAttention<Channels extends number = number> extends Module {
  /** Channels of x. */
  readonly inChannels: Channels;
  /** Channels of the result. */
  readonly outChannels: Channels;
  /** Number of heads, which share the channels equally. */
  readonly heads: number;
  /** Makes the queries, of x. */
  readonly to_q: Linear;
  /** Makes the keys, of what is attended to. */
  readonly to_k: Linear;
  /** Makes the values, of what is attended to. */
  readonly to_v: Linear;
  /** Mixes the heads; a list, as in diffusers, so that names in files agree. */
  readonly to_out: readonly [Linear];

  constructor(channels: Channels, heads: number, options: MultiHeadAttentionOptions = {}) {
    super();
    const { contextDim = channels, outBias = options.bias, ...layer } = options;
    if (!Number.isInteger(heads) || heads < 1 || channels % heads !== 0)
      throw new ArgumentError({
        op: "MultiHeadAttention",
        problem: `heads is ${heads}, expected an integer >= 1 that divides the ${channels} channels.`,
      });
    this.inChannels = channels;
    this.outChannels = channels;
    this.heads = heads;
    this.to_q = new Linear(channels, channels, layer);
    this.to_k = new Linear(contextDim, channels, layer);
    this.to_v = new Linear(contextDim, channels, layer);
    this.to_out = [new Linear(channels, channels, { ...layer, bias: outBias })];
  }

  /** x [N, ..., channels] looks at `context` [N, ..., contextDim], by default at itself -> the shape of x. */
  forward(x: Tensor, context: Tensor = x, options: ScaledDotProductAttentionOptions = {}): Tensor {
    return scope(() => {
      const [own, other] = [positions("x", x), context === x ? undefined : positions("context", context)];
      const source = other ?? own;
      const [q, k, v] = [this.to_q.forward(own), this.to_k.forward(source), this.to_v.forward(source)];
      const y = this.to_out[0].forward(attention(q, k, v, { ...options, heads: this.heads }));
      return y.rank === x.rank ? y : y.reshape([...x.shape.slice(0, -1), this.outChannels]);
    });
  }
}

/** [N, ..., C] as [N, L, C]. */
function positions(name: string, x: Tensor): Tensor {
  if (x.rank === 3) return x;
  if (x.rank < 3)
    throw new ShapeError({
      op: "MultiHeadAttention",
      problem: `${name} has shape ${showShape(x.shape)}, expected [N, ..., channels].`,
    });
  const length = x.shape.slice(1, -1).reduce((product, n) => product * n, 1);
  return x.reshape([x.shape[0], length, x.shape[x.rank - 1]]);
}
