// Pipeline: a trained model and its sampler, as folders of diffusers hold them, ready to draw.

import { Scheduler } from "../diffusion/schedulers/scheduler.ts";
import { slerp } from "../diffusion/slerp.ts";
import { ArgumentError, showValue } from "../errors/index.ts";
import { UNet2D } from "../nn/unet2d/unet2d.ts";
import { concat } from "../tensor/creation.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, randn } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LoadOptions, PipelineNotes } from "./load-folder.ts";
import { loadFolder } from "./load-folder.ts";
import { pipelineNameFor } from "./pipeline-classes.ts";
import type { PipelineSampleOptions } from "./pipeline-options.ts";
import { sampleOptionsOf } from "./pipeline-options.ts";
import type { PipelineRun } from "./pipeline-run.ts";
import { pipelineRun } from "./pipeline-run.ts";
import type { SampleOptions } from "./sample.ts";
import type { SaveOptions } from "./save-folder.ts";
import { saveFolder } from "./save-folder.ts";

/** What a pipeline is made of. */
export interface PipelineOptions {
  /** The network; what it predicts is the scheduler's `predictionType`. */
  readonly model: UNet2D;
  /** How it is sampled, unless a run says otherwise. */
  readonly scheduler: Scheduler;
}

/** A row of images from one seed's to another's. */
export interface InterpolateOptions extends Omit<
  PipelineSampleOptions,
  "n" | "seed" | "noise" | "from" | "strength" | "inpaint"
> {
  /** The seeds whose images the row begins and ends with, as `sample({ seed })` draws them. */
  readonly seeds: readonly [first: Seed, last: Seed];
  /** Number of images, both ends included. */
  readonly n: number;
}

/**
 * A U-Net and a scheduler (diffusers' `DDPMPipeline`, `DDIMPipeline`).
 *
 *     const pipeline = await Pipeline.load("ddpm-cifar10-32");
 *     const images = await pipeline.sample({ n: 16, seed: 7, scheduler: "DDIMScheduler", steps: 50 });
 *     await writePng("samples.png", await grid(images));
 */
export class Pipeline {
  /** The network. */
  readonly model: UNet2D;
  /** How it is sampled, unless a run says otherwise. */
  readonly scheduler: Scheduler;
  /** What the folder said of itself that it came from. */
  private readonly index: PipelineNotes | undefined;

  /** A pipeline of parts, which stay the caller's. */
  constructor(options: PipelineOptions);
  /** @internal Of what a folder held. */
  constructor(options: PipelineOptions, index: PipelineNotes | undefined);
  constructor({ model, scheduler }: PipelineOptions, index?: PipelineNotes) {
    if (!((model as unknown) instanceof UNet2D))
      throw new ArgumentError({ op: "Pipeline", problem: `model is ${showValue(model)}, expected a UNet2D.` });
    if (!((scheduler as unknown) instanceof Scheduler))
      throw new ArgumentError({
        op: "Pipeline",
        problem: `scheduler is ${showValue(scheduler)}, expected a Scheduler.`,
      });
    this.model = model;
    this.scheduler = scheduler;
    this.index = index;
  }

  /**
   * Reads a folder that `save`, or diffusers' `save_pretrained`, wrote (`DiffusionPipeline.from_pretrained(folder)`): with
   * model_index.json and a subfolder for each part, or all files in one as in diffusers' first releases. Weights are
   * safetensors, in one file or in shards, of any floating type, and become float32 (or `dtype`). The model is in eval mode.
   *
   * The folder may come from a stranger. Nothing in it is executed: where there is only a .bin, which is a pickle, the error says
   * how to convert it. No file outside is read, wherever names and links lead (but for the links of the Hugging Face Hub's own
   * cache). A config whose model would be larger than the files of weights are is refused before it takes memory. Throws
   * FormatError that names the file, and the key or tensor. NaN is a weight like others: `checkFinite` of `sample` finds it.
   */
  static async load(folder: string, options: LoadOptions = {}): Promise<Pipeline> {
    const { model, scheduler, index } = await loadFolder(folder, options);
    return new Pipeline({ model, scheduler }, index);
  }

  /**
   * Writes a folder that diffusers loads (`save_pretrained`), whole or not at all: it is written beside its place and then
   * renamed. One that is there is replaced where it is empty or holds a pipeline and nothing else; `overwrite` replaces any. A
   * pipeline that was loaded keeps its class and its notes; another is a DDIMPipeline with a `DDIMScheduler`, a PNDMPipeline
   * with a `PNDMScheduler`, else a DDPMPipeline. This samples as DDPM does in Python: schedulers that scale the network's input
   * (Euler, Heun, LMS, KDPM2, EDM) or take no generator (UniPC, DEIS) need a loop of one's own there, over its parts.
   * Throws ArgumentError where the folder must stay or cannot be written.
   */
  async save(folder: string, options: SaveOptions = {}): Promise<void> {
    const { model, scheduler } = this;
    const index = this.index ?? { name: pipelineNameFor(scheduler.name), notes: {} };
    await saveFolder(folder, { model, scheduler, index }, options);
  }

  /**
   * Draws images: `await pipeline.sample({ n: 16 })` gives them [n, H, W, C], about in the range of the training data (-1 to 1),
   * and `for await (const { step, steps, preview } of pipeline.sample({ n: 16 }))` looks on before. Wrong options are
   * errors of the run (ArgumentError, ShapeError). Dropout is off, whatever mode the model is in.
   */
  sample(options: PipelineSampleOptions = {}): PipelineRun {
    const op = "Pipeline.sample";
    return pipelineRun(op, () => {
      const sampling = sampleOptionsOf(op, this, options);
      return { options: sampling, owned: options.solver ? [] : [sampling.solver] };
    });
  }

  /**
   * Draws a row of images from the first one of a seed to that of another: their noises are mixed along the sphere
   * on which noise lies (`slerp`). Needs a sampler that adds no noise on its way, such as DDIM; throws (then) ArgumentError for others.
   */
  interpolate({ seeds, ...options }: InterpolateOptions): PipelineRun {
    const op = "Pipeline.interpolate";
    return pipelineRun(op, () => {
      const sampling = sampleOptionsOf(op, this, options);
      if (sampling.solver.isStochastic)
        throw new ArgumentError({
          op,
          problem: `${sampling.solver.name} adds noise at its steps, so that images do not follow from the noise they begin with.`,
          advice: 'Take a deterministic sampler: scheduler: "DDIMScheduler".',
        });
      const noise = noiseBetween(op, seeds, sampling);
      return { options: { ...sampling, noise }, owned: options.solver ? [noise] : [noise, sampling.solver] };
    });
  }

  /** Frees the model's parameters. */
  dispose(): void {
    this.model.dispose();
  }
}

/** Noises [count, H, W, C], of which the first and the last are those that two seeds begin with. */
function noiseBetween(
  op: string,
  [first, last]: readonly [Seed, Seed],
  { count, size, device, dtype }: SampleOptions,
): Tensor {
  if (!Number.isInteger(count) || count < 2)
    throw new ArgumentError({ op, problem: `n is ${showValue(count)}, expected an integer >= 2.` });
  return scope(() => {
    const [a, b] = [first, last].map((seed) =>
      randn([1, ...size], { seed, draw: draws.initialNoise, image: 0, step: 0, device, dtype }),
    );
    return concat(
      Array.from({ length: count }, (_, k) => slerp(a, b, k / (count - 1))),
      0,
    ).keep();
  });
}
