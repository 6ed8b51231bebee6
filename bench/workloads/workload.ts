// What every workload gives: something to run again and again, and what it costs at least.

import type { Module, Precision, Tensor } from "langevin";

/** Arithmetic and memory traffic of one call, counted, not measured. */
export interface Cost {
  /** Multiplications and additions. */
  readonly flops: number;
  /** Bytes to be read and written where every stored tensor is written once and read once where it is needed. */
  readonly bytes: number;
  /** Number of steps that go over the same memory in a call; default 1. */
  readonly steps?: number;
}

/** How a task is to be run, where not as on a CPU. */
export interface Manner {
  /** What products round their operands to; default float32. Only device cuda has others. */
  readonly precision?: Precision;
  /** Calls in a run; default: so many that a CPU's wait at its end does not count. */
  readonly calls?: number;
  /** Steps of a sampling run; default: all of the schedule. */
  readonly steps?: number;
  /** Replays as a plan also what is otherwise run eagerly, where the task can be. */
  readonly asPlan?: boolean;
}

/** A task that is set up. */
export interface Workload {
  /** How it is run: "plan" (recorded and replayed) or "eager". */
  readonly variant: "plan" | "eager";
  /** Calls of what is measured in a run, so many that the wait at its end does not count. */
  readonly calls: number;
  /** Of a call. */
  readonly cost: Cost;
  /** What has to be in place before each run, and is not timed. */
  prepare?(): Promise<void>;
  /** All calls, until their results are there. */
  run(): Promise<void>;
  /** Frees what it holds. */
  close(): Promise<void> | void;
}

/** Waits until a tensor has been computed, without copying all of it. */
export async function computed(x: Tensor): Promise<void> {
  const first = x.reshape([x.size]).slice([0, 1]);
  await first.data();
  first.dispose();
}

const bytesOfFloat = 4;

/** Cost of a forward of a network that takes images [batch, H, W, C] and timesteps: weights read, activations written and read. */
export function forwardCost(model: Module, size: [number, number, number], batch: number): Cost {
  const { flops, parameters, stored } = summaryOf(model, size, batch);
  return { flops, bytes: bytesOfFloat * (parameters + 2 * stored) };
}

/**
 * Cost of its training step with Adam. Activations are written, read forwards and read backwards, their gradients written and
 * read; weights are read twice, their gradients written; Adam reads weight, gradient and two moments and writes three of them.
 */
export function trainingCost(model: Module, size: [number, number, number], batch: number): Cost {
  const { trainingFlops, parameters, stored } = summaryOf(model, size, batch);
  return { flops: trainingFlops, bytes: bytesOfFloat * (5 * stored + (2 + 1 + 7) * parameters) };
}

/** The model's summary, and how many values its innermost layers give. */
function summaryOf(model: Module, size: [number, number, number], batch: number) {
  const { layers, flops, trainingFlops, parameters } = model.summary({ size, batch });
  const innermost = layers.filter(({ depth }, i) => depth >= (layers.at(i + 1)?.depth ?? 0));
  const stored = innermost
    .flatMap(({ outputs }) => outputs)
    .reduce((total, shape) => total + shape.reduce((product, n) => product * n, 1), 0);
  return { flops, trainingFlops, parameters, stored };
}
