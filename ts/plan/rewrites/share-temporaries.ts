// Temporaries of commands that run part by part share memory: in each part, one is done with before the next one is made.

import type { BufferId } from "../../device/executor.ts";
import { alignmentOf, writtenShape } from "../../device/executor.ts";
import type { PlacedCommand } from "../lifetimes.ts";
import type { RecordedProgram } from "../recorded.ts";
import { accessesOf, coversAll, sameShape } from "../regions.ts";
import { Rewriting } from "./rewriting.ts";

/** Puts results that are used in one group alone where an earlier one lay that is no longer needed there. */
export function shareTemporaries(program: RecordedProgram): RecordedProgram {
  const rewriting = new Rewriting(program);
  /** Memory of this group that is free again, by its size. */
  let free = new Map<number, BufferId[]>();
  /** What a temporary's memory is that of. */
  const roots = new Map<BufferId, BufferId>();
  for (const placed of rewriting.commands) {
    const { command, position, group } = placed;
    if (group.start === position) free = new Map();
    if (group.start === group.end) continue;
    const made = command.output?.buffer;
    if (made !== undefined && !roots.has(made) && isTemporary(rewriting, made, placed)) {
      const root = free.get(rewriting.buffer(made)!.bytes)?.pop();
      if (root !== undefined) rewriting.homes.set(made, { buffer: root, offset: 0 });
      roots.set(made, root ?? made);
    }
    for (const buffer of new Set(accessesOf(command).map(({ operand }) => operand.buffer))) {
      const root = roots.get(buffer);
      if (root === undefined || rewriting.usesOf(buffer).at(-1) !== placed) continue;
      const { bytes } = rewriting.buffer(buffer)!;
      free.set(bytes, [...(free.get(bytes) ?? []), root]);
    }
  }
  return rewriting.result();
}

/** Whether a buffer is made here, used in this group alone, and by each command in just the part that it runs on. */
function isTemporary(rewriting: Rewriting, buffer: BufferId, maker: PlacedCommand): boolean {
  const memory = rewriting.buffer(buffer);
  const uses = rewriting.usesOf(buffer);
  if (!memory || memory.data || memory.table || rewriting.isOutput(buffer) || uses[0] !== maker) return false;
  const shape = writtenShape(maker.command);
  return uses.every(
    ({ command, group }) =>
      group === maker.group &&
      accessesOf(command)
        .filter(({ operand }) => operand.buffer === buffer)
        .every(
          ({ operand, input }) =>
            sameShape(operand.shape, shape) &&
            coversAll(operand, memory) &&
            (input < 0 || alignmentOf(command.op, input) === "element"),
        ),
  );
}
