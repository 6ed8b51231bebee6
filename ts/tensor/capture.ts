// capture: records a function once and replays it as a plan, one native call for a step or for thousands of them.

import type { Operand, ReplayEnd, ReplayFailure } from "../device/executor.ts";
import type { LangevinError } from "../errors/index.ts";
import { ArgumentError, CaptureError, DeviceError, NumericsError, showShape } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Difference } from "../plan/compare.ts";
import { difference } from "../plan/compare.ts";
import { runsOf } from "../plan/host.ts";
import { Plan } from "../plan/plan.ts";
import { printPlan } from "../plan/print.ts";
import type { RecordedProgram } from "../plan/recorded.ts";
import { gradEnabled } from "./grad-mode.ts";
import type { StepEffects } from "./recording.ts";
import { Recording, currentRecording } from "./recording.ts";
import { adopt, expectFunction, refusePromise, scope } from "./scope.ts";
import { Tensor, applyInPlace, defaultDType, uninitialised } from "./tensor.ts";
import type { TensorTree } from "./tree.ts";
import { expectTree, mapTensors, tensorsIn } from "./tree.ts";

/** How a function is captured. */
export interface CaptureOptions {
  /** Most steps that `replay` hands to the device in one call, default 1000. */
  readonly stepsPerCall?: number;
  /** Stop at the first operation whose result is not finite, with an error that names it: for finding mistakes. */
  readonly checkFinite?: boolean;
  /** @internal Fill memory with NaN where nothing is needed in it. */
  readonly poison?: boolean;
}

