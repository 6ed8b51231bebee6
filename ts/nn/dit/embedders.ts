// What DiT makes vectors of: patches of the image, the timestep, the class.

import { ArgumentError, ShapeError, showShape } from "../../errors/index.ts";
import { expectDType, expectShape } from "../../ops/checks.ts";
import { full } from "../../tensor/creation.ts";
import { where } from "../../tensor/functional/selection.ts";
import type { Seed } from "../../tensor/random.ts";
import { nextDropout, rand } from "../../tensor/random.ts";
import { Counter, observe, perStep } from "../../tensor/recording.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { expectTensor } from "../../tensor/value.ts";
import { SiLU } from "../activations.ts";
import { xavierUniform } from "../init.ts";
import { Conv2d, Embedding, Linear } from "../layers.ts";
import { Module } from "../module.ts";
import { Sequential } from "../sequential.ts";
import { timestepEmbedding } from "../timestep-embedding.ts";

/** Cuts an image into square patches and makes a vector of each (timm's `PatchEmbed`): [N, H, W, C] -> [N, patches, width]. */
export class PatchEmbed extends Module {
  /** Height and width of the images. */
  readonly imageSize: readonly [height: number, width: number];
  /** Takes each patch to its vector. */
  readonly proj: Conv2d;

  constructor(
    imageSize: readonly [height: number, width: number],
    patchSize: number,
    inChannels: number,
    width: number,
    options: TensorOptions = {},
  ) {
    super();
    this.imageSize = imageSize;
    // A patch is one vector to a linear layer, so that its pixels count as inputs and not as outputs, too.
    const init = xavierUniform(inChannels * patchSize ** 2, width);
    this.proj = new Conv2d(inChannels, width, patchSize, { ...options, stride: patchSize, init });
  }

  forward(x: Tensor): Tensor {
    expectTensor("PatchEmbed", "x", x);
    const [height, width] = this.imageSize;
    if (x.rank !== 4 || x.shape[1] !== height || x.shape[2] !== width)
      throw new ShapeError({
        op: "PatchEmbed",
        problem: `x has shape ${showShape(x.shape)}, expected [N, ${height}, ${width}, ${this.proj.inChannels}].`,
        advice: "The positions that it knows are those of one image size.",
      });
    return scope(() => this.proj.forward(x).flatten(1, 2));
  }
}

/** Sines and cosines of a timestep, and two layers: t [N] -> [N, width]. */
export class TimestepEmbedder extends Module {
  /** Linear, SiLU, linear. */
  readonly mlp: Sequential<readonly [Linear, SiLU, Linear]>;

  constructor(width: number, options: TensorOptions = {}) {
    super();
    const init = { normal: 0.02 };
    this.mlp = new Sequential(
      new Linear(256, width, { ...options, init }),
      new SiLU(),
      new Linear(width, width, { ...options, init }),
    );
  }

  forward(t: Tensor): Tensor {
    const { inFeatures, weight } = this.mlp.chain[0];
    return scope(() =>
      this.mlp.forward(timestepEmbedding(t, inFeatures, { flipSinToCos: true, freqShift: 0, dtype: weight.dtype })),
    );
  }
}

/**
 * Vectors of classes: int32 [N] -> [N, width]. Where labels are dropped with a probability above 0 there is one vector
 * more, of the null class, that stands for no class; while training it takes the place of so many of the labels (Ho and
 * Salimans 2022, algorithm 1). Which images lose theirs: seeded, and different in each forward.
 */
export class LabelEmbedder extends Module {
  /** Number of classes, without the null class. */
  readonly classes: number;
  /** Probability of a label to be dropped while training. */
  readonly dropout: number;
  /** What the layer draws for, see `draws`: it is numbered among the layers of dropout. */
  readonly draw: number;
  /** One row for each class; the last one is that of the null class. */
  readonly embedding_table: Embedding;
  /** Forwards while training so far: where in the noise the next one draws. */
  get step(): number {
    return this.forwards.value;
  }
  /** Sets it, outside of captured functions. */
  set step(step: number) {
    this.forwards.set(step);
  }
  private readonly forwards = new Counter();
  private readonly seed: Seed | undefined;

  constructor(
    classes: number,
    width: number,
    options: TensorOptions & { readonly dropout?: number; readonly seed?: Seed } = {},
  ) {
    super();
    const { dropout = 0.1, seed, ...place } = options;
    if (!(dropout >= 0 && dropout < 1))
      throw new ArgumentError({
        op: "LabelEmbedder",
        problem: `dropout is ${dropout}, expected a probability from 0 to below 1.`,
      });
    this.classes = classes;
    this.dropout = dropout;
    this.draw = nextDropout();
    this.seed = seed;
    this.embedding_table = new Embedding(dropout > 0 ? classes + 1 : classes, width, {
      ...place,
      init: { normal: 0.02 },
    });
  }

  /** `labels` [count], or null: no class for any of them. */
  forward(labels: Tensor | null, count: number): Tensor {
    return scope(() => this.embedding_table.forward(labels ? this.seen(labels, count) : this.noClass(count)));
  }

  /** The null class, `count` times. */
  noClass(count: number): Tensor {
    if (this.dropout === 0)
      throw new ArgumentError({
        op: "LabelEmbedder",
        problem: "there is no null class.",
        advice: "A model learns one if labels are dropped while it trains: classDropout above 0.",
      });
    const { device } = this.embedding_table.weight;
    return full([count], this.classes, { dtype: "int32", device });
  }

  /** The labels as the model gets to see them. */
  private seen(labels: Tensor, count: number): Tensor {
    expectTensor("LabelEmbedder", "classLabels", labels);
    expectDType("LabelEmbedder", "classLabels", labels, ["int32"]);
    expectShape("LabelEmbedder", "classLabels", labels, [count], "(one for each image)");
    if (!observe(() => this.training) || this.dropout === 0) return labels;
    const step = perStep(() => this.forwards.add());
    const u = rand([count], { seed: this.seed, draw: this.draw, step, device: labels.device, dtype: "float32" });
    return where(u.less(this.dropout), this.classes, labels);
  }
}
