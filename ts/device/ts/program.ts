// A loaded program, and a run of it that goes on piece by piece.

import { DeviceError, LangevinError, showShape } from "../../errors/index.ts";
import type { AttributeSignature } from "../../ops/index.ts";
import { sizeOf } from "../../ops/index.ts";
import type { AttributePlace, Program, ProgramStep, ReplayEnd, ReplayFailure, Slot } from "../executor.ts";
import type { Binder, OwnCommand } from "./bound-command.ts";
import { execute } from "./bound-command.ts";
import { describeNonFinite } from "./finite.ts";
import { executeInParts } from "./parts.ts";
import type { View } from "./view.ts";

/** An attribute that a slot overwrites. */
interface BoundPlace {
  readonly attributes: OwnCommand["attributes"];
  readonly name: string;
}

/** A program whose operands have been found and checked. Nothing of the caller's is kept but shapes. */
export class LoadedProgram {
  readonly lists: readonly (readonly OwnCommand[])[];
  readonly checkFinite: boolean;
  readonly valuesPerStep: number;
  readonly reportsPerStep: number;
  readonly #steps: readonly ProgramStep[];
  /** The places of each slot of each list. */
  readonly #slots: readonly (readonly (readonly BoundPlace[])[])[];
  readonly #reports: readonly View[];

  constructor({ lists, steps, slots, reports, checkFinite }: Program, binder: Binder) {
    this.lists = lists.map((list) => list.map((command) => binder.bindForLater(command)));
    this.#steps = this.#checkSteps(steps);
    this.#slots = this.#bindSlots(slots);
    this.#reports = reports.map((report) => {
      if (sizeOf(report.shape) !== 1) throw refusal(`a report has shape ${showShape(report.shape)}, not one element.`);
      return binder.view("load", report);
    });
    this.checkFinite = checkFinite;
    this.valuesPerStep = this.#countValues(this.#steps);
    this.reportsPerStep = reports.length;
  }

  /** Numbers of the lists that one step runs, in order. */
  *order(steps = this.#steps): Generator<number, void> {
    for (const step of steps)
      if ("list" in step) yield step.list;
      else for (let i = 0; i < step.times; i++) yield* this.order(step.body);
  }

  /** Puts the next values where the slots of a list go, and returns the position of the value after them. */
  fillSlots(list: number, values: Float64Array, next: number): number {
    for (const places of this.#slots[list]) {
      for (const { attributes, name } of places) attributes[name] = values[next];
      next++;
    }
    return next;
  }

  /** Copies the reports of a step that is complete to row `step` of `rows`. */
  report(rows: Float64Array, step: number): void {
    this.#reports.forEach(({ data, offset }, i) => (rows[step * this.reportsPerStep + i] = data[offset]));
  }

  /** A copy without loops around nothing, which would keep a run busy with no command after which to pause. */
  #checkSteps(steps: readonly ProgramStep[]): ProgramStep[] {
    return steps.flatMap((step): ProgramStep[] => {
      if ("list" in step) {
        this.#expectList("a step runs", step.list);
        return [{ list: step.list }];
      }
      if (!Number.isSafeInteger(step.times) || step.times < 0)
        throw refusal(`a loop runs ${step.times} times.`, "Expected a whole number, at least 0.");
      const body = this.#checkSteps(step.body);
      return step.times > 0 && body.length > 0 ? [{ times: step.times, body }] : [];
    });
  }

  #bindSlots(slots: readonly Slot[]): BoundPlace[][][] {
    const bound = this.lists.map((): BoundPlace[][] => []);
    for (const { list, places } of slots) {
      this.#expectList("a slot changes before", list);
      bound[list].push(places.map((place) => this.#bindPlace(place)));
    }
    return bound;
  }

  #bindPlace({ list, command, attribute }: AttributePlace): BoundPlace {
    this.#expectList("a slot has a place in", list);
    const target = this.lists[list][command];
    if (!target)
      throw refusal(`a slot has a place in command ${command} of list ${list}, which has ${this.lists[list].length}.`);
    const { op, attributes } = target;
    const signature = op.attributes as AttributeSignature;
    const kind = Object.hasOwn(signature, attribute) && signature[attribute];
    if (kind !== "int" && kind !== "float")
      throw new DeviceError({
        op: op.name,
        problem: `a slot has its place in "${attribute}", which is no int or float attribute of this op.`,
      });
    return { attributes, name: attribute };
  }

  #expectList(what: string, list: number): void {
    if (!this.lists[list]) throw refusal(`${what} command list ${list} of a program with ${this.lists.length}.`);
  }

  #countValues(steps: readonly ProgramStep[]): number {
    let count = 0;
    for (const step of steps)
      count += "list" in step ? this.#slots[step.list].length : step.times * this.#countValues(step.body);
    return count;
  }
}

