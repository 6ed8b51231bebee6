// Which memory operands cover, and whether commands share some of it.

import type { BufferId, Operand } from "../device/executor.ts";
import { bytesOf, sizeOf } from "../ops/index.ts";
import { colsOf, isDense } from "./homes.ts";
import type { RecordedBuffer, RecordedCommand } from "./recorded.ts";

/** Whether an operand is all of its buffer. */
export function coversAll(operand: Operand, { bytes }: RecordedBuffer): boolean {
  return operand.offset === 0 && isDense(operand) && sizeOf(operand.shape) * bytesOf(operand.dtype) === bytes;
}

/** Whether two operands are the same elements in the same order. */
export function sameRegion(a: Operand, b: Operand): boolean {
  return (
    a.buffer === b.buffer &&
    a.offset === b.offset &&
    a.dtype === b.dtype &&
    sameShape(a.shape, b.shape) &&
    (isDense(a) ? isDense(b) : a.pitch === b.pitch)
  );
}

/** Whether two lists of sizes are the same. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** Whether two operands may share an element; rows between which others lie count as theirs. */
export function overlap(a: Operand, b: Operand): boolean {
  if (a.buffer !== b.buffer) return false;
  const [startA, endA] = bytesSpanned(a);
  const [startB, endB] = bytesSpanned(b);
  return startA < endB && startB < endA;
}

function bytesSpanned(operand: Operand): readonly [start: number, end: number] {
  const size = bytesOf(operand.dtype);
  const count = sizeOf(operand.shape);
  const cols = colsOf(operand);
  const span = count === 0 ? 0 : (count / cols - 1) * operand.pitch + cols;
  return [operand.offset * size, (operand.offset + span) * size];
}

/** Whether a command writes to a buffer. */
export function writesTo({ op, inputs, output }: RecordedCommand, buffer: BufferId): boolean {
  return output?.buffer === buffer || (op.writes ?? []).some((index) => inputs[index]?.buffer === buffer);
}

/** An operand of a command, and what the command does with it. */
export interface Access {
  readonly operand: Operand;
  /** Number among the inputs; -1 for the output. */
  readonly input: number;
  readonly writes: boolean;
}

/** What a command reads and writes. */
export function accessesOf({ op, inputs, output }: RecordedCommand): Access[] {
  const read = inputs.flatMap((operand, input) =>
    operand ? [{ operand, input, writes: op.writes?.includes(input) ?? false }] : [],
  );
  return output ? [...read, { operand: output, input: -1, writes: true }] : read;
}

/** Whether the order of two commands matters: one of them writes what the other one uses. */
export function conflict(a: readonly Access[], b: readonly Access[]): boolean {
  return a.some((x) => b.some((y) => (x.writes || y.writes) && overlap(x.operand, y.operand)));
}
