// The two networks of the tutorial: part B's few layers, and part C's small U-Net.

import { Conv2d, ConvTranspose2d, Embedding, Linear, Module, concat, maxPool2d } from "langevin";
import type { Tensor } from "langevin";

/** Part B: two convolutions, with a linear function of the bare timestep added between them. */
export class TinyNet extends Module {
  conv1: Conv2d;
  linear = new Linear(1, 16);
  conv2: Conv2d;

  constructor(channels: number) {
    super();
    this.conv1 = new Conv2d(channels, 16, 3, { padding: 1 });
    this.conv2 = new Conv2d(16, channels, 3, { padding: 1 });
  }

  forward(x: Tensor, t: Tensor): Tensor {
    const time = this.linear.forward(t.to(x.dtype).reshape([-1, 1]));
    const h = this.conv1
      .forward(x)
      .relu()
      .add(time.reshape([-1, 1, 1, 16]));
    return this.conv2.forward(h);
  }
}

/** Two convolutions; the time embedding, brought to the block's width, is added after the first. */
export class ConvBlock extends Module {
  conv1: Conv2d;
  proj: Linear;
  conv2: Conv2d;

  constructor(inChannels: number, outChannels: number, timeDim: number) {
    super();
    this.conv1 = new Conv2d(inChannels, outChannels, 3, { padding: 1 });
    this.proj = new Linear(timeDim, outChannels);
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: 1 });
  }

  forward(x: Tensor, embedding: Tensor): Tensor {
    const time = this.proj.forward(embedding);
    const h = this.conv1
      .forward(x)
      .add(time.reshape([time.shape[0], 1, 1, -1]))
      .relu();
    return this.conv2.forward(h).relu();
  }
}

/** How big a `TutorialUNet` is. */
export interface TutorialUNetOptions {
  imageChannels: number;
  /** Channels at full, half and quarter resolution. */
  channels: [number, number, number];
  timeDim: number;
  /** Number of timesteps that have an embedding. */
  steps: number;
}

/** Part C: a U-Net of three levels; the two halves are joined by concatenating [skip, up]. */
export class TutorialUNet extends Module {
  embed: Embedding;
  enc1: ConvBlock;
  enc2: ConvBlock;
  bottleneck: ConvBlock;
  upconv2: ConvTranspose2d;
  dec2: ConvBlock;
  upconv1: ConvTranspose2d;
  dec1: ConvBlock;
  final: Conv2d;

  constructor({ imageChannels, channels: [c1, c2, c3], timeDim, steps }: TutorialUNetOptions) {
    super();
    this.embed = new Embedding(steps, timeDim);
    this.enc1 = new ConvBlock(imageChannels, c1, timeDim);
    this.enc2 = new ConvBlock(c1, c2, timeDim);
    this.bottleneck = new ConvBlock(c2, c3, timeDim);
    this.upconv2 = new ConvTranspose2d(c3, c2, 2, { stride: 2 });
    this.dec2 = new ConvBlock(c2 + c2, c2, timeDim);
    this.upconv1 = new ConvTranspose2d(c2, c1, 2, { stride: 2 });
    this.dec1 = new ConvBlock(c1 + c1, c1, timeDim);
    this.final = new Conv2d(c1, imageChannels, 1);
  }

  forward(x: Tensor, t: Tensor): Tensor {
    const embedding = this.embed.forward(t);
    const e1 = this.enc1.forward(x, embedding);
    const e2 = this.enc2.forward(maxPool2d(e1, 2), embedding);
    const b = this.bottleneck.forward(maxPool2d(e2, 2), embedding);
    const d2 = this.dec2.forward(concat([e2, this.upconv2.forward(b)], -1), embedding);
    const d1 = this.dec1.forward(concat([e1, this.upconv1.forward(d2)], -1), embedding);
    return this.final.forward(d1);
  }
}
