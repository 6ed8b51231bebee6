// The blocks of DiT: attention and a small network, each scaled, shifted and gated by what the image is conditioned on.

import { ArgumentError, showValue } from "../../errors/index.ts";
import { attention } from "../../tensor/functional/attention.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { SiLU } from "../activations.ts";
import { xavierUniform } from "../init.ts";
import { Linear } from "../layers.ts";
import { Module } from "../module.ts";
import { LayerNorm } from "../norm.ts";
import { Sequential } from "../sequential.ts";

/** A linear layer whose weights begin by Glorot's rule and whose bias begins as 0. */
function glorotLinear(inFeatures: number, outFeatures: number, options: TensorOptions): Linear {
  return new Linear(inFeatures, outFeatures, { ...options, init: xavierUniform(inFeatures, outFeatures) });
}

/** A normalisation that learns nothing itself: scale and shift come from the condition. */
function plainNorm(width: number, options: TensorOptions): LayerNorm {
  return new LayerNorm(width, { ...options, affine: false, epsilon: 1e-6 });
}

/**
 * `parts` numbers for each channel, of what the image is conditioned on; all 0 at first, which makes every block the identity
 * (Peebles and Xie 2023, section 3.2: adaLN-Zero).
 */
export class Modulation extends Sequential<readonly [SiLU, Linear]> {
  constructor(width: number, parts: number, options: TensorOptions = {}) {
    super(new SiLU(), new Linear(width, parts * width, { ...options, init: "zeros" }));
  }
}

/** c [N, width] -> what it has to say to the positions of an image, `parts` times [N, 1, width]. */
function parts(modulation: Modulation, c: Tensor, count: number): Tensor[] {
  return modulation
    .forward(c)
    .chunk(count, 1)
    .map((part) => part.unsqueeze(1));
}

/** x (1 + scale) + shift. */
function modulate(x: Tensor, shift: Tensor, scale: Tensor): Tensor {
  return x.mul(scale.add(1)).add(shift);
}

/** Attention of a sequence to itself, its queries, keys and values from one layer (timm's `Attention`): [N, L, width]. */
export class SelfAttention extends Module {
  /** Number of heads, which share the channels equally. */
  readonly heads: number;
  /** Makes queries, keys and values, in this order. */
  readonly qkv: Linear;
  /** Mixes the heads. */
  readonly proj: Linear;

  constructor(width: number, heads: number, options: TensorOptions = {}) {
    super();
    if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0)
      throw new ArgumentError({
        op: "SelfAttention",
        problem: `heads is ${showValue(heads)}, expected an integer >= 1 that divides the ${width} channels.`,
      });
    this.heads = heads;
    this.qkv = glorotLinear(width, 3 * width, options);
    this.proj = glorotLinear(width, width, options);
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const [q, k, v] = this.qkv.forward(x).chunk(3, 2);
      return this.proj.forward(attention(q, k, v, { heads: this.heads }));
    });
  }
}

/** Two linear layers with the GELU by tanh between (timm's `Mlp`): [N, L, width]. */
export class Mlp extends Module {
  /** To the hidden channels. */
  readonly fc1: Linear;
  /** And back. */
  readonly fc2: Linear;

  constructor(width: number, hidden: number, options: TensorOptions = {}) {
    super();
    this.fc1 = glorotLinear(width, hidden, options);
    this.fc2 = glorotLinear(hidden, width, options);
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.fc2.forward(this.fc1.forward(x).gelu({ approximate: "tanh" })));
  }
}

/** One transformer block with adaLN-Zero (Peebles and Xie 2023, figure 3): x [N, L, width], c [N, width] -> as x. */
export class DiTBlock extends Module {
  /** Before the attention. */
  readonly norm1: LayerNorm;
  /** Between the patches. */
  readonly attn: SelfAttention;
  /** Before the network. */
  readonly norm2: LayerNorm;
  /** Within each patch. */
  readonly mlp: Mlp;
  /** Shift, scale and gate of the attention, then those of the network. */
  readonly adaLN_modulation: Modulation;

  constructor(width: number, heads: number, hidden: number, options: TensorOptions = {}) {
    super();
    this.norm1 = plainNorm(width, options);
    this.attn = new SelfAttention(width, heads, options);
    this.norm2 = plainNorm(width, options);
    this.mlp = new Mlp(width, hidden, options);
    this.adaLN_modulation = new Modulation(width, 6, options);
  }

  forward(x: Tensor, c: Tensor): Tensor {
    return scope(() => {
      const [shiftMsa, scaleMsa, gateMsa, shiftMlp, scaleMlp, gateMlp] = parts(this.adaLN_modulation, c, 6);
      const attended = this.attn.forward(modulate(this.norm1.forward(x), shiftMsa, scaleMsa));
      const h = x.add(gateMsa.mul(attended));
      return h.add(gateMlp.mul(this.mlp.forward(modulate(this.norm2.forward(h), shiftMlp, scaleMlp))));
    });
  }
}

/** Makes numbers of a patch's pixels from its vector: x [N, L, width], c [N, width] -> [N, L, outFeatures]. */
export class FinalLayer extends Module {
  /** Before the linear layer. */
  readonly norm_final: LayerNorm;
  /** All 0 at first, so that the model begins by predicting 0. */
  readonly linear: Linear;
  /** Shift and scale. */
  readonly adaLN_modulation: Modulation;

  constructor(width: number, outFeatures: number, options: TensorOptions = {}) {
    super();
    this.norm_final = plainNorm(width, options);
    this.linear = new Linear(width, outFeatures, { ...options, init: "zeros" });
    this.adaLN_modulation = new Modulation(width, 2, options);
  }

  forward(x: Tensor, c: Tensor): Tensor {
    return scope(() => {
      const [shift, scale] = parts(this.adaLN_modulation, c, 2);
      return this.linear.forward(modulate(this.norm_final.forward(x), shift, scale));
    });
  }
}
