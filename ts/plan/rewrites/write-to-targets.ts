// assign(target, source): what made the source writes to the target.

import type { BufferId, Operand } from "../../device/executor.ts";
import { ops } from "../../ops/index.ts";
import { isDense } from "../homes.ts";
import { operandsOf } from "../lifetimes.ts";
import type { RecordedProgram } from "../recorded.ts";
import { overlap, sameRegion } from "../regions.ts";
import { Rewriting } from "./rewriting.ts";

/** Drops copies to targets that nobody looks at between the making of the source and the copy. */
export function writeToTargets(program: RecordedProgram): RecordedProgram {
  const rewriting = new Rewriting(program);
  const { commands, homes, dropped } = rewriting;
  for (const copy of commands) {
    if (copy.command.op !== ops.assign) continue;
    const [target, source] = copy.command.inputs as Operand[];
    const maker = rewriting.makerOf(source, copy);
    if (!maker || !isDense(target) || rewriting.isOutput(source.buffer) || homes.has(target.buffer)) continue;
    if (rewriting.usesOf(source.buffer).at(-1) !== copy || rewriting.isWritten(source.buffer, maker)) continue;
    const between = commands.slice(maker.position + 1, copy.position);
    if (between.some(({ command }) => operandsOf(command).some((operand) => overlap(operand, target)))) continue;
    const { op, inputs, output } = maker.command;
    const mayTakeOver = inputs.every(
      (input, i) =>
        !input ||
        !overlap(input, target) ||
        (op.inPlace?.includes(i) && sameRegion(input, { ...output!, ...placeOf(target) })),
    );
    if (!mayTakeOver) continue;
    homes.set(source.buffer, placeOf(target));
    dropped.add(copy.command);
  }
  return rewriting.result();
}

function placeOf({ buffer, offset }: Operand): { readonly buffer: BufferId; readonly offset: number } {
  return { buffer, offset };
}
