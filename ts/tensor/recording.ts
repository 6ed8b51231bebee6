// A recording in progress: while one is, operations write commands down instead of running them, and whatever library
// state they change is put back at its end. What the state was, and how a step changes it, is kept for the replays.

import type { BufferId, Command, ElementArray, Executor, Operand } from "../device/executor.ts";
import { CaptureError } from "../errors/index.ts";
import type { DType } from "../ops/index.ts";
import { PerStep, bytesOf } from "../ops/index.ts";
import type { LoopIndex, RecordedBuffer, RecordedCommand, RecordedList, RecordedNode } from "../plan/recorded.ts";
import type { Stretch } from "../plan/compare.ts";
import { HostTable, isLoop, listsOf } from "../plan/recorded.ts";

let current: Recording | undefined;

/** The recording in progress, if any. */
export function currentRecording(): Recording | undefined {
  return current;
}

/** Runs `fn` for real in the midst of a recording: for what the library makes once and keeps. */
export function outsideRecording<T>(fn: () => T): T {
  return within(undefined, fn);
}

function within<T>(recording: Recording | undefined, fn: () => T): T {
  const before = current;
  current = recording;
  try {
    return fn();
  } finally {
    current = before;
  }
}

/** Refuses, inside a captured function, what a plan could not repeat. */
export function refuseInRecording(op: string, what: string, advice: string): void {
  if (current) throw new CaptureError({ op, problem: `${what} in a captured function.`, advice });
}

/** Memory that was there before the recording. */
export interface ExternalMemory {
  readonly buffer: BufferId;
  readonly byteOffset: number;
  /** Whether its last holder let go of it. */
  readonly freed: boolean;
}

/** Something that decided what was recorded, and whether it is still so. */
export interface Guard {
  holds(): boolean;
}

/** Where the layer is that commands belong to: modules know whose `forward` is running, the tape what it walks back over. */
export const layerPath: { ofForward: () => string; ofBackward: string | undefined } = {
  ofForward: () => "",
  ofBackward: undefined,
};

/** One recording of a captured function: its commands, the host's actions, and what it read and changed of the library's state. */
export class Recording {
  /** The device that everything recorded runs on: the first one that something asks for. */
  executor: Executor | undefined;
  readonly nodes: RecordedNode[] = [];
  readonly buffers = new Map<BufferId, RecordedBuffer>();
  readonly #externals = new Map<ExternalMemory, ExternalMemory>();
  readonly #guards: Guard[] = [];
  readonly #counters = new Map<Counter, number>();
  readonly #cells = new Map<Cell<unknown>, { readonly before: unknown; guarded: boolean; written: boolean }>();
  /** Where the next command goes: the nodes of the innermost open loop's body, or of the whole. */
  #open = this.nodes;
  #acting = false;
  /** Buffers and numbers of iterations that were recorded only to compare them, and those that stand for them. */
  readonly #sameBuffers = new Map<BufferId, BufferId>();
  readonly #sameNumbers = new Map<PerStep, PerStep>();
  /** By which of the host's actions each counter was changed. */
  readonly #histories = new Map<Counter, number[]>();
  #actions = 0;

  /** Runs `fn` as the step that is recorded; `undo` then puts the library's state back. */
  run<T>(fn: () => T): T {
    if (current)
      throw new CaptureError({
        op: "capture",
        problem: "a captured function was recorded within another one.",
        advice: "Call the plain function there.",
      });
    return within(this, fn);
  }

  // ---- what storage and engine do instead of asking an executor ------------------------------------------------------

  allocate(executor: Executor, bytes: number): BufferId {
    this.#expectDevice(executor);
    return this.#newBuffer({ bytes });
  }

