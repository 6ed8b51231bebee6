// What rewrites of a program have in common: who uses which buffer, where buffers went, and which commands go.

import type { BufferId, Operand } from "../../device/executor.ts";
import { Homes } from "../homes.ts";
import type { PlacedCommand } from "../lifetimes.ts";
import { placeCommands, usesOf } from "../lifetimes.ts";
import type { RecordedBuffer, RecordedCommand, RecordedList, RecordedNode, RecordedProgram } from "../recorded.ts";
import { isLoop } from "../recorded.ts";
import { coversAll, writesTo } from "../regions.ts";

/** A program that is being rewritten. */
export class Rewriting {
  readonly program: RecordedProgram;
  readonly commands: readonly PlacedCommand[];
  readonly homes = new Homes();
  /** Commands that are left out. */
  readonly dropped = new Set<RecordedCommand>();
  readonly #uses: ReadonlyMap<BufferId, readonly PlacedCommand[]>;
  readonly #outputs: ReadonlySet<BufferId>;

  constructor(program: RecordedProgram) {
    this.program = program;
    this.commands = placeCommands(program.nodes);
    this.#uses = usesOf(this.commands);
    this.#outputs = new Set(program.outputs.map(({ buffer }) => buffer));
  }

  /** The commands that use a buffer, in order. */
  usesOf(buffer: BufferId): readonly PlacedCommand[] {
    return this.#uses.get(buffer) ?? [];
  }

  /** A buffer of the program; undefined for one of the device. */
  buffer(id: BufferId): RecordedBuffer | undefined {
    return this.program.buffers.get(id);
  }

  /** Whether what a buffer holds outlives the step. */
  isOutput(buffer: BufferId): boolean {
    return this.#outputs.has(buffer);
  }

  /** The command that made all of an operand's buffer, in the same list before `reader`; undefined where that is not so. */
  makerOf(operand: Operand, reader: PlacedCommand): PlacedCommand | undefined {
    const memory = this.buffer(operand.buffer);
    if (!memory || memory.data || memory.table || this.homes.has(operand.buffer)) return undefined;
    const maker = this.usesOf(operand.buffer)[0];
    const { output } = maker.command;
    const made = output?.buffer === operand.buffer && coversAll(output, memory) && coversAll(operand, memory);
    return made && maker.list === reader.list && maker !== reader ? maker : undefined;
  }

  /** Whether another command than its maker writes to a buffer. */
  isWritten(buffer: BufferId, maker: PlacedCommand): boolean {
    return this.usesOf(buffer).some((use) => use !== maker && writesTo(use.command, buffer));
  }

  /** The program with operands where they lie now, without what was dropped. */
  result(): RecordedProgram {
    const resolve = (operand: Operand | undefined): Operand | undefined => operand && this.homes.resolve(operand);
    const nodes = mapLists(this.program.nodes, ({ commands, actions }) => ({
      actions,
      commands: commands
        .filter((command) => !this.dropped.has(command))
        .map((command) => ({ ...command, inputs: command.inputs.map(resolve), output: resolve(command.output) })),
    }));
    return { ...this.program, nodes, outputs: this.program.outputs.map((operand) => this.homes.resolve(operand)) };
  }
}

/** The same parts of a program with other lists. */
export function mapLists(nodes: readonly RecordedNode[], change: (list: RecordedList) => RecordedList): RecordedNode[] {
  return nodes.map((node) => (isLoop(node) ? { ...node, body: mapLists(node.body, change) } : change(node)));
}
