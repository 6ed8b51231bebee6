// capture: records a function once and replays it as a plan, one native call for a step or for thousands of them.

import { defaultDevice } from "../device/devices.ts";
import type { Executor, Precision } from "../device/executor.ts";
import { expectPrecision, precisions } from "../device/executor.ts";
import { ArgumentError, CaptureError, showShape, showValue } from "../errors/index.ts";
import { bakedIn, difference } from "../plan/compare.ts";
import { Plan } from "../plan/plan.ts";
import { printPlan } from "../plan/print.ts";
import type { StepReport } from "./captured-plan.ts";
import { CapturedPlan, recordOnce } from "./captured-plan.ts";
import { gradEnabled } from "./grad-mode.ts";
import { currentRecording } from "./recording.ts";
import { expectFunction, scope } from "./scope.ts";
import { strictMode } from "./strict-mode.ts";
import { Tensor, defaultDType, uninitialised } from "./tensor.ts";
import type { TensorTree } from "./tree.ts";
import { expectTree, mapTensors, tensorsIn } from "./tree.ts";

/** How a function is captured. */
export interface CaptureOptions {
  /** Most steps that `replay` hands to the device in one call, default 1000. */
  readonly stepsPerCall?: number;
  /**
   * Stop at the first operation whose result is not finite, with an error that names it and, in replays, its layer: for
   * finding mistakes. What is overwritten in place, such as parameters, is seen where it is used next.
   */
  readonly checkFinite?: boolean;
  /**
   * Make one pass of several operations, read cut-out columns in place, and compute cheap results again in backward instead of
   * keeping them, default true.
   * No bit of a result depends on it; with `checkFinite` nothing is fused.
   */
  readonly fuse?: boolean;
  /**
   * What products (convolutions, matmul, attention, their gradients) may round their operands to, default "float32". "bf16" and
   * "tf32" are for device "cuda" and run on its tensor cores: operands of 8 or 11 bits of significand, sums in float32. All else
   * (weights, activations, normalisation, softmax, losses, optimizers) stays float32; in "bf16", what convolutions and matmul
   * multiply is rounded once and kept beside that in 2 bytes a number. Throws DeviceError where the device
   * does not have it. (Sampling of a small network in one kernel on "cuda" multiplies in float32 as three products of tf32 parts: as
   * accurate, but an infinite operand gives NaN.)
   */
  readonly precision?: Precision;
  /** @internal Refuse, on behalf of this operation, steps that leave gradients behind. */
  readonly consumingFor?: string;
  /** @internal Fill memory with NaN where nothing is needed in it. */
  readonly poison?: boolean;
}

/** How steps are replayed. */
export interface ReplaySettings {
  /**
   * Stops before the next list of commands: between two steps, or before an iteration of a loop in one. The iteration then
   * throws the signal's reason.
   */
  readonly signal?: AbortSignal;
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
   * Leaving the loop stops the run; steps that ran ahead of their reports count. Throws what went wrong on the device,
   * and the signal's reason.
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
 * a `step`. Counters and other variables of the program are fixed as they were. Inputs are copied, and no gradients flow
 * through inputs and results. Throws CaptureError where a value is read, where the two recordings differ, or where a
 * gradient would end unnoticed. In strict mode calls run eagerly. The last 16 plans are kept.
 */
export function capture<A extends readonly TensorTree[], R extends TensorTree | void>(
  fn: (...inputs: A) => R,
  options: CaptureOptions = {},
): Captured<A, R> {
  expectFunction("capture", fn);
  const { stepsPerCall = 1000 } = options;
  if (!Number.isInteger(stepsPerCall) || stepsPerCall < 1)
    throw new ArgumentError({ op: "capture", problem: `stepsPerCall is ${stepsPerCall}, expected an integer >= 1.` });
  expectPrecisionName("capture", options.precision);
  const store = new PlanStore(fn as (...inputs: readonly TensorTree[]) => R, { ...options, stepsPerCall });
  const captured = Object.assign((...inputs: A): R => store.call(inputs) as R, {
    plan: (...inputs: A) => store.summary(inputs),
    async *replay(steps: number, settings: ReplaySettings = {}) {
      yield* store.replay(steps, settings);
      void captured; // which the garbage collector must not find, and dispose, while steps run
    },
    dispose: () => {
      store.dispose();
    },
  });
  finalizer.register(captured, store);
  return captured;
}

/** @internal Whether steps are to run eagerly on a device: as asked, else in strict mode, which looks at each result. */
export function runsEagerly(
  op: string,
  {
    eager = strictMode(),
    checkFinite = false,
    precision = "float32",
  }: { readonly eager?: boolean; readonly checkFinite?: boolean; readonly precision?: Precision },
  executor: Executor,
): boolean {
  expectPrecisionName(op, precision);
  expectPrecision(op, executor, precision);
  if (eager) refuseEagerPrecision(op, precision);
  if (eager && checkFinite)
    throw new ArgumentError({
      op,
      problem: "checkFinite is a check of plans, and steps are to run eagerly.",
      advice: "Leave out eager and strict mode, or call setStrictMode(true), which looks for NaN.",
    });
  return eager;
}

/** Refuses steps that run one operation after the other where their precision is a plan's. */
function refuseEagerPrecision(op: string, precision: Precision = "float32"): void {
  if (precision !== "float32")
    throw new ArgumentError({
      op,
      problem: `precision is "${precision}", which is a property of plans, and steps are to run eagerly.`,
      advice: "Leave out eager and strict mode, or precision.",
    });
}

/** Refuses what is no precision's name. */
function expectPrecisionName(op: string, precision: Precision | undefined): void {
  if (precision !== undefined && !precisions.includes(precision))
    throw new ArgumentError({
      op,
      problem: `precision is ${showValue(precision)}, expected one of ${precisions.map((name) => `"${name}"`).join(", ")}.`,
    });
}

/** Whether plans fuse operations, where it is not said: unless LANGEVIN_FUSE is "off". */
function fusesByDefault(): boolean {
  const asked = process.env.LANGEVIN_FUSE ?? "on";
  if (asked === "on" || asked === "off") return asked === "on";
  throw new ArgumentError({
    op: "capture",
    problem: `LANGEVIN_FUSE is ${JSON.stringify(asked)}.`,
    advice: 'Set it to "on" or "off", or leave it out.',
  });
}

/** The safety net for captured functions that nobody disposes. */
const finalizer = new FinalizationRegistry<{ dispose(): void }>((store) => {
  store.dispose();
});

/** Plans that a captured function keeps: more than it needs, unless each call finds another state of the library. */
const mostPlans = 16;

/** The plans of a captured function, by what they were recorded for. */
class PlanStore<R extends TensorTree | void> {
  /** The one that was used last comes last. */
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
    if (strictMode()) {
      refuseEagerPrecision("capture", this.options.precision);
      return this.fn(...inputs);
    }
    return this.find(inputs).run(tensorsIn(inputs));
  }

