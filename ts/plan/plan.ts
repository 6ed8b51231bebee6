// A plan: a recorded step with its memory laid out in one arena, loaded by an executor and replayed in single calls.

import type {
  AttributePlace,
  BufferId,
  Command,
  Executor,
  Operand,
  Precision,
  Program,
  ProgramId,
  ProgramStep,
  Replay,
  ReplayOptions,
  Slot,
  Temporary,
} from "../device/executor.ts";
import type { PerStep } from "../ops/index.ts";
import { bytesOf } from "../ops/index.ts";
import type { Arrangement } from "./arena.ts";
import { arrange, arrangeSideBySide } from "./arena.ts";
import { walk } from "./host.ts";
import type { Lifetime } from "./lifetimes.ts";
import { lifetimes, operandsOf, placeCommands } from "./lifetimes.ts";
import type { PlanMemory } from "./plan-memory.ts";
import { withPlanMemory } from "./plan-memory.ts";
import { poisoned } from "./poison.ts";
import type { HostTable, RecordedCommand, RecordedNode, RecordedProgram } from "./recorded.ts";
import { isLoop, listsOf } from "./recorded.ts";
import { rewritten } from "./rewrites/index.ts";

/** How a plan is made. */
export interface PlanOptions {
  /** Most steps in one call; what the host computes for each is on the device before they run. */
  readonly steps: number;
  /** Operands, among those of the recording, that each step reports as numbers. */
  readonly reports: readonly Operand[];
  /** What products may round their operands to, default float32. */
  readonly precision?: Precision;
  /** Make one pass of several operations where that changes no bit. */
  readonly fuse: boolean;
  /** Stop at the first result that is not finite; nothing is fused then, so that the operation can be named. */
  readonly checkFinite: boolean;
  /** Fill memory with NaN where nothing is needed in it: for tests. */
  readonly poison: boolean;
}

/** A step in the form in which an executor runs it. */
export class Plan {
  readonly executor: Executor;
  readonly memory: PlanMemory;
  /** The program as it was recorded, and as it runs. */
  readonly recorded: RecordedProgram;
  readonly placed: RecordedProgram;
  /** Where buffers of the placed program lie in the arena, in bytes, and from when to when. */
  readonly arena: ReadonlyMap<BufferId, { readonly byteOffset: number; readonly life: Lifetime }>;
  readonly options: PlanOptions;
  /** The commands of each list as they run. */
  readonly #lists: readonly (readonly RecordedCommand[])[];
  readonly #tableRows = new Map<HostTable, number>();
  /** What was allocated for it: the arena first. */
  #loaded:
    | { readonly program: ProgramId; readonly buffers: ReadonlyMap<BufferId, BufferId>; readonly arena: BufferId }
    | undefined;

