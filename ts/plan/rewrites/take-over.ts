// Element-wise results take over the memory of an operand that nobody needs afterwards.

import type { BufferId } from "../../device/executor.ts";
import { extend, lifetimes } from "../lifetimes.ts";
import type { RecordedCommand, RecordedProgram } from "../recorded.ts";
import { coversAll, sameRegion } from "../regions.ts";
import { Rewriting } from "./rewriting.ts";

/** Puts results where an operand of theirs lies, if its op reads that element by element and it is the last to do so. */
export function takeOver(program: RecordedProgram): RecordedProgram {
  const rewriting = new Rewriting(program);
  const lives = lifetimes(rewriting.commands, program.outputs);
  /** What a buffer became: itself, or the one whose memory it took over. */
  const roots = new Map<BufferId, BufferId>();
  const rootOf = (buffer: BufferId): BufferId => roots.get(buffer) ?? buffer;
  for (const { command, position, loops } of rewriting.commands) {
    const { op, inputs, output } = command;
    if (!op.inPlace || !output || output.buffer >= 0) continue;
    const whole = rewriting.buffer(output.buffer)!;
    const first = rewriting.usesOf(output.buffer)[0];
    if (first.command !== command || !coversAll(output, whole) || roots.has(output.buffer)) continue;
    for (const index of lastMadeFirst(op.inPlace, inputs, rewriting)) {
      const input = inputs[index];
      if (!input || input.buffer >= 0 || !sameRegion(input, { ...output, buffer: input.buffer })) continue;
      const memory = rewriting.buffer(input.buffer)!;
      const root = rootOf(input.buffer);
      const life = lives.get(root)!;
      const maker = rewriting.usesOf(input.buffer)[0];
      const isOwn = !memory.data && !memory.table && coversAll(input, memory) && memory.bytes === whole.bytes;
      const isLast =
        life.end === position && sameLoops(maker.loops, loops) && sameLoops(rewriting.usesOf(root)[0].loops, loops);
      const others = inputs.every(
        (other, i) => !other || rootOf(other.buffer) !== root || (op.inPlace!.includes(i) && sameRegion(other, input)),
      );
      if (!isOwn || !isLast || !others) continue;
      extend(life, lives.get(output.buffer)!);
      roots.set(output.buffer, root);
      rewriting.homes.set(output.buffer, { buffer: root, offset: 0 });
      break;
    }
  }
  return rewriting.result();
}

/** What was made last may be in the caches still, or be run part by part with what takes it over. */
function lastMadeFirst(
  indices: readonly number[],
  inputs: RecordedCommand["inputs"],
  rewriting: Rewriting,
): readonly number[] {
  const made = (index: number): number => {
    const input = inputs[index];
    return input ? rewriting.usesOf(input.buffer)[0].position : -1;
  };
  return [...indices].sort((a, b) => made(b) - made(a));
}

function sameLoops(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((span, i) => span === b[i]);
}
