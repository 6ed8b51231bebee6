// A captured function's plan with the tensors around it: inputs, results, library state, and the report of its steps.

import type { Operand, ReplayEnd, ReplayFailure } from "../device/executor.ts";
import type { LangevinError } from "../errors/index.ts";
import { CaptureError, DeviceError, NumericsError, showShape } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import { runsOf } from "../plan/host.ts";
import type { Plan } from "../plan/plan.ts";
import type { RecordedProgram } from "../plan/recorded.ts";
import type { StepEffects } from "./recording.ts";
import { Recording } from "./recording.ts";
import { adopt, refusePromise, scope } from "./scope.ts";
import { Tensor, applyInPlace, uninitialised } from "./tensor.ts";
import type { TensorTree } from "./tree.ts";
import { expectTree, mapTensors, tensorsIn } from "./tree.ts";

/** A step that was replayed. */
export interface StepReport {
  /** Counts from 1. */
  readonly step: number;
  /** The numbers that the function returned in this step: its results of one element, in their order. */
  readonly values: readonly number[];
}

/** What one recording of the function gives. */
export interface RecordedStep {
  readonly program: RecordedProgram;
  readonly effects: StepEffects;
  readonly result: TensorTree | void;
  /** Tensors whose values outlive the step, in the order of the program's outputs: results first, then gradients of leaves. */
  readonly leaves: readonly Tensor[];
  /** Operands of the results of one element. */
  readonly reports: readonly Operand[];
}

/** So long a caller may look at reports that are there already; then the event loop has its turn. */
const mostMilliseconds = 10;

/** A plan with the tensors around it. */
export class CapturedPlan {
  readonly plan: Plan;
  readonly effects: StepEffects;
  /** What inputs are copied to. */
  readonly inputs: readonly Tensor[];
  private readonly result: TensorTree | void;
  private readonly leaves: readonly Tensor[];
  /** Replays under way. */
  private active = 0;
  private disposed = false;

  constructor(plan: Plan, { effects, result, leaves }: RecordedStep, inputs: readonly Tensor[]) {
    this.plan = plan;
    this.effects = effects;
    this.result = result;
    this.leaves = leaves;
    this.inputs = inputs;
  }

  /** Runs one step, and gives its results as tensors of their own. */
  run(inputs: readonly Tensor[]): TensorTree | void {
    inputs.forEach((input, i) => {
      applyInPlace(ops.assign, [this.inputs[i], input], {});
    });
    this.effects
      .counting(() => {
        this.plan.run();
      })
      .settle();
    this.takeState().keep();
    const results = new Map(tensorsIn(this.result).map((leaf, i) => [leaf, this.copy(i)]));
    for (const copy of results.values()) adopt(copy);
    return mapTensors(this.result, (leaf) => results.get(leaf)!);
  }