  constructor(recorded: RecordedProgram, executor: Executor, options: PlanOptions) {
    this.executor = executor;
    this.options = options;
    this.recorded = recorded;
    // What is reported is read after the step, as results are.
    const outputs = [...recorded.outputs, ...options.reports];
    this.placed = rewritten({ ...recorded, outputs }, options.fuse && !options.checkFinite, options.precision);
    const commands = placeCommands(this.placed.nodes);
    const lives = [...lifetimes(commands, this.placed.outputs)].filter(([id]) => this.#isTemporary(id));
    const bytes = (id: BufferId): number => this.placed.buffers.get(id)!.bytes;
    const { offsets, bytes: arena } = this.#arrange(lives);
    this.arena = new Map(lives.map(([id, life], i) => [id, { byteOffset: offsets[i], life }]));
    this.#lists = options.poison
      ? poisoned(this.placed, commands, new Map(lives))
      : listsOf(this.placed.nodes).map((list) => list.commands);
    this.#countRows(this.placed.nodes, options.steps);
    const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0);
    const all = [...this.placed.buffers];
    this.memory = {
      arena,
      separate: sum(all.map(([id, buffer]) => (buffer.data || buffer.table ? 0 : bytes(id)))),
      constants: sum(all.map(([id, { data }]) => (data ? bytes(id) : 0))),
      tables: sum(all.map(([id, { table }]) => (table ? bytes(id) * this.#rows(table) : 0))),
    };
  }

  /** What the arena would take if outputs lay outside of it, as gradients do that an optimizer collects. */
  arenaWithoutOutputs(): number {
    const outputs = new Set(this.placed.outputs.map(({ buffer }) => buffer));
    const others = [...this.arena].filter(([id]) => !outputs.has(id));
    return this.#arrange(others.map(([id, { life }]) => [id, life])).bytes;
  }

  #arrange(lives: readonly (readonly [BufferId, Lifetime])[]): Arrangement {
    const tenants = lives.map(([id, life]) => ({ bytes: this.placed.buffers.get(id)!.bytes, ...life }));
    return this.executor.sideBySide ? arrangeSideBySide(tenants) : arrange(tenants);
  }

  /** Runs one step, in order with everything else; errors come up where results are read. */
  run(): void {
    const { program } = this.#load();
    this.executor.run(program, this.#values(1));
  }

  /** Runs steps, at most as many as the plan was made for, in one call. The host's counts are those after the last one. */
  replay(steps: number, options: Pick<ReplayOptions, "reports" | "onProgress">): Replay {
    const { program } = this.#load();
    return this.executor.replay(program, { steps, values: this.#values(steps), ...options });
  }

  /** Counts what a replay of so many steps counted that ended after `lists` runs of lists; nothing runs on the device. */
  recount(steps: number, lists: number): void {
    walk(this.placed.nodes, steps, lists);
    this.#forgetRows();
  }

  /** What the host computes for steps that are to run: numbers, and tables, which are written at once. */
  #values(steps: number): Float64Array {
    try {
      const values = walk(this.placed.nodes, steps);
      this.#writeTables();
      return values;
    } finally {
      this.#forgetRows();
    }
  }

  #forgetRows(): void {
    for (const { table } of this.placed.buffers.values()) table?.take();
  }

  /** How the executor carries the plan out, in a sentence, once it has run and where there is a choice. */
  get execution(): string | undefined {
    return this.#loaded && (this.executor.describe?.(this.#loaded.program) || undefined);
  }

  /** An output of the recording where it is on the device. */
  result(index: number): Operand {
    return this.#located(this.placed.outputs[index]);
  }

  /** The command at a place that a failure names. */
  commandAt(list: number, command: number): RecordedCommand | undefined {
    return this.#lists.at(list)?.at(command);
  }

  /** Gives the memory back. The plan can be run again: it is then loaded anew. */
  unload(): void {
    if (!this.#loaded) return;
    const { program, arena, buffers } = this.#loaded;
    this.#loaded = undefined;
    this.executor.unload(program);
    for (const buffer of [arena, ...buffers.values()]) this.executor.release(buffer);
  }

  #isTemporary(id: BufferId): boolean {
    const { data, table } = this.placed.buffers.get(id)!;
    return !data && !table;
  }

  #rows(table: HostTable): number {
    return this.#tableRows.get(table) ?? 0;
  }

  /** How many rows each table needs: as many as the list that reads it runs in a call. */
  #countRows(nodes: readonly RecordedNode[], runs: number): void {
    const tables = new Map([...this.placed.buffers].map(([id, { table }]) => [id, table]));
    for (const node of nodes) {
      if (isLoop(node)) this.#countRows(node.body, runs * node.times);
      else
        for (const command of node.commands)
          for (const { buffer } of operandsOf(command)) {
            const table = tables.get(buffer);
            if (table) this.#tableRows.set(table, Math.max(this.#rows(table), runs));
          }
    }
  }

  #load() {
    return (this.#loaded ??= this.#allocateAndLoad());
  }

  #allocateAndLoad() {
    const { executor } = this;
    const buffers = new Map<BufferId, BufferId>();
    const used = new Set(
      [...placeCommands(this.placed.nodes).flatMap(({ command }) => operandsOf(command)), ...this.placed.outputs].map(
        ({ buffer }) => buffer,
      ),
    );
    const arena = this.#allocateArena();
    try {
      for (const [id, { bytes, data, table }] of this.placed.buffers) {
        if (!used.has(id) || (!data && !table)) continue;
        const buffer = executor.allocate(table ? bytes * this.#rows(table) : bytes);
        buffers.set(id, buffer);
        for (const { byteOffset, elements } of data ?? []) executor.write(buffer, byteOffset, elements);
      }
      this.#loaded = { program: -1, buffers, arena };
      return { program: executor.load(this.#program()), buffers, arena };
    } catch (error) {
      for (const buffer of [arena, ...buffers.values()]) executor.release(buffer);
      throw error;
    } finally {
      this.#loaded = undefined;
    }
  }

  #allocateArena(): BufferId {
    try {
      return this.executor.allocate(this.memory.arena);
    } catch (error) {
      throw withPlanMemory(error, this.memory, this.#lists.flat());
    }
  }

  #writeTables(): void {
    for (const [id, { table }] of this.placed.buffers) {
      const rows = table?.take();
      if (rows) this.executor.write(this.#load().buffers.get(id)!, 0, rows);
    }
  }

  /** An operand of the placed program on the device. */
  #located(operand: Operand): Operand {
    const { buffer, dtype, shape } = operand;
    if (buffer >= 0) return operand;
    const { arena, buffers } = this.#loaded!;
    const own = buffers.get(buffer);
    const { table } = this.placed.buffers.get(buffer)!;
    if (own !== undefined)
      return { ...operand, buffer: own, shape: table ? [this.#rows(table), ...shape.slice(1)] : shape };
    const byteOffset = this.arena.get(buffer)!.byteOffset;
    return { ...operand, buffer: arena, offset: byteOffset / bytesOf(dtype) + operand.offset };
  }

  #program(): Program {
    const lists = listsOf(this.placed.nodes);
    const places = new Map<PerStep, AttributePlace[]>();
    this.#lists.forEach((list, l) => {
      list.forEach(({ perStep }, command) => {
        for (const { attribute, number } of perStep) {
          const known = places.get(number) ?? [];
          known.push({ list: l, command, attribute });
          places.set(number, known);
        }
      });
    });
    const slots: Slot[] = lists.flatMap(({ actions }, list) =>
      actions.flatMap(({ numbers }) => numbers.map((number) => ({ list, places: places.get(number) ?? [] }))),
    );
    let next = 0;
    const steps = (nodes: readonly RecordedNode[]): ProgramStep[] =>
      nodes.map((node) => (isLoop(node) ? { times: node.times, body: steps(node.body) } : { list: next++ }));
    return {
      lists: this.#lists.map((list) => list.map((command) => this.#commandOnDevice(command))),
      steps: steps(this.placed.nodes),
      slots,
      reports: this.placed.outputs.slice(this.recorded.outputs.length).map((operand) => this.#located(operand)),
      temporaries: this.#temporaries(),
      checkFinite: this.options.checkFinite,
      precision: this.options.precision,
    };
  }

  /** What lies in the arena and is no result. Where memory is poisoned there are more commands, which use all of it. */
  #temporaries(): Temporary[] {
    if (this.options.poison) return [];
    const commands = listsOf(this.placed.nodes).reduce((sum, list) => sum + list.commands.length, 0);
    return [...this.arena]
      .map(([id, { byteOffset, life }]) => ({
        buffer: this.#loaded!.arena,
        byteOffset,
        bytes: this.placed.buffers.get(id)!.bytes,
        ...life,
      }))
      .filter(({ end }) => end < commands);
  }

  #commandOnDevice({ op, attributes, inputs, output, joined }: RecordedCommand): Command {
    return {
      op,
      attributes,
      joined,
      inputs: inputs.map((operand) => operand && this.#located(operand)),
      output: output && this.#located(output),
    };
  }
}
