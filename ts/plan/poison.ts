// For tests: fills a plan's memory with NaN wherever nothing is needed in it, so that what is read there shows.

import type { BufferId } from "../device/executor.ts";
import { dense } from "../device/executor.ts";
import { ops } from "../ops/index.ts";
import type { Lifetime, PlacedCommand } from "./lifetimes.ts";
import { operandsOf } from "./lifetimes.ts";
import type { RecordedCommand, RecordedList, RecordedProgram } from "./recorded.ts";
import { listsOf } from "./recorded.ts";

/** The commands of each list: everything is spoiled before the first one, and each buffer where its life ends. */
export function poisoned(
  program: RecordedProgram,
  placed: readonly PlacedCommand[],
  lives: ReadonlyMap<BufferId, Lifetime>,
): RecordedCommand[][] {
  const ending = new Map<RecordedCommand, BufferId[]>();
  for (const [id, { end }] of lives) {
    const uses = placed.filter(({ command }) => operandsOf(command).some(({ buffer }) => buffer === id));
    const { loops } = uses[0];
    // What is used inside and outside of a loop lives on into the loop's next iteration.
    const local = uses.every((use) => use.loops.length === loops.length && use.loops.at(-1) === loops.at(-1));
    const last = placed.at(end);
    if (local && last) ending.set(last.command, [...(ending.get(last.command) ?? []), id]);
  }
  const spoil = (id: BufferId): RecordedCommand => fillWithNaN(id, program.buffers.get(id)!.bytes / 4);
  const spoilAfter = ({ commands }: RecordedList): RecordedCommand[] =>
    commands.flatMap((command) => [command, ...(ending.get(command) ?? []).map(spoil)]);
  const lists = listsOf(program.nodes);
  return lists.map((list, i) => [
    ...(i === 0 && placed.at(0)?.loops.length === 0 ? [...lives.keys()].map(spoil) : []),
    ...spoilAfter(list),
  ]);
}

function fillWithNaN(id: BufferId, words: number): RecordedCommand {
  const shape = [words];
  return {
    op: ops.fill,
    attributes: { shape, dtype: "float32", value: NaN },
    inputs: [],
    output: dense(id, 0, shape, "float32"),
    perStep: [],
    layer: "",
  };
}