/** How steps are replayed. */
export interface ReplaySettings {
  /** Stops within one step; the iteration then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A step that was replayed. */
export interface StepReport {
  /** Counts from 1. */
  readonly step: number;
  /** The numbers that the function returned in this step: its results of one element, in their order. */
  readonly values: readonly number[];
}

/** What is known of a plan before it runs. */
export interface PlanSummary {
  /** Bytes that all intermediate results take together. */
  readonly arenaBytes: number;
  /** All bytes of the plan: the arena, constants, tables of what changes from step to step, inputs. */
  readonly bytes: number;
  /** Commands of a step, as they are written in the program. */
  readonly commands: number;
  /** Every command with its shapes, place, lifetime and arithmetic. */
  toString(): string;
}

/** A captured function: called like the function itself, or replayed many times. */
export interface Captured<A extends readonly TensorTree[], R extends TensorTree | void> {
  /**
   * Runs one step with these inputs, as an eager operation does: it is queued, and the results are tensors of their own.
   * The first call with other shapes, dtypes or library state records a new plan.
   */
  (...inputs: A): R;
  /** The plan that a call with such inputs would run. Nothing is executed. */
  plan(...inputs: A): PlanSummary;
  /**
   * Runs a function without inputs `steps` times, thousands of steps in one call, and reports each of them in order.
   * Leaving the loop stops the run.
   */
  replay(steps: number, settings?: ReplaySettings): AsyncGenerator<StepReport, void, undefined>;
  /** Frees the memory of all its plans. */
  dispose(): void;
}

/**
 * Captures a synchronous function of tensors (`torch.compile`, `jax.jit`). It is called twice while its operations,
 * gradients and optimizer steps are recorded, and never again while shapes, dtypes, train or eval mode, gradient mode and
 * the like stay as they were: calls replay what was recorded. So it must compute the same each time; numbers that change
 * from step to step live in tensors, in optimizers (`lr` as a function), in layers of dropout and in seeded noise without
 * a `step`. Throws CaptureError where a value is read, or where the two recordings differ.
 */
export function capture<A extends readonly TensorTree[], R extends TensorTree | void>(
  fn: (...inputs: A) => R,
  options: CaptureOptions = {},
): Captured<A, R> {
  expectFunction("capture", fn);
  const { stepsPerCall = 1000 } = options;
  if (!Number.isInteger(stepsPerCall) || stepsPerCall < 1)
    throw new ArgumentError({ op: "capture", problem: `stepsPerCall is ${stepsPerCall}, expected an integer >= 1.` });
  const store = new PlanStore(fn as (...inputs: readonly TensorTree[]) => R, { ...options, stepsPerCall });
  const captured = Object.assign((...inputs: A): R => store.call(inputs) as R, {
    plan: (...inputs: A) => store.summary(inputs),
    replay: (steps: number, settings: ReplaySettings = {}) => store.replay(steps, settings),
    dispose: () => {
      store.dispose();
    },
  });
  finalizer.register(captured, store);
  return captured;
}

/** The safety net for captured functions that nobody disposes. */
const finalizer = new FinalizationRegistry<{ dispose(): void }>((store) => {
  store.dispose();
});

/** What one recording of the function gives. */
interface RecordedStep {
  readonly program: RecordedProgram;
  readonly effects: StepEffects;
  readonly result: TensorTree | void;
  /** Tensors whose values outlive the step, in the order of the program's outputs: results first, then gradients of leaves. */
  readonly leaves: readonly Tensor[];
  /** Operands of the results of one element. */
  readonly reports: readonly Operand[];
}

/** A plan with the tensors around it. */
class CapturedPlan {
  readonly plan: Plan;
  readonly effects: StepEffects;
  /** What inputs are copied to. */
  readonly inputs: readonly Tensor[];
  private readonly result: TensorTree | void;
  private readonly leaves: readonly Tensor[];

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
    this.settle();
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
    const stop = (): void => {
      replay.stop();
    };
    void replay.ended.then((ended) => {
      end = ended;
      progress(ended.steps);
    });
    signal?.addEventListener("abort", stop);
    let settled = false;
    const settle = async (): Promise<void> => {
      if (settled) return;
      settled = true;
      signal?.removeEventListener("abort", stop);
      const { lists } = await replay.ended;
      counted.settle(lists < steps * runsOf(plan.placed.nodes) ? () => plan.recount(steps, lists) : undefined);
      if (lists > 0) this.settle();
    };
    try {
      for (let told = 0; ;) {
        for (; told < done; told++) {
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

  dispose(): void {
    this.plan.unload();
    for (const input of this.inputs) input.dispose();
  }

  /** Leaves the library's state as steps left it. */
  private settle(): void {
    for (const { cell, after } of this.effects.cells) {
      const before = cell.peek();
      const made = after instanceof Tensor ? this.leaves.lastIndexOf(after) : -1;
      const now = made >= 0 ? this.copy(made) : after;
      cell.restore(now);
      if (before !== now && before instanceof Tensor) before.dispose();
      if (before !== now && now instanceof Tensor) now.onOrphaned();
    }
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

/** The plans of a captured function, by what they were recorded for. */
class PlanStore<R extends TensorTree | void> {
  private readonly plans: { readonly key: string; readonly captured: CapturedPlan }[] = [];
  private readonly fn: (...inputs: readonly TensorTree[]) => R;
  private readonly options: CaptureOptions & { readonly stepsPerCall: number };
  private disposed = false;

  constructor(
    fn: (...inputs: readonly TensorTree[]) => R,
    options: CaptureOptions & { readonly stepsPerCall: number },
  ) {
    this.fn = fn;
    this.options = options;
  }

  call(inputs: readonly TensorTree[]): TensorTree | void {
    return this.find(inputs).run(tensorsIn(inputs));
  }

  summary(inputs: readonly TensorTree[]): PlanSummary {
    const { plan, inputs: placeholders } = this.find(inputs);
    const { arena, constants, tables } = plan.memory;
    const own = placeholders.reduce((total, input) => total + input.place("capture").storage.bytes, 0);
    const text = printPlan(plan);
    return {
      arenaBytes: arena,
      bytes: arena + constants + tables + own,
      commands: text.commands,
      toString: () => text.lines,
    };
  }

  async *replay(steps: number, { signal }: ReplaySettings): AsyncGenerator<StepReport, void, undefined> {
    if (!Number.isInteger(steps) || steps < 0)
      throw new ArgumentError({ op: "replay", problem: `steps is ${steps}, expected an integer >= 0.` });
    for (let done = 0; done < steps;) {
      signal?.throwIfAborted();
      const captured = this.find([]);
      // Until a step leaves things as it found them, the next one may be another.
      const most = captured.effects.repeats ? this.options.stepsPerCall : 1;
      const count = Math.min(most, steps - done);
      for await (const { step, values } of captured.replay(count, signal)) yield { step: done + step, values };
      done += count;
    }
  }

  dispose(): void {
    this.disposed = true;
    for (const { captured } of this.plans) captured.dispose();
    this.plans.length = 0;
  }

  /** The plan for these inputs, recorded if none fits. */
  private find(inputs: readonly TensorTree[]): CapturedPlan {
    if (this.disposed)
      throw new CaptureError({
        op: "capture",
        problem: "the captured function was disposed.",
        advice: "Capture anew.",
      });
    if (currentRecording())
      throw new CaptureError({
        op: "capture",
        problem: "a captured function was called within another one.",
        advice: "Call the plain function there.",
      });
    expectTree("capture", inputs);
    for (const input of tensorsIn(inputs)) expectInput(input);
    const key = keyOf(inputs);
    const known = this.plans.find((entry) => entry.key === key && entry.captured.effects.holds());
    if (known) return known.captured;
    const captured = this.record(inputs);
    this.plans.push({ key, captured });
    return captured;
  }

  private record(inputs: readonly TensorTree[]): CapturedPlan {
    const placeholders = new Map(
      tensorsIn(inputs).map((input) => [input, uninitialised(input.shape, input.dtype, input.executor)]),
    );
    try {
      const given = mapTensors(inputs, (input) => placeholders.get(input)!) as readonly TensorTree[];
      const first = recordOnce(this.fn, given);
      const second = recordOnce(this.fn, given);
      const [a, b] = [first, second].map(({ program }) => ({ ...program, firstBuffer: 0 }));
      const found = difference(a, b);
      if (found) throw bakedIn("the captured function", found);
      const executor = first.effects.executor;
      if (!executor)
        throw new CaptureError({
          op: "capture",
          problem: "the function computes nothing.",
          advice: "A plan consists of operations on tensors.",
        });
      const { stepsPerCall: steps, checkFinite = false, poison = false } = this.options;
      const plan = new Plan(first.program, executor, { steps, reports: first.reports, checkFinite, poison });
      return new CapturedPlan(plan, first, [...placeholders.values()]);
    } catch (error) {
      for (const placeholder of placeholders.values()) placeholder.dispose();
      throw error;
    }
  }
}

/** Records the function once; the library's state is afterwards as it was before. */
function recordOnce(
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
        return given;
      });
      const results = tensorsIn(result);
      const held = recording.heldValues().filter((value) => value instanceof Tensor && value.madeIn === recording);
      const leaves = [...results, ...(held as Tensor[])];
      const outputs = leaves.map((leaf) => leaf.operand("capture"));
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

/** The error for something that would be fixed in a plan though it changes. */
export function bakedIn(what: string, { op, layer, what: how }: Difference): CaptureError {
  const error = new CaptureError({
    op,
    problem: `${what} was recorded twice and differs: ${how}. It would be baked into the plan.`,
    advice:
      "What changes from step to step must be a tensor, a learning rate that is a function, or seeded noise; or run the steps eagerly (eager: true).",
  });
  if (layer) error.enterModule(layer);
  return error;
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

/** Refuses as input what a plan cannot be given. */
function expectInput(input: Tensor): void {
  input.operand("capture");
  if (input.requiresGrad)
    throw new CaptureError({
      op: "capture",
      problem: `an input of shape ${showShape(input.shape)} requires a gradient, which would end at the plan.`,
      advice: "Pass it detached; parameters are not inputs, the function refers to them.",
    });
}

/** What a plan is recorded for, besides the library's state. */
function keyOf(inputs: readonly TensorTree[]): string {
  const numbers = new Map(tensorsIn(inputs).map((tensor, i) => [tensor, i]));
  const describe = (tree: TensorTree): unknown => {
    if (tree === undefined) return null;
    if (tree instanceof Tensor) return `${numbers.get(tree)} ${tree.device} ${tree.dtype} ${showShape(tree.shape)}`;
    if (Array.isArray(tree)) return tree.map(describe);
    return Object.entries(tree as Record<string, TensorTree>).map(([name, part]) => [name, describe(part)]);
  };
  return JSON.stringify([gradEnabled(), defaultDType(), describe(inputs)]);
}
