// Results that are cheap to compute are computed again where backward needs them, rather than kept from forward: norms,
// activations, enlarged maps. That costs a pass over them and saves the memory that they would take all the time.

import type { BufferId, Operand } from "../../device/executor.ts";
import { sizeOf } from "../../ops/index.ts";
import { lifetimes, operandsOf, placeCommands } from "../lifetimes.ts";
import type { RecordedBuffer, RecordedCommand, RecordedList, RecordedProgram } from "../recorded.ts";
import { coversAll, writesTo } from "../regions.ts";
import { mapLists } from "./rewriting.ts";

/** A result that nothing uses for so many commands is not kept. */
const longPause = 24;

/** An operand of a result's size divided by this is small. */
const smallShare = 8;

/** Less than this share of the memory that results take together is not worth the time. */
const leastSaving = 0.1;

/** Computes results again that are not needed for long, while what they are computed from is there anyway. */
export function recompute(program: RecordedProgram): RecordedProgram {
  const recomputation = new Recomputation(program);
  recomputation.run();
  const result = recomputation.result();
  return mostBytes(result) <= (1 - leastSaving) * mostBytes(program) ? result : program;
}

/** A command that runs at a time between those of its neighbours. */
interface Item {
  command: RecordedCommand;
  time: number;
  readonly list: RecordedList;
}

class Recomputation {
  readonly #program: RecordedProgram;
  readonly #buffers: Map<BufferId, RecordedBuffer>;
  readonly #outputs: ReadonlySet<BufferId>;
  /** In order. */
  readonly #items: Item[];
  /** The items that use each buffer, in order, and those that write to it. */
  readonly #uses = new Map<BufferId, Item[]>();
  readonly #writers = new Map<BufferId, Item[]>();