  submit(executor: Executor, command: Command, perStep: RecordedCommand["perStep"] = []): void {
    this.#expectDevice(executor);
    const same = (operand: Operand | undefined): Operand | undefined => operand && this.identified(operand);
    const { op, attributes, inputs, output } = command;
    this.#list().commands.push({
      op,
      attributes,
      inputs: inputs.map(same),
      output: same(output),
      perStep: perStep.map(({ attribute, number }) => ({
        attribute,
        number: this.#sameNumbers.get(number) ?? number,
      })),
      layer: layerPath.ofBackward ?? layerPath.ofForward(),
    });
  }

  /** Elements that the host writes: the same in every step. */
  write(buffer: BufferId, byteOffset: number, elements: ElementArray): void {
    const recorded = this.buffers.get(buffer);
    if (!recorded)
      throw new CaptureError({
        op: "capture",
        problem: "host data were written to a tensor from outside.",
        advice: "Make the tensor inside the captured function.",
      });
    (recorded.data ??= []).push({ byteOffset, elements: elements.slice() });
  }

  /** A value that the plan reads or writes where it lies. */
  use(memory: ExternalMemory, executor: Executor): void {
    this.#expectDevice(executor);
    if (!this.#externals.has(memory))
      this.#externals.set(memory, { buffer: memory.buffer, byteOffset: memory.byteOffset, freed: false });
  }

  // ---- loops ---------------------------------------------------------------------------------------------------------

  /** Records what `fn` does as nodes of their own, for the caller to put into a loop. */
  body<T>(fn: () => T): { readonly result: T; readonly nodes: RecordedNode[] } {
    const outer = this.#open;
    const nodes: RecordedNode[] = (this.#open = []);
    try {
      return { result: fn(), nodes };
    } finally {
      this.#open = outer;
    }
  }

  /** Takes what one stretch made for what another, alike one made: the former is not part of the program. */
  identify(dropped: Stretch, kept: Stretch): void {
    const count = this.buffers.size - dropped.firstBuffer;
    for (let i = 0; i < count; i++) this.#sameBuffers.set(-1 - (dropped.firstBuffer + i), -1 - (kept.firstBuffer + i));
    const numbers = (stretch: Stretch): PerStep[] =>
      listsOf(stretch.nodes).flatMap(({ actions }) => actions.flatMap((action) => action.numbers));
    const [from, to] = [numbers(dropped), numbers(kept)];
    from.forEach((number, i) => this.#sameNumbers.set(number, to[i]));
  }

  /** The operand in the memory that is part of the program. */
  identified(operand: Operand): Operand {
    const buffer = this.#sameBuffers.get(operand.buffer);
    return buffer === undefined ? operand : { ...operand, buffer };
  }

  /** Appends a loop. */
  loop(times: number, body: readonly RecordedNode[], index: LoopIndex, first: number): void {
    this.#open.push({ times, body, index, first });
  }

  // ---- what the host does for each run -------------------------------------------------------------------------------

  /** Runs a computation of the host now, and has it run again for each run of the commands that follow. */
  get acting(): boolean {
    return this.#acting;
  }

  act(compute: () => readonly number[]): readonly PerStep[] {
    if (this.#acting) return compute().map((value) => new PerStep(value));
    this.#acting = true;
    this.#actions++;
    try {
      const numbers = compute().map((value) => new PerStep(value));
      this.#list().actions.push({ numbers, run: compute });
      return numbers;
    } finally {
      this.#acting = false;
    }
  }

  /** A row of host data that each run computes anew; the number of the row, and the table on the device that it lies in. */
  actWithRow(dtype: DType, width: number, compute: () => ElementArray): { index: PerStep; table: BufferId } {
    const table = new HostTable(dtype, width);
    const [index] = this.act(() => [table.add(compute())]);
    table.take();
    return { index, table: this.#newBuffer({ bytes: width * bytesOf(dtype), table }) };
  }

  // ---- library state -------------------------------------------------------------------------------------------------

  /** Notes a counter before it changes. */
  touch(counter: Counter): void {
    if (!this.#counters.has(counter)) this.#counters.set(counter, counter.peek());
    const history = this.#histories.get(counter) ?? [];
    history.push(this.#actions);
    this.#histories.set(counter, history);
  }

  /** Whether two counters agree whenever the plan runs: if they do before it, and are counted up together. */
  agree(a: Counter, b: Counter): boolean {
    const start = (counter: Counter): number => this.#counters.get(counter) ?? counter.peek();
    const equal = start(a) === start(b);
    this.guard({ holds: () => (a.peek() === b.peek()) === equal });
    return equal && String(this.#histories.get(a) ?? []) === String(this.#histories.get(b) ?? []);
  }

  read(cell: Cell<unknown>): void {
    if (!this.#cells.has(cell)) this.#cells.set(cell, { before: cell.peek(), guarded: true, written: false });
  }

  written(cell: Cell<unknown>): void {
    const known = this.#cells.get(cell);
    if (known) known.written = true;
    else this.#cells.set(cell, { before: cell.peek(), guarded: false, written: true });
  }

  guard(guard: Guard): void {
    this.#guards.push(guard);
  }

  /** What cells hold that were written to. */
  heldValues(): unknown[] {
    return [...this.#cells].filter(([, { written }]) => written).map(([cell]) => cell.peek());
  }

  /** Puts all library state back, and tells what it was and became. */
  undo(): StepEffects {
    const { executor } = this;
    const cells = [...this.#cells].map(([cell, { before, guarded, written }]) => {
      const after = cell.peek();
      cell.restore(before);
      return { cell, before, guarded, written, after };
    });
    const counters = [...this.#counters.keys()];
    for (const [counter, before] of this.#counters) counter.restore(before);
    const externals = [...this.#externals];
    return {
      executor,
      counters,
      cells: cells.filter(({ written }) => written).map(({ cell, after }) => ({ cell, after })),
      holds: () =>
        cells.every(({ cell, before, guarded }) => !guarded || cell.peek() === before) &&
        this.#guards.every((guard) => guard.holds()) &&
        externals.every(
          ([now, then]) => !now.freed && now.buffer === then.buffer && now.byteOffset === then.byteOffset,
        ),
      counting: (start) => counting(counters, start),
      fills: cells.some(({ before, guarded, after }) => guarded && before === false && after === true),
      repeats: cells.every(({ before, guarded, after }) => !guarded || after === before),
    };
  }

  #newBuffer(buffer: RecordedBuffer): BufferId {
    const id = -1 - this.buffers.size;
    this.buffers.set(id, buffer);
    return id;
  }

  #list(): RecordedList {
    const last = this.#open.at(-1);
    if (last && !isLoop(last)) return last;
    const list: RecordedList = { commands: [], actions: [] };
    this.#open.push(list);
    return list;
  }

  #expectDevice(executor: Executor): void {
    this.executor ??= executor;
    if (executor !== this.executor)
      throw new CaptureError({
        op: "capture",
        problem: `the function computes on ${this.executor.name} and on ${executor.name}.`,
        advice: "A captured function stays on one device.",
      });
  }
}

/** What a recorded step reads and changes of the library's state. */
export interface StepEffects {
  readonly executor: Executor | undefined;
  /** Counters that steps count up, by the host's actions. */
  readonly counters: readonly Counter[];
  /** What cells hold after a step. */
  readonly cells: readonly { readonly cell: Cell<unknown>; readonly after: unknown }[];
  /** Whether all that decided what was recorded is as it was then. */
  holds(): boolean;
  /** Counts up by starting steps on the device; nothing is counted if that throws. */
  counting<T>(start: () => T): CountedRun<T>;
  /** Whether a step leaves a gradient in an optimizer's memory where it found none. */
  readonly fills: boolean;
  /** Whether a step leaves that as it found it, so that a second one is the same. */
  readonly repeats: boolean;
}

/** Steps that are under way and counted already. */
export interface CountedRun<T> {
  readonly result: T;
  /** To be called when they have ended: early, if `recount` is given, which counts those that ran. */
  settle(recount?: () => void): void;
}

function counting<T>(counters: readonly Counter[], start: () => T): CountedRun<T> {
  const before = counters.map((counter) => counter.peek());
  const restore = (values: readonly number[]): void => {
    counters.forEach((counter, i) => {
      counter.restore(values[i]);
    });
  };
  let result: T;
  try {
    result = start();
  } catch (error) {
    restore(before);
    throw error;
  }
  const after = counters.map((counter) => counter.peek());
  for (const counter of counters) counter.runAhead(1);
  const settle = (recount?: () => void): void => {
    for (const counter of counters) counter.runAhead(-1);
    if (!recount) return;
    // Others may have counted, too, meanwhile.
    const now = counters.map((counter) => counter.peek());
    restore(before);
    recount();
    restore(counters.map((counter, i) => now[i] - (after[i] - counter.peek())));
  };
  return { result, settle };
}

/** A number that steps count up: how far an optimizer, a stream of noise or a layer of dropout is. */
export class Counter {
  #value: number;
  /** Replays under way that have counted it up already. */
  #ahead = 0;

  constructor(value = 0) {
    this.#value = value;
  }

  /** In a captured function only to be read inside `perStep`, where it is the number that counts for the step in question. */
  get value(): number {
    if (current && !current.acting)
      throw new CaptureError({
        op: "capture",
        problem: "a count that changes from step to step was read in a captured function.",
        advice: "Give learning rates as functions of the step, or run the steps eagerly (eager: true).",
      });
    return this.#value;
  }

  /** The number as it is in the recorded step, of which no value of the plan may be made. */
  peek(): number {
    return this.#value;
  }

  /** Counts up, in a captured function once for each of its steps; returns the number before. */
  add(n = 1): number {
    const before = this.#value;
    const count = (): readonly number[] => {
      current?.touch(this);
      this.#value += n;
      return [];
    };
    if (current) current.act(count);
    else count();
    return before;
  }

  /** Sets it outside of captured functions. */
  set(value: number): void {
    refuseInRecording("capture", "a seed or a saved state was set", "Do it outside.");
    this.#value = value;
  }

  /** @internal */
  restore(value: number): void {
    this.#value = value;
  }

  /** Whether steps are under way that are counted already. */
  get ahead(): boolean {
    return this.#ahead > 0;
  }

  /** @internal A replay that counts it begins (1) or has ended (-1). */
  runAhead(change: 1 | -1): void {
    this.#ahead += change;
  }
}

/** State of the library that decides which commands are recorded: a plan fits only while it is what it was then. */
export class Cell<T> {
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    current?.read(this);
    return this.#value;
  }

  set value(value: T) {
    current?.written(this);
    this.#value = value;
  }

  /** Its value, without making a plan depend on it. */
  peek(): T {
    return this.#value;
  }

  /** @internal */
  restore(value: unknown): void {
    this.#value = value as T;
  }
}

/** Reads state that others change: in a captured function the plan depends on what it was. */
export function observe<T>(read: () => T): T {
  const value = read();
  current?.guard({ holds: () => read() === value });
  return value;
}

/**
 * Numbers that the host computes for each step: those of this one, or in a captured function what stands for those of all
 * of its steps. `compute` runs again for each of them and may count up counters.
 */
export function perSteps(compute: () => readonly number[]): readonly StepNumber[] {
  return current ? current.act(compute) : compute();
}

/** A number, or in a captured function what stands for the numbers of its steps: to be passed on, not to be calculated with. */
export type StepNumber = number | PerStep;

/** One such number. */
export function perStep(compute: () => number): StepNumber {
  return perSteps(() => [compute()])[0];
}

/** The number of a step to be handed on, as loops hand on their index: known where the step runs now. */
export function stepIndex(compute: () => number): PerStep {
  const number = perStep(compute);
  return number instanceof PerStep ? number : PerStep.known(number);
}

/** Whether two counters agree, in a captured function in all of its steps. */
export function agree(a: Counter, b: Counter): boolean {
  return current ? current.agree(a, b) : a.value === b.value;
}

/** Counts, for each step. */
export function eachStep(count: () => void): void {
  perSteps(() => {
    count();
    return [];
  });
}
