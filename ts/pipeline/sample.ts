// sample: draws pictures from a trained model by running a reverse process from noise, or from pictures.

import type { DeviceName, Precision } from "../device/executor.ts";
import { guided } from "../diffusion/guidance.ts";
import type { NoiseSchedule } from "../diffusion/noise-schedule.ts";
import { largestResidualSignal } from "../diffusion/noise-schedule.ts";
import type { Network, Solver } from "../diffusion/solver/solver.ts";
import { ArgumentError, DTypeError, ShapeError, showShape } from "../errors/index.ts";
import { runsEagerly } from "../tensor/capture.ts";
import { concat } from "../tensor/creation.ts";
import type { Seed } from "../tensor/random.ts";
import { seedKey } from "../tensor/random.ts";
import { lend, refusePromise, scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { defaultDType, executorOf, tensor } from "../tensor/tensor.ts";
import type { BatchInputs } from "./batch-sampler.ts";
import { BatchSampler } from "./batch-sampler.ts";
import type { InpaintOptions } from "./inpainting.ts";
import { straightOn, withResamples } from "./inpainting.ts";
import type { ReverseProcess } from "./reverse-process.ts";
import { ddpmProcess, solverProcess } from "./reverse-process.ts";

/**
 * A network that predicts what was noise in x_t, or whatever its scheduler says: x [N, H, W, C], t [N] (int32 where
 * timesteps are whole) -> [N, H, W, C]. One with classes is told them.
 */
export interface Denoiser {
  /** The prediction, of the shape of x. */
  forward(x: Tensor, t: Tensor, conditions?: { readonly classLabels?: Tensor }): Tensor;
}

/** A look at a sampling run. */
export interface SamplePreview {
  /** Number of the first image of this batch. */
  readonly image: number;
  /** Steps done, from 0 (pure noise) on. */
  readonly step: number;
  /** Steps of each batch in all. */
  readonly steps: number;
  /** The images as they are now [n, H, W, C]; freed when the callback returns, unless kept. */
  readonly x: Tensor;
}

/** What to sample, and how. */
export interface SampleOptions {
  /** The network. */
  readonly model: Denoiser;
  /** The schedule that it was trained with: every one of its steps is made, as in DDPM. Either this or `solver`. */
  readonly schedule?: NoiseSchedule;
  /** A scheduler's solver for a number of steps: `new DDIMScheduler({ schedule }).solver({ steps: 20 })`. */
  readonly solver?: Solver;
  /** Number of images. */
  readonly count: number;
  /** [H, W, C] of one image. */
  readonly size: readonly [height: number, width: number, channels: number];
  /** Image k of a seed is the same whatever `count` and `batch` are. Default 0. */
  readonly seed?: Seed;
  /** Images that go through the network at once; default 64. */
  readonly batch?: number;
  /** The class of each image, or one that all have, for a network with classes. */
  readonly classLabels?: number | ArrayLike<number>;
  /** Classifier-free guidance: 1 for the class as it is, more for more of it, 0 for none; needs `nullLabel`. Default 1. */
  readonly guidance?: number;
  /** The class that stands for none. */
  readonly nullLabel?: number;
  /**
   * Start from these pictures instead of noise (img2img): [count, H, W, C], or [1, H, W, C] for one that all start from.
   * They are given the noise of the solver's first step; `begin` says which one that is.
   */
  readonly from?: Tensor;
  /** Keep a part of the pictures. */
  readonly inpaint?: InpaintOptions;
  /**
   * Noise to start from instead of the seed's, of variance 1: [count, H, W, C], or [1, H, W, C] for one that all start from.
   * Such as one between two others (`slerp`).
   */
  readonly noise?: Tensor;
  /** Default: the default device. The model lives there. */
  readonly device?: DeviceName;
  /** Of the images; default: the default dtype. The model has it. */
  readonly dtype?: "float32" | "float64";
  /** Call the model for each step instead of replaying a plan: slower, but it may do anything. Default: in strict mode. */
  readonly eager?: boolean;
  /** Stop at the first operation whose result is not finite, with an error that names it and its layer. Not with `eager`. */
  readonly checkFinite?: boolean;
  /** What products may round their operands to: "tf32" or "bf16" on device "cuda" (see `capture`). Default "float32". Not with `eager`. */
  readonly precision?: Precision;
  /** Stops the run between two steps; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Sample from noise although the first step expects pictures that still hold signal (more than 5% of the variance). */
  readonly allowResidualSignal?: boolean;
  /** Called synchronously before the first step and after every `previewEvery` steps, and after the last. */
  readonly onPreview?: (preview: SamplePreview) => void;
  /** Default: only before the first step and after the last. */
  readonly previewEvery?: number;
}

/**
 * Starts from noise and makes the steps of a solver, or of DDPM (Ho et al. 2020, algorithm 2) over a whole schedule.
 * Resolves to the images [count, H, W, C], about in the range of the training data; they belong to the caller. A step is
 * recorded as a plan and then replayed (see `capture`), unless `eager`: the model must not read values.
 */
export async function sample(options: SampleOptions): Promise<Tensor> {
  const { onPreview } = options;
  const run = sampling(options, onPreview !== undefined);
  for (;;) {
    const { done, value } = await run.next();
    if (done) return value;
    try {
      // A copy, since the images go on to change.
      scope(() => {
        refusePromise("onPreview", onPreview!({ ...value, x: value.x.clone() }));
      });
    } catch (error) {
      await run.return(value.x);
      throw error;
    }
  }
}

/**
 * @internal The run of `sample`, with a look before the first step and after every `previewEvery` steps of each batch. The
 * tensor of a look is the run's own, which the next steps overwrite.
 */
export async function* sampling(
  options: SampleOptions,
  withLooks: boolean,
): AsyncGenerator<SamplePreview, Tensor, undefined> {
  const { count, batch = 64, previewEvery = Infinity } = options;
  const lookEvery = withLooks ? previewEvery : undefined;
  const run = new SamplingRun(options);
  const parts: Tensor[] = [];
  let sampler: BatchSampler | undefined;
  let size = 0;
  try {
    for (let image = 0; image < count; image += batch) {
      const images = Math.min(batch, count - image);
      const inputs = lend(() => run.inputs(image, images));
      try {
        if (size !== images) {
          sampler?.dispose();
          sampler = run.sampler(images, inputs.value);
          size = images;
        }
        parts.push(yield* batchOf(sampler!, image, inputs.value, lookEvery));
      } finally {
        inputs.end();
      }
    }
    return parts.length === 1 ? parts[0].detach().keep() : scope(() => concat(parts, 0).keep());
  } finally {
    run.dispose();
    sampler?.dispose();
    for (const part of parts) part.dispose();
  }
}

/** The images of one batch, with a look after every so many steps, if any; they belong to the caller. */
async function* batchOf(
  sampler: BatchSampler,
  image: number,
  inputs: BatchInputs,
  lookEvery: number | undefined,
): AsyncGenerator<SamplePreview, Tensor, undefined> {
  sampler.begin(image, inputs);
  for (let step = 0; ;) {
    if (lookEvery !== undefined) yield { image, step, steps: sampler.steps, x: sampler.x };
    if (step === sampler.steps) return scope(() => sampler.x.clone().keep());
    const next = Math.min(step + (lookEvery ?? Infinity), sampler.steps);
    await sampler.advance(next - step);
    step = next;
  }
}

/** What a run is made of, checked. */
class SamplingRun {
  private readonly options: SampleOptions;
  private readonly process: ReverseProcess;
  private readonly seed: bigint;
  /** int32 [count]. */
  private readonly classLabels: Tensor | undefined;

  constructor(options: SampleOptions) {
    expectCounts(options);
    this.options = options;
    this.process = processOf(options);
    this.seed = seedKey("sample", options.seed ?? 0);
    this.expectImages("from", options.from);
    this.expectImages("noise", options.noise);
    this.expectImages("inpaint.image", options.inpaint?.image);
    this.expectImages("inpaint.mask", options.inpaint?.mask, [1, options.size[2]]);
    this.classLabels = this.labels();
  }

  /** Inputs of the images from number `image` on. */
  inputs(image: number, images: number): BatchInputs {
    const { noise, from, inpaint } = this.options;
    const rows = <T extends Tensor | undefined>(x: T): T =>
      (x && x.shape[0] > 1 ? x.slice([image, image + images]) : x) as T;
    return {
      noise: rows(noise),
      from: rows(from),
      classLabels: this.classLabels?.slice([image, image + images]),
      inpaint: inpaint && { ...inpaint, image: rows(inpaint.image), mask: rows(inpaint.mask) },
    };
  }

  /** A sampler of so many images at once. */
  sampler(images: number, inputs: BatchInputs): BatchSampler {
    const { size, inpaint, checkFinite, precision, signal } = this.options;
    const { calls } = this.process;
    const executor = executorOf(this.options);
    const settings = {
      process: this.process,
      visits: inpaint ? withResamples(calls, inpaint) : straightOn(calls),
      network: (labels: Tensor | undefined) => this.network(labels),
      shape: [images, ...size],
      seed: this.seed,
      executor,
      dtype: this.options.dtype,
      eager: runsEagerly("sample", this.options, executor),
      checkFinite,
      precision,
      signal,
    };
    return new BatchSampler(settings, inputs);
  }

  dispose(): void {
    this.classLabels?.dispose();
  }

  private network(classLabels: Tensor | undefined): Network {
    const { model, guidance = 1, nullLabel } = this.options;
    if (!classLabels) return (x, t) => model.forward(x, t);
    const conditional = (x: Tensor, t: Tensor, labels: Tensor): Tensor => model.forward(x, t, { classLabels: labels });
    return guided(conditional, { classLabels, nullLabel: nullLabel ?? NaN, scale: guidance });
  }

  private labels(): Tensor | undefined {
    const { classLabels, guidance = 1, nullLabel, count, device } = this.options;
    const refuse = (problem: string, advice?: string): never => {
      throw new ArgumentError({ op: "sample", problem, advice });
    };
    if (classLabels === undefined) {
      if (guidance !== 1) refuse(`guidance is ${guidance}, and there are no class labels to guide to.`);
      return undefined;
    }
    if (guidance !== 1 && !(Number.isInteger(nullLabel) && nullLabel! >= 0))
      refuse(
        `guidance is ${guidance} and nullLabel is ${nullLabel}.`,
        "Guidance needs the number of the class that stands for none.",
      );
    const labels =
      typeof classLabels === "number" ? new Array<number>(count).fill(classLabels) : Array.from(classLabels);
    if (labels.length !== count || !labels.every((label) => Number.isInteger(label) && label >= 0))
      refuse(`classLabels are [${labels.join(", ")}].`, `Expected ${count} integers >= 0, or one for all.`);
    return scope(() => tensor(labels, { dtype: "int32", device }).keep());
  }

  /** Refuses pictures that are not of this run's size and dtype, one for each image or one for all. */
  private expectImages(name: string, images: Tensor | undefined, channels?: readonly number[]): void {
    if (images === undefined) return;
    const { count, size, dtype = defaultDType() } = this.options;
    const [n, height, width, depth] = images.shape;
    const fits =
      images.rank === 4 && [1, count].includes(n) && height === size[0] && width === size[1] && (channels ?? [size[2]]).includes(depth); // prettier-ignore
    if (!fits)
      throw new ShapeError({
        op: "sample",
        problem: `${name} has shape ${showShape(images.shape)}.`,
        advice: `Expected [${[...new Set([count, 1])].join(" or ")}, ${size[0]}, ${size[1]}, ${(channels ?? [size[2]]).join(" or ")}] for ${count} ${count === 1 ? "image" : "images"} of size ${showShape(size)}.`,
      });
    if (images.dtype !== dtype)
      throw new DTypeError({
        op: "sample",
        problem: `${name} is ${images.dtype}, and dtype is ${dtype}.`,
        advice: `Convert it with .to("${dtype}").`,
      });
  }
}

function expectCounts({ count, size, batch = 64, previewEvery = 1 }: SampleOptions): void {
  for (const [name, value] of Object.entries({ count, batch, previewEvery }))
    if (!Number.isInteger(value) || value < 1)
      throw new ArgumentError({ op: "sample", problem: `${name} is ${value}, expected an integer >= 1.` });
  if (size.length !== 3)
    throw new ArgumentError({
      op: "sample",
      problem: `size is ${showShape(size)}, expected [height, width, channels].`,
    });
}

/** The reverse process that is asked for; refuses one that starts from noise where the network expects signal. */
function processOf({ schedule, solver, from, inpaint, allowResidualSignal = false }: SampleOptions): ReverseProcess {
  if ((schedule === undefined) === (solver === undefined))
    throw new ArgumentError({
      op: "sample",
      problem: schedule ? "both a schedule and a solver are given." : "neither a schedule nor a solver is given.",
      advice: "Give the schedule to make all of its steps, or the solver of a scheduler to make fewer.",
    });
  if (schedule && !from) schedule.expectNoiseAtEnd("sample", allowResidualSignal);
  const process = solver ? solverProcess(solver) : ddpmProcess(schedule!);
  const { signal, noise } = process.levels[0];
  const residual = signal ** 2 / (signal ** 2 + noise ** 2);
  if (solver && !from && !allowResidualSignal && residual > largestResidualSignal)
    throw new ArgumentError({
      op: "sample",
      problem: `the first step of ${solver.name} expects pictures that still hold ${(100 * residual).toPrecision(2)}% signal, and starts from noise.`,
      advice: "Give pictures to start from, a schedule that ends in noise, or allowResidualSignal: true.",
    });
  if (inpaint && (inpaint.resamples ?? 1) > 1 && solver?.remembers)
    throw new ArgumentError({
      op: "sample",
      problem: `inpaint.resamples is ${inpaint.resamples}, and ${solver.name} remembers earlier steps, which going back would make wrong.`,
      advice: "Take a sampler without memory, such as DDPM, DDIM or Euler, or no resamples.",
    });
  return process;
}