function refusal(problem: string, advice?: string): DeviceError {
  return new DeviceError({ op: "load", problem, advice });
}

/** What a run works on. */
export interface RunOptions {
  readonly steps: number;
  readonly values: Float64Array;
  readonly reports?: Float64Array;
}

/** A command with those that are joined to it. */
function groupAt(list: readonly OwnCommand[], first: number): readonly OwnCommand[] {
  let end = first + 1;
  while (end < list.length && list[end].joined) end++;
  return list.slice(first, end);
}

/** Some steps of a program, on the way. */
export class ProgramRun {
  /** Steps that are complete. */
  steps = 0;
  /** Runs of lists that are complete. */
  lists = 0;
  /** Whether to end before the next list. */
  stopped = false;
  #failure: ReplayFailure | undefined;
  #error: Error | undefined;
  readonly #pieces: Generator<void, void>;

  /** Refuses what does not fit the program; `op` is what the error names. The values are copied. */
  constructor(op: string, program: LoadedProgram, { steps, values, reports }: RunOptions) {
    if (!Number.isSafeInteger(steps) || steps < 1)
      throw new DeviceError({ op, problem: `${steps} is no number of steps.`, advice: "Expected at least 1." });
    expectLength(op, "values", values, steps, program.valuesPerStep);
    if (reports) expectLength(op, "reports", reports, steps, program.reportsPerStep);
    this.#pieces = this.#run(program, { steps, values: values.slice(), reports });
  }

  /** Goes on by one command at most, and says whether the run has ended. */
  advance(): boolean {
    return this.#pieces.next().done === true;
  }

  get end(): ReplayEnd {
    const { steps, lists } = this;
    return this.#failure ? { steps, lists, failure: this.#failure } : { steps, lists };
  }

  /** Throws what the run failed with, if it did. */
  throwFailure(): void {
    if (this.#error) throw this.#error;
  }

  *#run(program: LoadedProgram, { steps, values, reports }: RunOptions): Generator<void, void> {
    let nextValue = 0;
    while (this.steps < steps && !this.stopped) {
      for (const number of program.order()) {
        // The pauses are before commands, so that a list counts as complete as soon as it is.
        yield;
        if (this.stopped) return;
        nextValue = program.fillSlots(number, values, nextValue);
        const list = program.lists[number];
        for (let command = 0; command < list.length;) {
          if (command > 0) yield;
          const group = groupAt(list, command);
          if (!this.#succeeds(group, program.checkFinite, number, command)) return;
          command += group.length;
        }
        this.lists++;
      }
      if (reports) program.report(reports, this.steps);
      this.steps++;
      // A program without lists pauses here alone.
      yield;
    }
  }

  /** Runs a command with those that are joined to it. */
  #succeeds(group: readonly OwnCommand[], checkFinite: boolean, list: number, command: number): boolean {
    const { op, target } = group[group.length - 1];
    try {
      if (group.length === 1) execute(group[0]);
      else executeInParts(group);
    } catch (error) {
      this.#error = error as Error;
      const { op: name, problem } = error instanceof LangevinError ? error : { op: op.name, problem: messageOf(error) };
      this.#failure = { op: name, problem, list, command };
      return false;
    }
    const problem = checkFinite && !op.writes && target.dtype !== "int32" ? describeNonFinite(target) : undefined;
    if (problem === undefined) return true;
    this.#error = new DeviceError({ op: op.name, problem: `${problem}.` });
    this.#failure = { op: op.name, problem, list, command };
    return false;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function expectLength(op: string, name: string, array: Float64Array, steps: number, perStep: number): void {
  if (array.length === steps * perStep) return;
  throw new DeviceError({
    op,
    problem: `${name} holds ${array.length} numbers, expected ${steps * perStep}: ${perStep} for each of ${steps} steps.`,
  });
}
