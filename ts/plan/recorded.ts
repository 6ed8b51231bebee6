// What a recording hands to the planner: commands on buffers that do not exist yet, and what the host does for each run.

import type { BufferId, Command, ElementArray, Operand } from "../device/executor.ts";
import type { DType, PerStep } from "../ops/index.ts";

/**
 * A buffer of the recording. Its number is negative, in the order of recording, so that none can be taken for one of the
 * device. Where `data` is given, the buffer is a constant that nothing writes to; where `table` is, the host fills it.
 */
export interface RecordedBuffer {
  readonly bytes: number;
  data?: { readonly byteOffset: number; readonly elements: ElementArray }[];
  readonly table?: HostTable;
}

/** A command with what the recording knows beside it. */
export interface RecordedCommand extends Command {
  /** Numbers among the attributes that each run is given anew. */
  readonly perStep: readonly { readonly attribute: string; readonly number: PerStep }[];
  /** Path of the layer that it belongs to, "" outside of layers. */
  readonly layer: string;
}

/** What the host does before each run of a command list: counts, and computes the numbers that this run is given. */
export interface HostAction {
  readonly numbers: readonly PerStep[];
  run(): readonly number[];
}

/** Commands that run in a row, after the host's actions. */
export interface RecordedList {
  readonly commands: RecordedCommand[];
  readonly actions: HostAction[];
}

/** A number that counts the iterations of a loop while the host walks through it. */
export interface LoopIndex {
  value: number;
}

/** A body that runs several times. */
export interface RecordedLoop {
  readonly times: number;
  readonly body: readonly RecordedNode[];
  /** Set to `first`, `first` + 1, ... in the iterations. */
  readonly index: LoopIndex;
  readonly first: number;
}

/** A part of a recorded program. */
export type RecordedNode = RecordedList | RecordedLoop;

/** Whether a part is a loop. */
export function isLoop(node: RecordedNode): node is RecordedLoop {
  return "times" in node;
}

/** A recorded step. */
export interface RecordedProgram {
  readonly nodes: readonly RecordedNode[];
  readonly buffers: ReadonlyMap<BufferId, RecordedBuffer>;
  /** What must still be there when the step is done. */
  readonly outputs: readonly Operand[];
}

const arrays = { float32: Float32Array, int32: Int32Array, float64: Float64Array } as const;

/** Rows that the host computes, one for each run of the list that reads it: a table on the device, filled before a replay. */
export class HostTable {
  readonly dtype: DType;
  /** Elements of a row. */
  readonly width: number;
  #rows: ElementArray[] = [];

  constructor(dtype: DType, width: number) {
    this.dtype = dtype;
    this.width = width;
  }

  /** Adds a row and tells its number. */
  add(row: ElementArray): number {
    return this.#rows.push(row) - 1;
  }

  /** Hands out the rows that were added, one after the other, and forgets them; undefined if there are none. */
  take(): ElementArray | undefined {
    const rows = this.#rows;
    this.#rows = [];
    if (rows.length === 0) return undefined;
    const all = new arrays[this.dtype](rows.length * this.width);
    rows.forEach((row, i) => {
      all.set(row, i * this.width);
    });
    return all;
  }
}

/** All lists, loops' bodies included, in the order in which they first run. */
export function listsOf(nodes: readonly RecordedNode[]): RecordedList[] {
  return nodes.flatMap((node) => (isLoop(node) ? listsOf(node.body) : [node]));
}