  constructor(program: RecordedProgram) {
    this.#program = program;
    this.#buffers = new Map(program.buffers);
    this.#outputs = new Set(program.outputs.map(({ buffer }) => buffer));
    this.#items = placeCommands(program.nodes).map(({ command, position, list }) => ({
      command: { ...command },
      time: position,
      list,
    }));
    for (const item of this.#items)
      for (const { buffer } of operandsOf(item.command)) {
        const known = this.#usesOf(buffer);
        if (known.at(-1) === item) continue;
        known.push(item);
        if (writesTo(item.command, buffer)) this.#writers.set(buffer, [...(this.#writers.get(buffer) ?? []), item]);
      }
  }

  /** Those made last come first: what they are computed from may then be computed again, too. */
  run(): void {
    for (const item of this.#items.toReversed()) if (isCheap(item.command)) this.#splitAtPause(item);
  }

  result(): RecordedProgram {
    const lists = new Map<RecordedList, RecordedCommand[]>();
    for (const { command, list } of this.#items) {
      const commands = lists.get(list);
      if (commands) commands.push(command);
      else lists.set(list, [command]);
    }
    const nodes = mapLists(this.#program.nodes, (list) => ({
      actions: list.actions,
      commands: lists.get(list) ?? [],
    }));
    return { ...this.#program, nodes, buffers: this.#buffers };
  }

  /** Computes a result once more after its longest pause, if that is possible and saves memory. */
  #splitAtPause(maker: Item): void {
    const output = maker.command.output!;
    const uses = this.#usesOf(output.buffer);
    if (!this.#isOnlyMadeBy(output, maker) || uses.some(({ list }) => list !== maker.list)) return;
    const after = longestPause(uses);
    if (after === undefined) return;
    const [reader] = uses.slice(after);
    const inputs = maker.command.inputs.filter((input) => input !== undefined);
    if (inputs.some((input) => this.#isChanged(input, maker, reader))) return;
    const kept = inputs.reduce((bytes, input) => bytes + this.#bytesKeptFor(input, reader), 0);
    if (2 * kept <= this.#buffers.get(output.buffer)!.bytes) this.#repeatBefore(maker, after);
  }

  /** Whether a command made all of an operand's buffer, which nothing else writes to, and which ends with the step. */
  #isOnlyMadeBy(operand: Operand, maker: Item): boolean {
    const memory = this.#buffers.get(operand.buffer);
    const uses = this.#usesOf(operand.buffer);
    return (
      memory !== undefined &&
      coversAll(operand, memory) &&
      uses[0] === maker &&
      maker.command.output?.buffer === operand.buffer &&
      coversAll(maker.command.output, memory) &&
      !this.#outputs.has(operand.buffer) &&
      this.#writers.get(operand.buffer)!.length === 1
    );
  }

  /** Whether something writes to an operand between two commands. */
  #isChanged({ buffer }: Operand, from: Item, to: Item): boolean {
    return (this.#writers.get(buffer) ?? []).some(({ time }) => time > from.time && time < to.time);
  }

  /** Bytes that would have to be kept until a command though nothing needs them there, unless they are computed again, too. */
  #bytesKeptFor(operand: Operand, reader: Item): number {
    const { buffer } = operand;
    const memory = this.#buffers.get(buffer);
    if (!memory || memory.data || memory.table || this.#outputs.has(buffer)) return 0;
    const uses = this.#usesOf(buffer);
    if (uses.at(-1)!.time >= reader.time) return 0;
    const [maker] = uses;
    if (!isCheap(maker.command) || !this.#isOnlyMadeBy(operand, maker)) return memory.bytes;
    const inputs = maker.command.inputs.filter((input) => input !== undefined);
    if (inputs.some((input) => this.#isChanged(input, maker, reader))) return memory.bytes;
    return inputs.reduce((bytes, input) => bytes + this.#bytesKeptFor(input, reader), 0);
  }

  /** Lets the command run again, into memory of its own, for its result's uses from number `after` on. */
  #repeatBefore({ command, list }: Item, after: number): void {
    const { buffer } = command.output!;
    const uses = this.#usesOf(buffer);
    const late = uses.splice(after);
    const copy: BufferId = -1 - this.#buffers.size;
    this.#buffers.set(copy, { bytes: this.#buffers.get(buffer)!.bytes });
    const renamed = (operand: Operand | undefined): Operand | undefined =>
      operand?.buffer === buffer ? { ...operand, buffer: copy } : operand;
    const again = this.#insertBefore(late[0], { ...command, output: renamed(command.output) }, list);
    for (const reader of late) reader.command = { ...reader.command, inputs: reader.command.inputs.map(renamed) };
    this.#uses.set(copy, [again, ...late]);
    this.#writers.set(copy, [again]);
    for (const input of new Set(command.inputs.map((input) => input?.buffer)))
      if (input !== undefined) insertInOrder(this.#usesOf(input), again);
  }

  #insertBefore(item: Item, command: RecordedCommand, list: RecordedList): Item {
    const place = placeOf(this.#items, item.time);
    const before = place > 0 ? this.#items[place - 1].time : item.time - 1;
    const inserted = { command, time: (before + item.time) / 2, list };
    this.#items.splice(place, 0, inserted);
    // Where halving has come to its end, all times are told anew; their order stays.
    if (!(before < inserted.time && inserted.time < item.time))
      this.#items.forEach((each, i) => {
        each.time = i;
      });
    return inserted;
  }

  #usesOf(buffer: BufferId): Item[] {
    const known = this.#uses.get(buffer);
    if (known) return known;
    const none: Item[] = [];
    this.#uses.set(buffer, none);
    return none;
  }
}

/** The number of the first item that is not before a time. */
function placeOf(items: readonly Item[], time: number): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle].time < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function insertInOrder(items: Item[], item: Item): void {
  items.splice(placeOf(items, item.time), 0, item);
}

/** Whether a command is a pass over one large operand. */
function isCheap({ op, inputs, output, perStep }: RecordedCommand): boolean {
  if (!op.cheap || !output || output.buffer >= 0 || perStep.length > 0) return false;
  const size = sizeOf(output.shape);
  return inputs.filter((input) => input && smallShare * sizeOf(input.shape) > size).length <= 1;
}

/** The number of the use after the longest pause, if that is long. */
function longestPause(uses: readonly Item[]): number | undefined {
  let longest = longPause;
  let after: number | undefined;
  for (let i = 1; i < uses.length; i++) {
    const pause = uses[i].time - uses[i - 1].time;
    if (pause <= longest) continue;
    longest = pause;
    after = i;
  }
  return after;
}

/** The most that a program's own memory holds at a time. */
function mostBytes(program: RecordedProgram): number {
  const commands = placeCommands(program.nodes);
  const changes = new Array<number>(commands.length + 2).fill(0);
  for (const [id, { start, end }] of lifetimes(commands, program.outputs)) {
    const { bytes, data, table } = program.buffers.get(id)!;
    if (data || table) continue;
    changes[start] += bytes;
    changes[end + 1] -= bytes;
  }
  let held = 0;
  return changes.reduce((most, change) => Math.max(most, (held += change)), 0);
}
