// train: runs a training step over batches of noised data, and reports as it goes.

import type { Batch, Batches } from "../data/image-set.ts";
import type { DeviceName } from "../device/executor.ts";
import type { NoiseSchedule } from "../diffusion/noise-schedule.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, randint, randn, seedKey } from "../tensor/random.ts";
import { refusePromise, scope } from "../tensor/scope.ts";
import { Tensor, executorOf } from "../tensor/tensor.ts";
import { Pacer } from "./pacing.ts";

/** What a training step is given: the batch, and timesteps and noise drawn for it. */
export interface StepInputs extends Batch {
  /** int32 [N], uniform in 0..T-1. */
  readonly t: Tensor;
  /** Standard normal, shaped as x0. */
  readonly noise: Tensor;
  /** Counts from 0. */
  readonly iteration: number;
}

/** What to train, and how. */
export interface TrainOptions {
  /** Number of steps to run. */
  readonly iterations: number;
  /** The schedule whose timesteps and noise the steps are given. */
  readonly schedule: NoiseSchedule;
  /** Where the images of each step come from. */
  readonly data: Batches;
  /**
   * One step: computes the loss, calls `backward` and the optimizer, and returns the loss (a scalar). Synchronous.
   * What it makes is freed when it returns.
   */
  readonly step: (inputs: StepInputs) => {
    /** A scalar. */
    readonly loss: Tensor;
  };
  /** Decides batches, timesteps and noise; default 0. */
  readonly seed?: Seed;
  /** Default: the default device. The model lives there. */
  readonly device?: DeviceName;
  /** Stops the run between two steps; the run then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Train although x_T still holds signal (alphaBar_T > 0.05). */
  readonly allowResidualSignal?: boolean;
}

/** A finished step. */
export interface TrainProgress {
  /** Steps done, counting from 1. */
  readonly iteration: number;
  /** The loss of this step. */
  readonly loss: number;
}

/** A training run, which starts when it is iterated or awaited; it can be run once. */
export interface TrainRun
  extends AsyncGenerator<TrainProgress, void, undefined>, PromiseLike<TrainProgress | undefined> {}

/**
 * Runs `iterations` training steps. `for await (const { iteration, loss } of train(...))` reports each one in order,
 * and leaving the loop stops the run; `await train(...)` runs to the end and gives the last report. Steps run ahead of
 * the report by one: while a report is looked at, the weights may be those of the step after it. Throws (then) on a loss
 * that is not one number, on device errors, and on abort, after the reports of all steps that were done.
 */
export function train(options: TrainOptions): TrainRun {
  const run = runSteps(options);
  const runToEnd = async (): Promise<TrainProgress | undefined> => {
    let last: TrainProgress | undefined;
    for await (const progress of run) last = progress;
    return last;
  };
  let ended: Promise<TrainProgress | undefined> | undefined;
  return Object.assign(run, {
    then: ((onEnd, onError) => (ended ??= runToEnd()).then(onEnd, onError)) as TrainRun["then"],
  });
}

async function* runSteps(options: TrainOptions): AsyncGenerator<TrainProgress, void, undefined> {
  const { iterations, schedule, data, step, signal } = options;
  if (!Number.isInteger(iterations) || iterations < 0)
    throw new ArgumentError({ op: "train", problem: `iterations is ${iterations}, expected an integer >= 0.` });
  schedule.expectNoiseAtEnd("train", options.allowResidualSignal);
  const seed = seedKey("train", options.seed ?? 0);
  const executor = executorOf(options);
  const device = executor.name;
  const pacer = new Pacer(executor);
  const reports: Promise<TrainProgress>[] = [];

  const runStep = (iteration: number): Promise<TrainProgress> =>
    scope(() => {
      const batch = data.batch(iteration, seed, device);
      const count = batch.x0.shape[0];
      const t = randint(0, schedule.steps, [count], { seed, draw: draws.timestep, step: iteration, device });
      const noise = randn(batch.x0.shape, { seed, draw: draws.forwardNoise, step: iteration, device });
      const loss = lossOf(step({ ...batch, t, noise, iteration }));
      if (loss.size !== 1)
        throw new ShapeError({
          op: "train",
          problem: `the step returned a loss of shape ${showShape(loss.shape)}.`,
          advice: "Reduce it to one number, as with mse(...) or .mean().",
        });
      return { report: loss.data().then((values) => ({ iteration: iteration + 1, loss: values[0] })) };
    }).report;

  for (let iteration = 0; iteration < iterations; iteration++) {
    try {
      signal?.throwIfAborted();
      const report = runStep(iteration);
      report.catch(() => undefined);
      reports.push(report);
    } catch (error) {
      for (const report of reports) yield await report; // steps that were done before count
      throw error;
    }
    await pacer.turn();
    if (reports.length > 1) yield (await reports.shift())!;
  }
  await pacer.finish();
  for (const report of reports) yield await report;
}

/** The loss in what a step returned; callers without types may have returned anything. */
function lossOf(result: unknown): Tensor {
  refusePromise("train", result);
  const loss = typeof result === "object" && result !== null && "loss" in result ? result.loss : undefined;
  if (loss instanceof Tensor) return loss;
  throw new ArgumentError({
    op: "train",
    problem: "the step returned something else than { loss }, with the loss a tensor.",
    advice: "Return the scalar that backward was called on.",
  });
}
