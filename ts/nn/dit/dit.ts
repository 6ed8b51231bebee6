// DiT: a transformer over the patches of a noisy image, in place of a U-Net (Peebles and Xie 2023, arXiv:2212.09748).

import { ArgumentError, ShapeError, showShape, showValue } from "../../errors/index.ts";
import { expectRank } from "../../ops/checks.ts";
import { concat } from "../../tensor/creation.ts";
import type { Pair } from "../../tensor/functional/window.ts";
import { pair } from "../../tensor/functional/window.ts";
import { Parameter } from "../../tensor/parameter.ts";
import type { Seed } from "../../tensor/random.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../../tensor/tensor.ts";
import { tensor } from "../../tensor/tensor.ts";
import { expectTensor } from "../../tensor/value.ts";
import { Module } from "../module.ts";
import { buildPart, buildParts } from "../part.ts";
import { DiTBlock, FinalLayer } from "./block.ts";
import { LabelEmbedder, PatchEmbed, TimestepEmbedder } from "./embedders.ts";
import { sinCosPositions } from "./positions.ts";
import type { DiTPreset, DiTSize } from "./presets.ts";
import { presets } from "./presets.ts";

/** Options of `DiT`. */
export interface DiTOptions extends DiTSize, TensorOptions {
  /** Height and width of x, in a latent model those of the latent image; a number: both. */
  readonly imageSize: Pair;
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels within the small network of a block for each of `width`; default 4. */
  readonly mlpRatio?: number;
  /** Number of classes; default: the model is not conditioned on one. */
  readonly classes?: number;
  /** Probability that an image loses its label while training, for classifier-free guidance; default 0.1. */
  readonly classDropout?: number;
  /** Seed of that; default that of `manualSeed`. */
  readonly seed?: Seed;
  /** Whether the model also predicts variances, in as many channels after the first ones; default true. */
  readonly learnSigma?: boolean;
}

/** What images are conditioned on beside the timestep. */
export interface DiTConditions {
  /** int32 [N], 0..classes-1; null: no class. Every model with classes wants one of them. */
  readonly classLabels?: Tensor | null;
}

/** Options of `DiT.forwardGuided`. */
export interface DiTGuidance {
  /** int32 [N], 0..classes-1. */
  readonly classLabels: Tensor;
  /** How much more to listen to the labels; 1 is what the model says, 0 forgets them. */
  readonly guidanceScale: number;
  /** How many of the channels are guided; default those of x. The original's published pictures were made with 3. */
  readonly guidedChannels?: number;
}

/**
 * A diffusion transformer with adaLN-Zero: x [N, H, W, inChannels] and t [N] -> [N, H, W, outChannels]. Names, shapes and
 * first values of its weights are those of the paper's code (facebookresearch/DiT), so that it predicts 0 before it is
 * trained. Throws ArgumentError for options that do not fit each other.
 */
export class DiT extends Module {
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels of the result: those of x, or twice as many where the model predicts variances, too. */
  readonly outChannels: number;
  /** Side of a patch. */
  readonly patchSize: number;
  /** Height and width of x. */
  readonly imageSize: readonly [height: number, width: number];
  /** Where each patch lies; fixed. */
  readonly pos_embed: Parameter;
  /** Makes vectors of patches. */
  readonly x_embedder: PatchEmbed;
  /** Makes a vector of the timestep. */
  readonly t_embedder: TimestepEmbedder;
  /** Makes a vector of the class; undefined where the model knows none. */
  readonly y_embedder: LabelEmbedder | undefined;
  /** The transformer. */
  readonly blocks: readonly DiTBlock[];
  /** Makes pixels of vectors. */
  readonly final_layer: FinalLayer;

  constructor(options: DiTOptions) {
    super();
    const { patchSize, width, depth, heads, inChannels, classes, mlpRatio = 4, learnSigma = true } = options;
    const place: TensorOptions = { dtype: options.dtype, device: options.device };
    expectCounts({ patchSize, width, depth, heads, inChannels, classes: classes ?? 1 });
    if (!(mlpRatio > 0 && mlpRatio < Infinity) || mlpRatio * width < 1)
      refuse(`mlpRatio is ${showValue(mlpRatio)}, expected a number of at least 1 / width.`);
    if (width % 4 !== 0)
      refuse(`pos_embed: width is ${width}, expected a multiple of 4: sines and cosines of the column and of the row.`);
    this.inChannels = inChannels;
    this.outChannels = learnSigma ? 2 * inChannels : inChannels;
    this.patchSize = patchSize;
    this.imageSize = pair("DiT", "imageSize", options.imageSize, 1);
    const [rows, columns] = this.imageSize.map((pixels) => pixels / patchSize);
    if (!Number.isInteger(rows) || !Number.isInteger(columns))
      refuse(
        `x_embedder: imageSize is ${showShape(this.imageSize)}, which does not divide into patches of ${patchSize} x ${patchSize}.`,
      );
    this.pos_embed = new Parameter(
      tensor(sinCosPositions(width, rows, columns), { ...place, shape: [1, rows * columns, width] }).keep(),
    ).requireGrad(false);
    this.x_embedder = new PatchEmbed(this.imageSize, patchSize, inChannels, width, place);
    this.t_embedder = new TimestepEmbedder(width, place);
    if (classes !== undefined)
      this.y_embedder = buildPart("dit.y_embedder", () => {
        const { classDropout: dropout, seed } = options;
        return new LabelEmbedder(classes, width, { ...place, dropout, seed });
      });
    this.blocks = buildParts(
      "dit.blocks",
      depth,
      () => new DiTBlock(width, heads, Math.floor(mlpRatio * width), place),
    );
    this.final_layer = new FinalLayer(width, patchSize ** 2 * this.outChannels, place);
  }