  /** Runs many steps in one call, and reports them as they are done. */
  async *replay(steps: number, signal: AbortSignal | undefined): AsyncGenerator<StepReport, void, undefined> {
    signal?.throwIfAborted(); // the function that was recorded may have aborted
    const { plan, effects } = this;
    const width = plan.options.reports.length;
    const reports = new Float64Array(steps * width);
    let done = 0;
    let end: ReplayEnd | undefined;
    let wake: (() => void) | undefined;
    const progress = (complete: number): void => {
      done = complete;
      wake?.();
    };
    const counted = effects.counting(() => plan.replay(steps, { reports, onProgress: progress }));
    const replay = counted.result;
    // At once, as counts are: what is done to gradients meanwhile follows after the steps.
    const state = this.takeState();
    const stop = (): void => {
      replay.stop();
    };
    void replay.ended.then((ended) => {
      end = ended;
      progress(ended.steps);
    });
    signal?.addEventListener("abort", stop);
    this.active++;
    let settled = false;
    const settle = async (): Promise<void> => {
      if (settled) return;
      settled = true;
      signal?.removeEventListener("abort", stop);
      const { lists, steps: complete } = await replay.ended;
      counted.settle(lists < steps * runsOf(plan.placed.nodes) ? () => plan.recount(steps, lists) : undefined);
      if (complete > 0) state.keep();
      else state.undo();
      if (--this.active === 0 && this.disposed) this.free();
    };
    try {
      for (let told = 0; ;) {
        let turn = performance.now();
        for (; told < done; told++) {
          if (performance.now() - turn > mostMilliseconds) {
            await new Promise((resolve) => setImmediate(resolve));
            turn = performance.now();
          }
          // Whoever looks at the last step finds nothing under way.
          if (told + 1 === steps) await settle();
          yield { step: told + 1, values: [...reports.subarray(told * width, (told + 1) * width)] };
        }
        if (end && told === end.steps) break;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      replay.stop();
      await settle();
    }
    if (end.failure) throw failureOf(plan, end.failure);
    if (end.steps < steps) signal?.throwIfAborted();
  }

  /** Frees its memory, as soon as no replay is under way. */
  dispose(): void {
    this.disposed = true;
    if (this.active === 0) this.free();
  }

  private free(): void {
    this.plan.unload();
    for (const input of this.inputs) input.dispose();
  }

  /** Makes the library's state what the steps leave that were started last; to be undone if none of them ran. */
  private takeState(): { keep(): void; undo(): void } {
    const changes = this.effects.cells.flatMap(({ cell, after }) => {
      const before = cell.peek();
      const made = after instanceof Tensor ? this.leaves.lastIndexOf(after) : -1;
      const now = made >= 0 ? this.copy(made) : after;
      cell.restore(now);
      if (before !== now && now instanceof Tensor) now.onOrphaned();
      return before === now ? [] : [{ cell, before, now }];
    });
    return {
      keep: () => {
        for (const { before } of changes) if (before instanceof Tensor) before.dispose();
      },
      undo: () => {
        for (const { cell, before, now } of changes) {
          const others = cell.peek() !== now; // have changed it since
          if (!others) cell.restore(before);
          const gone = others ? before : now;
          if (gone instanceof Tensor) gone.dispose();
        }
      },
    };
  }

  /** What a step left in leaf `index`, as a tensor of its own, owned by nobody. */
  private copy(index: number): Tensor {
    const { executor } = this.plan;
    const { shape, dtype } = this.leaves[index];
    const copy = uninitialised(shape, dtype, executor);
    const operands = [copy.operand("capture"), this.plan.result(index)];
    executor.submit([{ op: ops.assign, attributes: {}, inputs: operands, output: undefined }]);
    return copy;
  }
}

/** Refuses a result through which gradients would be expected to flow: they end at the plan. */
function expectNoGraph(result: Tensor): void {
  if (result.node && !result.node.walked)
    throw new CaptureError({
      op: "capture",
      problem: `a result of shape ${showShape(result.shape)} requires a gradient, which would end at the plan.`,
      advice: "Call backward in the function, or return it detached, or compute it inside noGrad.",
    });
}

/** Records the function once; the library's state is afterwards as it was before. */
export function recordOnce(
  fn: (...inputs: readonly TensorTree[]) => TensorTree | void,
  inputs: readonly TensorTree[],
): RecordedStep {
  const recording = new Recording();
  let effects: StepEffects | undefined;
  try {
    const recorded = recording.run(() => {
      const result = scope(() => {
        const given = fn(...inputs);
        refusePromise("capture", given);
        expectTree("capture", given);
        for (const value of tensorsIn(given)) expectNoGraph(value);
        return given;
      });
      const results = tensorsIn(result);
      const held = recording.heldValues().filter((value) => value instanceof Tensor && value.madeIn === recording);
      const leaves = [...results, ...(held as Tensor[])];
      const outputs = leaves.map((leaf) => recording.identified(leaf.operand("capture")));
      return {
        result,
        leaves,
        outputs,
        reports: outputs.filter((_, i) => i < results.length && results[i].size === 1),
      };
    });
    effects = recording.undo();
    const { nodes, buffers } = recording;
    return { ...recorded, effects, program: { nodes, buffers, outputs: recorded.outputs } };
  } finally {
    if (!effects) recording.undo();
  }
}

/** The error for what went wrong on the device. */
function failureOf(plan: Plan, failure: ReplayFailure): LangevinError {
  const { op, list, command } = failure;
  const problem = failure.problem.replace(/\.?$/, ".");
  const isNumeric = plan.options.checkFinite && problem.startsWith("element [");
  const error = isNumeric ? new NumericsError({ op, problem }) : new DeviceError({ op, problem });
  const layer = plan.commandAt(list, command)?.layer;
  if (layer) error.enterModule(layer);
  return error;
}
