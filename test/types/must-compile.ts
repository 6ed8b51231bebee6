// Programs that must compile: where numbers are not known, types do not get in the way.

import type {
  AdamOptions,
  Denoiser,
  DownBlockType,
  Layer,
  OptimizerState,
  Takes,
  Tensor,
  UNet2DConfig,
  UNet2DOptions,
} from "langevin";
import {
  Adam,
  Conv2d,
  ConvTranspose2d,
  Dropout,
  Embedding,
  Flatten,
  GroupNorm,
  Identity,
  LayerNorm,
  Linear,
  MaxPool2d,
  Module,
  RMSNorm,
  ReLU,
  SGD,
  Sequential,
  SiLU,
  UNet2D,
  Upsample,
} from "langevin";

/** Compiles only where the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(_same: Same<A, B>): void;

declare const width: number;
declare const widths: readonly number[];
declare const either: 16 | 32;

/** A module of one's own says nothing of channels. */
class Own extends Module {
  readonly conv: Conv2d;
  constructor(channels: number) {
    super();
    this.conv = new Conv2d(channels, 16, 3);
  }
  forward(x: Tensor): Tensor {
    return this.conv.forward(x);
  }
}

/** A module of one's own that does. */
class Block<In extends number, Out extends number> extends Module {
  readonly inChannels: In;
  readonly outChannels: Out;
  constructor(inChannels: In, outChannels: Out) {
    super();
    this.inChannels = inChannels;
    this.outChannels = outChannels;
  }
  forward(x: Tensor): Tensor {
    return x;
  }
}

// Literals are kept, and fit.
const conv = new Conv2d(3, 16, 3, { padding: 1 });
same<typeof conv, Conv2d<3, 16>>(true);
const small = new Sequential(conv, new SiLU(), new Dropout(0.1), new Conv2d(16, 32, [3, 1]), new ReLU());
same<(typeof small.chain)[3], Conv2d<16, 32>>(true);
same<typeof small.length, 5>(true);
const layer: Layer = small[1];
new Sequential(small, new Identity(), new ConvTranspose2d(32, 8, 2, { stride: 2 }), new Linear(8, 4));
new Sequential(new SiLU(), new SiLU(), small);
new Sequential(new Conv2d(3, 8, 3), new Upsample({ scale: 2 }), new Conv2d(8, 3, 3));
new Sequential(new Sequential(new SiLU()), new Sequential(), conv);
new Sequential();

// What is not known is not checked.
new Sequential(new Conv2d(3, width, 3), new SiLU(), new Conv2d(32, 3, 3));
new Sequential(new Conv2d(3, 16, 3), new SiLU(), new Conv2d(width, 3, 3));
new Sequential(new Conv2d(3, 16, 3), new Own(3), new Conv2d(32, 3, 3));
new Sequential(new Conv2d(3, 16, 3), new Flatten(), new Linear(1024, 10));
new Sequential(new Conv2d(3, either, 3), new Conv2d(32, 3, 3));
new Sequential(new Embedding(10, 8), new Linear(8, 4));
new Sequential(new Block(3, 16), new SiLU(), new Block(16, 3));
new Sequential(...widths.map((n) => new Conv2d(n, n, 3)), new Conv2d(32, 3, 3));

// Types without numbers hold layers with any.
const convolution: Conv2d = conv;
const net: Sequential = small;
const layers: Layer[] = [conv, new SiLU(), small];
new Sequential(...layers);

// Optimizers take parameters, and groups of them.
new Adam(net.parameters(), { lr: 1e-3 });
new Adam(new Set(convolution.parameters()));
const sgd = new SGD([{ parameters: layer.parameters(), lr: 0.1 }, { parameters: net.parameters() }], { momentum: 0.9 });
sgd.groups[0].lr *= 0.5;
const state: OptimizerState<AdamOptions> = new Adam(net.parameters()).stateDict();
const rates: number[] = state.numbers.groups.map(({ lr }) => lr);
void rates;

// Norms and poolings in a row.
new Sequential(new Conv2d(3, 16, 3), new GroupNorm(4, 16), new MaxPool2d(2), new LayerNorm(16), new Conv2d(16, 3, 1));
new Sequential(new Conv2d(3, width, 3), new GroupNorm(4, width), new Conv2d(width, 3, 1));

// The sizes of a norm: one, the last of several, or unknown.
same<Takes<LayerNorm<16>>, 16>(true);
const wide = new LayerNorm([4, 4, 16]);
same<typeof wide, LayerNorm<16>>(true);
new Sequential(new Conv2d(3, 16, 3), wide, new RMSNorm(16), new Conv2d(16, 3, 1));
new Sequential(new Conv2d(3, 16, 3), new LayerNorm(width), new RMSNorm(widths), new Conv2d(8, 3, 1));
new Sequential(new Conv2d(3, 16, 3), new LayerNorm([4, width]), new RMSNorm(widths.slice(1)), new Linear(8, 3));
new Sequential(new Linear(3, either), new LayerNorm(32), new RMSNorm(either));
const norms: (LayerNorm | RMSNorm)[] = [wide, new RMSNorm(8)];
void norms;

// ---- UNet2D: options of constants and of programs, and what samples take ----------------------------------------------

declare const images: Tensor;
declare const chosen: UNet2DOptions;
const written = { blockOutChannels: [8, 16], downBlockTypes: ["DownBlock2D", "UNetResAttnDownBlock2D"] } as const;
const unet = new UNet2D({ ...chosen, ...written, blockOutChannels: widths, device: "cpu" });
const asDenoiser: Denoiser = unet;
const fileContent: UNet2DConfig = UNet2D.preset("ddpm-cifar10", { inChannels: width }).config();
same<typeof fileContent.down_block_types, readonly DownBlockType[]>(true);
same<typeof fileContent.attention_head_dim, number | null>(true);
same<typeof fileContent._class_name, unknown>(true);
UNet2D.fromConfig(JSON.parse("{}"), { dtype: "float64" }).forward(images, 3);
void [asDenoiser, fileContent];
