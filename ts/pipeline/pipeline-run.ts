// A run of a pipeline, which can be awaited for its images or looked at step by step.

import { LifetimeError } from "../errors/index.ts";
import { lend } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { SampleOptions } from "./sample.ts";
import { sampling } from "./sample.ts";

/** A look at a run. */
export interface PipelineProgress {
  /** Steps done for this batch of images: 0 when they are noise, then 1, and so on. */
  readonly step: number;
  /** Steps for each batch in all. */
  readonly steps: number;
  /** Number of the first image of this batch. */
  readonly image: number;
  /** The images of the batch as they are now [n, H, W, C]; freed when the next look begins, unless kept (`preview.keep()`). */
  readonly preview: Tensor;
}

/**
 * A run, which starts when it is iterated or awaited, and can be run once. `await run` gives the images [n, H, W, C], which belong
 * to the caller, also after the run was iterated; leaving a loop over it stops it and frees everything.
 */
export interface PipelineRun extends AsyncGenerator<PipelineProgress, Tensor, undefined>, PromiseLike<Tensor> {}

/** What a run is made of, once it starts. */
export interface PipelineRunSource {
  readonly options: SampleOptions;
  /** What is freed when the run has ended. */
  readonly owned: readonly { dispose(): void }[];
}

/** How a run ended. */
type Ending = { readonly images: Tensor } | { readonly error: unknown };

/** A run of what `open` gives; its errors, too, are the run's. */
export function pipelineRun(op: string, open: () => PipelineRunSource): PipelineRun {
  let isWatched = true;
  let ending: Ending | undefined;
  const watch = async function* (): AsyncGenerator<PipelineProgress, Tensor, undefined> {
    try {
      const images = yield* looks(open(), isWatched);
      ending = { images };
      return images;
    } catch (error) {
      ending = { error };
      throw error;
    }
  };
  const run = watch();
  const runToEnd = async (): Promise<Tensor> => {
    isWatched = false; // where it has not started yet
    while (!ending) {
      const { done } = await run.next();
      if (done && !ending) throw new LifetimeError({ op, problem: "the run was stopped before its images were made." });
    }
    if ("error" in ending) throw ending.error;
    return ending.images;
  };
  let ended: Promise<Tensor> | undefined;
  return Object.assign(run, {
    then: ((onEnd, onError) => (ended ??= runToEnd()).then(onEnd, onError)) as PipelineRun["then"],
  });
}

async function* looks(
  { options, owned }: PipelineRunSource,
  isWatched: boolean,
): AsyncGenerator<PipelineProgress, Tensor, undefined> {
  const run = sampling(options, isWatched);
  try {
    for (;;) {
      const { done, value } = await run.next();
      if (done) return value;
      const { step, steps, image, x } = value;
      const loan = lend(() => x.clone()); // the images go on to change
      try {
        yield { step, steps, image, preview: loan.value };
      } finally {
        loan.end();
      }
    }
  } finally {
    await run.return(undefined as never);
    for (const one of owned) one.dispose();
  }
}
