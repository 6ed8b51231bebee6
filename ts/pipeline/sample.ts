// sample: draws pictures from a trained model by running the reverse process from noise.

import type { DeviceName } from "../device/executor.ts";
import type { NoiseSchedule } from "../diffusion/noise-schedule.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { concat } from "../tensor/creation.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, randn, seedKey } from "../tensor/random.ts";
import { refusePromise, scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { executorOf } from "../tensor/tensor.ts";
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
 * Resolves to the images [count, H, W, C], about in the range of the training data; they belong to the caller.
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
  try {
    for (let image = 0; image < count; image += batch)
      parts.push(await sampleBatch(options, image, Math.min(batch, count - image)));
    return parts.length === 1 ? parts[0].detach() : concat(parts, 0);
  } finally {
    for (const part of parts) part.dispose();
  }
}

/** Images `image` to `image + count` of the run. */
async function sampleBatch(options: SampleOptions, image: number, count: number): Promise<Tensor> {
  const { model, schedule, size, signal, onPreview } = options;
  const seed = seedKey("sample", options.seed ?? 0);
  const executor = executorOf(options);
  const device = executor.name;
  const every = options.previewEvery ?? schedule.steps;
  const pacer = new Pacer(executor);
  const preview = (step: number, x: Tensor): void => {
    scope(() => {
      refusePromise("onPreview", onPreview?.({ image, step, x: x.detach() }));
    });
  };

  const shape = [count, ...size];
  let x = scope(() => randn(shape, { seed, draw: draws.initialNoise, image, step: 0, device }).keep());
  try {
    preview(0, x);
    for (let step = 0; step < schedule.steps; step++) {
      signal?.throwIfAborted();
      const before = x;
      x = noGrad(() => scope(() => reverseStep(before, schedule.steps - 1 - step, { seed, image, step }).keep()));
      before.dispose();
      if ((step + 1) % every === 0 || step === schedule.steps - 1) preview(step + 1, x);
      await pacer.turn();
    }
    await pacer.finish();
    return x;
  } catch (error) {
    x.dispose();
    throw error;
  }

  function reverseStep(current: Tensor, t: number, noise: { seed: bigint; image: number; step: number }): Tensor {
    const timesteps = schedule.timesteps(t, current, "sample");
    const epsilon = model.forward(current, timesteps);
    if (showShape(epsilon.shape) !== showShape(current.shape))
      throw new ShapeError({
        op: "sample",
        problem: `the model returned shape ${showShape(epsilon.shape)} for images of shape ${showShape(current.shape)}.`,
        advice: "A denoiser returns the noise in x, shaped as x.",
      });
    return schedule.reverseStep(current, timesteps, epsilon, noise);
  }
}