  summary(inputs: readonly TensorTree[]): PlanSummary {
    const { plan, inputs: copies } = this.find(inputs);
    const { arena, constants, tables } = plan.memory;
    const own = copies.reduce((total, input) => total + input.place("capture").storage.bytes, 0);
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
    if (this.fn.length > 0)
      throw new CaptureError({
        op: "replay",
        problem: `the captured function takes ${this.fn.length} inputs, and replayed steps are given none.`,
        advice: "Call it, or let it refer to its tensors; tables and loops give each step its own row.",
      });
    for (let done = 0; done < steps;) {
      signal?.throwIfAborted();
      if (strictMode()) {
        refuseEagerPrecision("capture", this.options.precision);
        yield { step: ++done, values: this.runEagerly() };
        continue;
      }
      const captured = this.find([]);
      // Until a step leaves things as it found them, the next one may be another.
      const most = captured.effects.repeats ? this.options.stepsPerCall : 1;
      const count = Math.min(most, steps - done);
      for await (const { step, values } of captured.replay(count, signal)) yield { step: done + step, values };
      done += count;
    }
  }

  /** One step, operation by operation; the numbers that it returns. */
  private runEagerly(): number[] {
    return scope(() => {
      const numbers = tensorsIn(this.fn()).filter(({ size }) => size === 1);
      return numbers.map((result) => result.elements("replay")[0]);
    });
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
    const at = this.plans.findIndex((entry) => entry.key === key && entry.captured.effects.holds());
    const entry = at >= 0 ? this.plans.splice(at, 1)[0] : { key, captured: this.record(inputs) };
    this.plans.push(entry);
    if (this.plans.length > mostPlans) this.plans.shift()!.captured.dispose();
    return entry.captured;
  }

  private record(inputs: readonly TensorTree[]): CapturedPlan {
    const copies = new Map(
      tensorsIn(inputs).map((input) => [input, uninitialised(input.shape, input.dtype, input.executor)]),
    );
    try {
      const given = mapTensors(inputs, (input) => copies.get(input)!) as readonly TensorTree[];
      const first = recordOnce(this.fn, given);
      const second = recordOnce(this.fn, given);
      const [a, b] = [first, second].map(({ program }) => ({ ...program, firstBuffer: 0 }));
      const found = difference(a, b);
      if (found) throw bakedIn("the captured function", found);
      if (this.options.consumingFor !== undefined && first.effects.fills)
        throw new CaptureError({
          op: this.options.consumingFor,
          problem: "the step leaves gradients behind that no optimizer has consumed, as all steps of the plan would.",
          advice:
            "Call the optimizer's step() each time; to accumulate, call backward several times in the step, with repeat(); or run the steps eagerly (eager: true).",
        });
      const executor = first.effects.executor;
      if (!executor)
        throw new CaptureError({
          op: "capture",
          problem: "the function computes nothing.",
          advice: "A plan consists of operations on tensors.",
        });
      const { stepsPerCall: steps, fuse = fusesByDefault(), checkFinite = false, poison = false } = this.options;
      const { precision = "float32" } = this.options;
      expectPrecision("capture", executor, precision);
      const { reports } = first;
      const plan = new Plan(first.program, executor, { steps, reports, precision, fuse, checkFinite, poison });
      return new CapturedPlan(plan, first, [...copies.values()]);
    } catch (error) {
      for (const copy of copies.values()) copy.dispose();
      throw error;
    }
  }
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
  return JSON.stringify([gradEnabled(), defaultDType(), defaultDevice(), describe(inputs)]);
}