  /**
   * A model of one of the paper's sizes, with new weights: `DiT.preset("dit-s/2", { imageSize: 32, inChannels: 4, classes: 1000
   * })`. Throws ArgumentError for a name that is none.
   */
  static preset(name: DiTPreset, options: Omit<DiTOptions, keyof DiTSize>): DiT {
    if (!Object.hasOwn(presets, name))
      throw new ArgumentError({
        op: "DiT.preset",
        problem: `the name is ${showValue(name)}.`,
        advice: `Known are ${Object.keys(presets).join(", ")}.`,
      });
    return new DiT({ ...presets[name], ...options });
  }

  /**
   * Predicts the noise in x at timesteps t, int32 or floating [N], and where the model learns variances these in the
   * channels after it. Throws ArgumentError where labels are missing or not wanted, ShapeError for images of another size.
   */
  forward(x: Tensor, t: Tensor, { classLabels }: DiTConditions = {}): Tensor {
    return scope(() => {
      const tokens = this.x_embedder.forward(x).add(this.pos_embed);
      const c = this.condition(t, classLabels, x.shape[0]);
      const h = this.blocks.reduce((h, block) => block.forward(h, c), tokens);
      return this.unpatchify(this.final_layer.forward(h, c));
    });
  }

  /**
   * Classifier-free guidance (Ho and Salimans 2022, eq. 6, where guidanceScale is 1 + w): what the model says without
   * labels + guidanceScale (what it says with them - that), both from one forward of 2 N images; channels that are not
   * guided are those with labels (the original's `forward_with_cfg`). x, t and the result are as in `forward`. The model
   * is to be in `eval` mode, or labels are dropped.
   */
  forwardGuided(x: Tensor, t: Tensor, options: DiTGuidance): Tensor {
    const { classLabels, guidanceScale, guidedChannels = this.inChannels } = options;
    const guidable = Number.isInteger(guidedChannels) && guidedChannels >= 1 && guidedChannels <= this.outChannels;
    if (!guidable)
      throw new ArgumentError({
        op: "DiT.forwardGuided",
        problem: `guidedChannels is ${showValue(guidedChannels)}, expected an integer from 1 to ${this.outChannels}.`,
      });
    const { y_embedder } = this;
    if (!y_embedder)
      throw new ArgumentError({
        op: "DiT.forwardGuided",
        problem: "the model knows no classes.",
        advice: "Make it with classes, or call forward.",
      });
    expectTensor("DiT.forwardGuided", "x", x);
    return scope(() => {
      const labels = concat([classLabels, y_embedder.noClass(x.shape[0])], 0);
      const both = this.forward(concat([x, x], 0), concat([t, t], 0), { classLabels: labels });
      const [conditional, unconditional] = both.chunk(2, 0);
      const [one, other] = [conditional, unconditional].map((y) => y.slice(null, null, null, [0, guidedChannels]));
      const guided = other.add(one.sub(other).mul(guidanceScale));
      if (guidedChannels === this.outChannels) return guided;
      return concat([guided, conditional.slice(null, null, null, [guidedChannels, this.outChannels])], -1);
    });
  }

  /** The sum of the vectors of timestep and class [N, width]. */
  private condition(t: Tensor, classLabels: Tensor | null | undefined, count: number): Tensor {
    expectTensor("DiT", "t", t);
    expectRank("DiT", "t", t, 1, "[N]");
    if (t.shape[0] !== count)
      throw new ShapeError({
        op: "DiT",
        problem: `t has shape ${showShape(t.shape)}, expected [${count}], one for each image.`,
      });
    if (classLabels === undefined && this.y_embedder)
      throw new ArgumentError({
        op: "DiT",
        problem: `classLabels is missing, and the model knows ${this.y_embedder.classes} classes.`,
        advice: "Give classLabels, or null for no class.",
      });
    if (classLabels && !this.y_embedder)
      throw new ArgumentError({
        op: "DiT",
        problem: "classLabels was given, and the model knows no classes.",
        advice: "Make it with classes.",
      });
    const time = this.t_embedder.forward(t);
    return this.y_embedder ? time.add(this.y_embedder.forward(classLabels ?? null, count)) : time;
  }

  /** [N, patches, patchSize patchSize C] -> [N, H, W, C]. */
  private unpatchify(x: Tensor): Tensor {
    const [height, width] = this.imageSize;
    const p = this.patchSize;
    return x
      .reshape([x.shape[0], height / p, width / p, p, p, this.outChannels])
      .permute([0, 1, 3, 2, 4, 5])
      .reshape([x.shape[0], height, width, this.outChannels]);
  }
}

function refuse(problem: string): never {
  throw new ArgumentError({ op: "DiT", problem });
}

function expectCounts(counts: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(counts))
    if (!Number.isInteger(value) || value < 1) refuse(`${name} is ${showValue(value)}, expected an integer >= 1.`);
}
