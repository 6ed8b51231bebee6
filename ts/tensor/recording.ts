// A recording in progress: while one is, operations write commands down instead of running them, and whatever library
// state they change is put back at its end. What the state was, and how a step changes it, is kept for the replays.

import type { BufferId, Command, ElementArray, Executor } from "../device/executor.ts";
import { CaptureError } from "../errors/index.ts";
import type { DType } from "../ops/index.ts";
import { PerStep, bytesOf } from "../ops/index.ts";
import type { LoopIndex, RecordedBuffer, RecordedCommand, RecordedList, RecordedNode } from "../plan/recorded.ts";
import { HostTable, isLoop } from "../plan/recorded.ts";

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

/** What runs once for each step while a captured function is recorded, and stands for all that it did. */
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

  /** Runs `fn` as the step that is recorded. Afterwards all library state is as before. */
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
    this.#list().commands.push({ ...command, perStep, layer: layerPath.ofBackward ?? layerPath.ofForward() });
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

  /** Appends a loop. */
  loop(times: number, body: readonly RecordedNode[], index: LoopIndex, first: number): void {
    this.#open.push({ times, body, index, first });
  }

  // ---- what the host does for each run -------------------------------------------------------------------------------

  /** Runs a computation of the host now, and has it run again for each run of the commands that follow. */
  act(compute: () => readonly number[]): readonly PerStep[] {
    if (this.#acting) return compute().map((value) => new PerStep(value));
    this.#acting = true;
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
    if (!this.#counters.has(counter)) this.#counters.set(counter, counter.value);
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
  const before = counters.map(({ value }) => value);
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
  const after = counters.map(({ value }) => value);
  for (const counter of counters) counter.runAhead(1);
  const settle = (recount?: () => void): void => {
    for (const counter of counters) counter.runAhead(-1);
    if (!recount) return;
    // Others may have counted, too, meanwhile.
    const now = counters.map(({ value }) => value);
    restore(before);
    recount();
    restore(counters.map(({ value }, i) => now[i] - (after[i] - value)));
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

  /** Inside `perStep` the number that counts for the step in question; elsewhere in a captured function it must not be used. */
  get value(): number {
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

/** Counts, for each step. */
export function eachStep(count: () => void): void {
  perSteps(() => {
    count();
    return [];
  });
}
