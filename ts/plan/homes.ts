// Buffers that are not memory of their own but a place in another one, and what that makes of operands.

import type { BufferId, Operand } from "../device/executor.ts";
import { sizeOf } from "../ops/index.ts";

/** Where the elements of a buffer lie instead. */
export interface Home {
  readonly buffer: BufferId;
  /** In elements. */
  readonly offset: number;
  /** Where rows are spaced: every `cols` elements of the buffer lie `pitch` elements apart. */
  readonly rows?: { readonly cols: number; readonly pitch: number };
}

/** Where buffers went; a home may itself have a home. */
export class Homes {
  readonly #homes = new Map<BufferId, Home>();
  readonly #hosts = new Set<BufferId>();

  set(buffer: BufferId, home: Home): void {
    this.#homes.set(buffer, home);
    if (home.rows) this.#hosts.add(home.buffer);
  }

  has(buffer: BufferId): boolean {
    return this.#homes.has(buffer);
  }

  /** Whether others have their rows in it, so that it is in use before something is written to it as a whole. */
  isHost(buffer: BufferId): boolean {
    return this.#hosts.has(buffer);
  }

  /** The operand where it lies. */
  resolve(operand: Operand): Operand {
    let resolved = operand;
    for (let home = this.#homes.get(resolved.buffer); home; home = this.#homes.get(resolved.buffer))
      resolved = moved(resolved, home);
    return resolved;
  }
}

function moved(operand: Operand, { buffer, offset, rows }: Home): Operand {
  if (!rows) return { ...operand, buffer, offset: offset + operand.offset };
  const { cols, pitch } = rows;
  const row = Math.floor(operand.offset / cols);
  const scaled = (operand.pitch / cols) * pitch;
  return {
    ...operand,
    buffer,
    offset: offset + row * pitch + (operand.offset - row * cols),
    // A single row has no next one.
    pitch: rowsOf(operand) <= 1 ? colsOf(operand) : scaled,
  };
}

/** Whether an operand stays a rectangle when every `cols` elements of its buffer are spaced. */
export function fitsRows(operand: Operand, cols: number): boolean {
  return (operand.offset % cols) + colsOf(operand) <= cols && (rowsOf(operand) <= 1 || operand.pitch % cols === 0);
}

/** Whether an operand is a dense block. */
export function isDense(operand: Operand): boolean {
  return rowsOf(operand) <= 1 || operand.pitch === colsOf(operand);
}

/** The last size, 1 for a scalar. */
export function colsOf({ shape }: Operand): number {
  return shape.at(-1) ?? 1;
}

/** The product of all other sizes. */
export function rowsOf({ shape }: Operand): number {
  return sizeOf(shape.slice(0, -1));
}
