// sample: draws pictures from a trained model by running the reverse process from noise.

import type { DeviceName, Executor } from "../device/executor.ts";
import type { NoiseSchedule } from "../diffusion/noise-schedule.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Captured } from "../tensor/capture.ts";
import { capture, runsEagerly } from "../tensor/capture.ts";
import { concat } from "../tensor/creation.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, randn, seedKey } from "../tensor/random.ts";
import { Counter, perStep } from "../tensor/recording.ts";
import { refusePromise, scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { applyInPlace, executorOf } from "../tensor/tensor.ts";
import { Pacer } from "../train/pacing.ts";

/** A network that predicts the noise in x_t: x [N, H, W, C], t int32 [N] -> epsilon [N, H, W, C]. */
export interface Denoiser {
  /** The predicted noise, of the shape of x. */
  forward(x: Tensor, t: Tensor): Tensor;
}

/** A look at a sampling run. */
export interface SamplePreview {
  /** Number of the first image of this batch. */
  readonly image: number;
  /** Reverse steps done, from 0 (pure noise) to T. */
  readonly step: number;
  /** The images as they are now [n, H, W, C]; freed when the callback returns, unless kept. */
  readonly x: Tensor;
}

/** What to sample, and how. */
export interface SampleOptions {
  /** The network. */
  readonly model: Denoiser;
  /** The schedule that it was trained with. */
  readonly schedule: NoiseSchedule;
  /** Number of images. */
  readonly count: number;
  /** [H, W, C] of one image. */
  readonly size: readonly [height: number, width: number, channels: number];
  /** Image k of a seed is the same whatever `count` and `batch` are. Default 0. */
  readonly seed?: Seed;
  /** Images that go through the network at once; default 64. */
  readonly batch?: number;
  /** Default: the default device. The model lives there. */
  readonly device?: DeviceName;
  /** Call the model for each step instead of replaying a plan: slower, but it may do anything. Default: in strict mode. */
  readonly eager?: boolean;
  /** Stop at the first operation whose result is not finite, with an error that names it and its layer. Not with `eager`. */
  readonly checkFinite?: boolean;
  /** Stops the run between two steps; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Sample although x_T should still hold signal (alphaBar_T > 0.05). */
  readonly allowResidualSignal?: boolean;
  /** Called synchronously before the first step and after every `previewEvery` steps, and after the last. */
  readonly onPreview?: (preview: SamplePreview) => void;
  /** Default: only before the first step and after the last. */
  readonly previewEvery?: number;
}

/**
 * Ho et al. 2020, algorithm 2: starts from x_T ~ N(0, 1) and applies the reverse step for t = T-1, ..., 0.
 * Resolves to the images [count, H, W, C], about in the range of the training data; they belong to the caller. The model
 * is recorded as a plan and then replayed (see `capture`), unless `eager`: it must not read values.
 */
export async function sample(options: SampleOptions): Promise<Tensor> {
  const { count, size, batch = 64, schedule, previewEvery } = options;
  for (const [name, value] of Object.entries({ count, batch, previewEvery: previewEvery ?? 1 }))
    if (!Number.isInteger(value) || value < 1)
      throw new ArgumentError({ op: "sample", problem: `${name} is ${value}, expected an integer >= 1.` });
  if (size.length !== 3)
    throw new ArgumentError({
      op: "sample",
      problem: `size is ${showShape(size)}, expected [height, width, channels].`,
    });
  schedule.expectNoiseAtEnd("sample", options.allowResidualSignal);
  const parts: Tensor[] = [];
  let sampler: BatchSampler | undefined;
  try {
    for (let image = 0; image < count; image += batch) {
      const images = Math.min(batch, count - image);
      if (sampler?.count !== images) {
        sampler?.dispose();
        sampler = new BatchSampler(options, images);
      }
      parts.push(await sampler.run(image));
    }
    return parts.length === 1 ? parts[0].detach() : concat(parts, 0);
  } finally {
    sampler?.dispose();
    for (const part of parts) part.dispose();
  }
}

/** The reverse process on batches of `count` images. */
class BatchSampler {
  readonly count: number;
  private readonly options: SampleOptions;
  private readonly seed: bigint;
  private readonly executor: Executor;
  /** Number of the first image of the batch. */
  private image = 0;
  /** Reverse steps done. */
  private readonly done = new Counter();
  /** The images as they are now; each step overwrites them. */
  private readonly x: Tensor;
  private readonly plan: Captured<[], undefined> | undefined;

  constructor(options: SampleOptions, count: number) {
    this.options = options;
    this.count = count;
    this.seed = seedKey("sample", options.seed ?? 0);
    this.executor = executorOf(options);
    this.x = scope(() => this.initialNoise().keep());
    if (!runsEagerly("sample", options)) {
      const { checkFinite } = options;
      this.plan = capture(() => noGrad(() => this.reverseStep()), { checkFinite });
    }
  }

  /** The images from `image` on; they belong to the caller. */
  async run(image: number): Promise<Tensor> {
    const { schedule, previewEvery = schedule.steps } = this.options;
    this.image = image;
    this.done.set(0);
    scope(() => {
      applyInPlace(ops.assign, [this.x, this.initialNoise()], {});
    });
    this.preview(0);
    for (let step = 0; step < schedule.steps;) {
      const next = Math.min(step + previewEvery, schedule.steps);
      await (this.plan ? this.replay(this.plan, next - step) : this.runEagerly(next - step));
      step = next;
      this.preview(step);
    }
    return this.x.clone().keep();
  }

  dispose(): void {
    this.plan?.dispose();
    this.x.dispose();
  }

  private initialNoise(): Tensor {
    const { seed, image, executor } = this;
    const place = { seed, draw: draws.initialNoise, image, step: 0, device: executor.name };
    return randn([this.count, ...this.options.size], place);
  }

  private async replay(plan: Captured<[], undefined>, steps: number): Promise<void> {
    for await (const _ of plan.replay(steps, { signal: this.options.signal }));
  }

  private async runEagerly(steps: number): Promise<void> {
    const pacer = new Pacer(this.executor);
    for (let step = 0; step < steps; step++) {
      this.options.signal?.throwIfAborted();
      noGrad(() => {
        scope(() => {
          this.reverseStep();
        });
      });
      await pacer.turn();
    }
    await pacer.finish();
  }

  private reverseStep(): undefined {
    const { x, seed } = this;
    const { model, schedule } = this.options;
    const t = perStep(() => schedule.steps - 1 - this.done.value);
    const timesteps = schedule.timesteps(t, x, "sample");
    const epsilon = model.forward(x, timesteps);
    if (showShape(epsilon.shape) !== showShape(x.shape))
      throw new ShapeError({
        op: "sample",
        problem: `the model returned shape ${showShape(epsilon.shape)} for images of shape ${showShape(x.shape)}.`,
        advice: "A denoiser returns the noise in x, shaped as x.",
      });
    const image = perStep(() => this.image);
    const step = perStep(() => this.done.value);
    applyInPlace(ops.assign, [x, schedule.reverseStep(x, timesteps, epsilon, { seed, image, step })], {});
    this.done.add();
  }

  private preview(step: number): void {
    const { image, x } = this;
    const { onPreview } = this.options;
    // A copy, since the images go on to change.
    if (onPreview)
      scope(() => {
        refusePromise("onPreview", onPreview({ image, step, x: x.clone() }));
      });
  }
}
