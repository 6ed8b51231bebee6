// concat and slice along the last axis: parts are computed, and read, as columns of the whole.

import type { Operand } from "../../device/executor.ts";
import { ops } from "../../ops/index.ts";
import { colsOf, fitsRows } from "../homes.ts";
import type { PlacedCommand } from "../lifetimes.ts";
import { operandsOf } from "../lifetimes.ts";
import type { RecordedProgram } from "../recorded.ts";
import { writesTo } from "../regions.ts";
import { Rewriting } from "./rewriting.ts";

/** A tensor of which half is needed may be kept for so many commands more. */
const shortWhile = 24;

/** Parts of a concatenation are computed in their place; one of such parts alone is no command any more. */
export function joinColumns(program: RecordedProgram): RecordedProgram {
  const rewriting = new Rewriting(program);
  for (const join of rewriting.commands) {
    const { op, attributes, output, inputs } = join.command;
    if (op !== ops.concat || !output) continue;
    const last = output.shape.length - 1;
    if (attributes.axis !== last && attributes.axis !== -1) continue;
    if (rewriting.homes.has(output.buffer) || !isMadeBy(rewriting, output, join)) continue;
    let column = 0;
    let joined = 0;
    for (const part of inputs as Operand[]) {
      const cols = colsOf(part);
      if (fitsColumns(rewriting, part, join)) {
        const rows = { cols, pitch: output.pitch };
        rewriting.homes.set(part.buffer, { buffer: output.buffer, offset: output.offset + column, rows });
        joined++;
      }
      column += cols;
    }
    if (joined === inputs.length) rewriting.dropped.add(join.command);
  }
  return rewriting.result();
}

/** Whether an operand's buffer is the program's own, and nothing used it before this command. */
function isMadeBy(rewriting: Rewriting, { buffer }: Operand, maker: PlacedCommand): boolean {
  const memory = rewriting.buffer(buffer);
  return memory !== undefined && !memory.data && !memory.table && rewriting.usesOf(buffer)[0] === maker;
}

function fitsColumns(rewriting: Rewriting, part: Operand, join: PlacedCommand): boolean {
  const maker = rewriting.makerOf(part, join);
  if (!maker || rewriting.homes.isHost(part.buffer)) return false;
  // What is written later to one of them must not show in the other.
  const whole = join.command.output!.buffer;
  if (rewriting.isWritten(part.buffer, maker) || rewriting.isWritten(whole, join)) return false;
  return staysRectangular(rewriting, part);
}

/** Whether all operands in a tensor's buffer stay rectangles when its rows are spaced. */
function staysRectangular(rewriting: Rewriting, tensor: Operand): boolean {
  const { buffer } = tensor;
  const operands = rewriting.usesOf(buffer).flatMap(({ command }) => operandsOf(command));
  return [...operands, ...rewriting.program.outputs]
    .filter((operand) => operand.buffer === buffer)
    .every((operand) => fitsRows(operand, colsOf(tensor)));
}

/**
 * Columns that are cut out and then only read are read where they lie, as long as they stay there. The tensor that holds them
 * may be kept longer for that, if at least half of it is needed as long, and more than half where that is long.
 */
export function splitColumns(program: RecordedProgram): RecordedProgram {
  const rewriting = new Rewriting(program);
  const { homes, dropped, commands } = rewriting;
  const candidates = commands.filter(({ command }) => isColumnRange(command.op, command.attributes, command.inputs[0]));
  const staying = candidates.filter((cut) => columnsStay(rewriting, cut));
  for (const { command } of staying) {
    const [whole] = command.inputs as Operand[];
    const part = command.output!;
    const end = lastUse(rewriting, part);
    /** Columns of the whole that are read in place as late as this part. */
    const asLate = staying
      .filter((other) => other.command.inputs[0]!.buffer === whole.buffer)
      .filter((other) => lastUse(rewriting, other.command.output!) >= end)
      .reduce((columns, other) => columns + colsOf(other.command.output!), 0);
    const isOwn = rewriting.buffer(whole.buffer) !== undefined;
    const longer = end - lastUse(rewriting, whole);
    if (isOwn && longer > 0 && 2 * asLate < colsOf(whole)) continue;
    if (isOwn && longer > shortWhile && 2 * asLate === colsOf(whole)) continue;
    if (homes.has(whole.buffer) || homes.isHost(part.buffer)) continue;
    const [start] = (command.attributes.starts as number[]).slice(-1);
    const rows = { cols: colsOf(part), pitch: whole.pitch };
    homes.set(part.buffer, { buffer: whole.buffer, offset: whole.offset + start, rows });
    dropped.add(command);
  }
  return rewriting.result();
}

function lastUse(rewriting: Rewriting, { buffer }: Operand): number {
  return rewriting.isOutput(buffer) ? Infinity : rewriting.usesOf(buffer).at(-1)!.position;
}

/** Whether a command cuts out adjacent columns, and all rows. */
function isColumnRange(
  op: PlacedCommand["command"]["op"],
  attributes: PlacedCommand["command"]["attributes"],
  whole: Operand | undefined,
): boolean {
  if (op !== ops.slice || !whole || whole.shape.length < 2) return false;
  const { starts, stops, steps } = attributes as Record<string, readonly number[]>;
  const last = whole.shape.length - 1;
  return whole.shape.every(
    (n, axis) => steps[axis] === 1 && (axis === last || (starts[axis] === 0 && stops[axis] === n)),
  );
}

/** Whether cut-out columns are memory of their own, are only read, in the same list, and could be read from the whole. */
function columnsStay(rewriting: Rewriting, cut: PlacedCommand): boolean {
  const part = cut.command.output!;
  const whole = cut.command.inputs[0]!;
  const uses = rewriting.usesOf(part.buffer);
  const reader = uses.at(-1)!;
  if (rewriting.makerOf(part, reader) !== cut || uses.some(({ list }) => list !== cut.list)) return false;
  if (rewriting.isOutput(part.buffer) || rewriting.isWritten(part.buffer, cut)) return false;
  const between = rewriting.commands.slice(cut.position, reader.position + 1);
  if (between.some(({ command }) => writesTo(command, whole.buffer))) return false;
  return staysRectangular(rewriting, part);
}
