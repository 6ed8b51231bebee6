// train: runs a training step over batches of noised data, and reports as it goes.

import type { Batch, Batches } from "../data/image-set.ts";
import type { DeviceName, Executor, Precision } from "../device/executor.ts";
import type { NoiseSchedule } from "../diffusion/noise-schedule.ts";
import { PerStep } from "../ops/index.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { Seed } from "../tensor/random.ts";
import { capture, runsEagerly } from "../tensor/capture.ts";
import { draws, randint, randn, seedKey } from "../tensor/random.ts";
import { Counter, stepIndex } from "../tensor/recording.ts";
import { refusePromise, scope } from "../tensor/scope.ts";
import { Tensor, executorOf } from "../tensor/tensor.ts";
import type { TensorTree } from "../tensor/tree.ts";
import { Pacer } from "./pacing.ts";

/** What a training step is given: the batch, and timesteps and noise drawn for it. */
export interface StepInputs extends Batch {
  /** int32 [N], uniform in 0..T-1. */
  readonly t: Tensor;
  /** Standard normal, shaped as x0. */
  readonly noise: Tensor;
  /**
   * Counts from 0: what `Tensor.row` takes, and `step` of seeded noise. Unless `eager`, when `Number(iteration)` gives it,
   * the step is recorded for all iterations at once, and nothing can be calculated with this.
   */
  readonly iteration: PerStep;
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
   * What it makes is freed when it returns. It is recorded as a plan and then replayed (see `capture`): it must not read
   * values or depend on the iteration, unless `eager`.
   */
  readonly step: (inputs: StepInputs) => {
    /** A scalar. */
    readonly loss: Tensor;
  };
  /** Decides batches, timesteps and noise; default 0. */
  readonly seed?: Seed;
  /** Default: the default device. The model lives there. */
  readonly device?: DeviceName;
  /** Call the step for each iteration instead of replaying a plan: slower, but it may do anything. Default: in strict mode. */
  readonly eager?: boolean;
  /** Stop at the first operation whose result is not finite, with an error that names it and its layer. Not with `eager`. */
  readonly checkFinite?: boolean;
  /** What products may round their operands to: "tf32" or "bf16" on device "cuda" (see `capture`). Default "float32". Not with `eager`. */
  readonly precision?: Precision;
  /**
   * Run no further than the next multiple of this number of steps before its report was looked at: then weights can be
   * saved, pictures drawn, the learning rate set. Without it steps run ahead of the reports, up to 1,000.
   */
  readonly pauseEvery?: number;
  /** Stops the run between two steps (or in one that has loops, between their iterations); it then throws the reason. */
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
 * their reports: while one is looked at, the weights may be those of a later step, but for `pauseEvery`. Throws (then) on a
 * loss that is not one number, on a step that cannot be recorded, on device errors, and on abort, after the reports of all
 * steps that were done.
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

/** The options with their defaults, checked. */
interface Run {
  readonly options: TrainOptions;
  readonly seed: bigint;
  readonly executor: Executor;
  readonly pauseEvery: number;
}

async function* runSteps(options: TrainOptions): AsyncGenerator<TrainProgress, void, undefined> {
  const { iterations, schedule, data, pauseEvery = Infinity } = options;
  if (!Number.isInteger(iterations) || iterations < 0)
    throw new ArgumentError({ op: "train", problem: `iterations is ${iterations}, expected an integer >= 0.` });
  if (pauseEvery !== Infinity && (!Number.isInteger(pauseEvery) || pauseEvery < 1))
    throw new ArgumentError({ op: "train", problem: `pauseEvery is ${pauseEvery}, expected an integer >= 1.` });
  schedule.expectNoiseAtEnd("train", options.allowResidualSignal);
  const executor = executorOf(options);
  const eager = runsEagerly("train", options, executor);
  const run: Run = { options, seed: seedKey("train", options.seed ?? 0), executor, pauseEvery };
  if (eager) yield* runOneByOne(run, (batch, i) => stepOn(run, batch, PerStep.known(i)));
  else if (data.batchOfStep) yield* runPlan(run, data.batchOfStep.bind(data));
  else yield* runPlanOneByOne(run);
}

/** One step on a batch: draws timesteps and noise, and returns the loss. */
function stepOn({ options, seed, executor }: Run, batch: Batch, iteration: PerStep): Tensor {
  const { schedule, step } = options;
  const device = executor.name;
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
  return loss;
}

/** All steps as replays of one plan. */
async function* runPlan(
  run: Run,
  batchOfStep: NonNullable<Batches["batchOfStep"]>,
): AsyncGenerator<TrainProgress, void, undefined> {
  const { iterations, signal, checkFinite, precision } = run.options;
  const iteration = new Counter();
  const planned = (): Tensor => {
    const batch = batchOfStep(() => iteration.value, run.seed, run.executor.name);
    const loss = stepOn(
      run,
      batch,
      stepIndex(() => iteration.value),
    );
    iteration.add();
    return loss.detach();
  };
  const step = capture(planned, { checkFinite, precision, consumingFor: "train" });
  try {
    for (let done = 0; done < iterations;) {
      const count = Math.min(run.pauseEvery, iterations - done);
      for await (const report of step.replay(count, { signal }))
        yield { iteration: done + report.step, loss: report.values[0] };
      done += count;
    }
  } finally {
    step.dispose();
  }
}

/** All steps as calls of one plan, with batches that are made one by one. */
async function* runPlanOneByOne(run: Run): AsyncGenerator<TrainProgress, void, undefined> {
  const iteration = new Counter();
  const planned = (batch: TensorTree): Tensor => {
    const loss = stepOn(
      run,
      batch as unknown as Batch,
      stepIndex(() => iteration.value),
    );
    iteration.add();
    return loss.detach();
  };
  const { checkFinite, precision } = run.options;
  const step = capture(planned, { checkFinite, precision, consumingFor: "train" });
  try {
    yield* runOneByOne(run, (batch) => step(batch as unknown as TensorTree));
  } finally {
    step.dispose();
  }
}

/** Steps that are called one by one, of which the next is enqueued while one runs. */
async function* runOneByOne(
  run: Run,
  step: (batch: Batch, iteration: number) => Tensor,
): AsyncGenerator<TrainProgress, void, undefined> {
  const { seed, executor, pauseEvery } = run;
  const { iterations, data, signal } = run.options;
  const pacer = new Pacer(executor);
  const reports: Promise<TrainProgress>[] = [];

  const runStep = (iteration: number): Promise<TrainProgress> =>
    scope(() => {
      const loss = step(data.batch(iteration, seed, executor.name), iteration);
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
    const behind = (iteration + 1) % pauseEvery === 0 ? 0 : 1;
    while (reports.length > behind) yield (await reports.shift())!;
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
