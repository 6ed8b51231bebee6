// From when to when each buffer of a recorded program holds something that is still needed.

import type { BufferId, Operand } from "../device/executor.ts";
import type { RecordedCommand, RecordedList, RecordedNode } from "./recorded.ts";
import { isLoop } from "./recorded.ts";

/** A loop in the order of commands: from its first to its last one. */
export interface Span {
  readonly start: number;
  end: number;
}

/** A command with its place in the order in which commands run for the first time. */
export interface PlacedCommand {
  readonly command: RecordedCommand;
  readonly position: number;
  readonly list: RecordedList;
  /** Loops around it, outermost first. */
  readonly loops: readonly Span[];
}

/** When a buffer is in use, both ends included; what is read after the last command lasts to the number of commands. */
export interface Lifetime {
  start: number;
  end: number;
}

/** The commands of a program in order. */
export function placeCommands(nodes: readonly RecordedNode[]): PlacedCommand[] {
  const placed: PlacedCommand[] = [];
  const visit = (parts: readonly RecordedNode[], loops: readonly Span[]): void => {
    for (const node of parts) {
      if (isLoop(node)) {
        const span: Span = { start: placed.length, end: placed.length };
        visit(node.body, [...loops, span]);
        span.end = Math.max(span.start, placed.length - 1);
      } else for (const command of node.commands) placed.push({ command, position: placed.length, list: node, loops });
    }
  };
  visit(nodes, []);
  return placed;
}

/** The operands of a command, the written one last. */
export function operandsOf({ inputs, output }: RecordedCommand): Operand[] {
  const present = inputs.filter((operand) => operand !== undefined);
  return output ? [...present, output] : present;
}

/** The commands that use each buffer, in order, each once. */
export function usesOf(placed: readonly PlacedCommand[]): Map<BufferId, PlacedCommand[]> {
  const uses = new Map<BufferId, PlacedCommand[]>();
  for (const item of placed)
    for (const { buffer } of operandsOf(item.command)) {
      const known = uses.get(buffer);
      if (!known) uses.set(buffer, [item]);
      else if (known.at(-1) !== item) known.push(item);
    }
  return uses;
}

/**
 * The lifetimes of all buffers of the recording. What is used in a loop and also outside of it lives as long as the loop
 * runs; what is used inside alone is written anew in each iteration before it is read.
 */
export function lifetimes(placed: readonly PlacedCommand[], outputs: readonly Operand[]): Map<BufferId, Lifetime> {
  const uses = usesOf(placed);
  const lives = new Map<BufferId, Lifetime>();
  for (const [buffer, items] of uses) {
    if (buffer >= 0) continue;
    const common = items[0].loops.filter((span) => items.every(({ loops }) => loops.includes(span)));
    const life: Lifetime = { start: items[0].position, end: items.at(-1)!.position };
    for (const { loops } of items) {
      const outermost = loops.at(common.length);
      if (outermost) extend(life, outermost);
    }
    lives.set(buffer, life);
  }
  for (const { buffer } of outputs) {
    const life = lives.get(buffer);
    // A result that a loop leaves behind, or nothing wrote to, lasts from there to the end.
    if (life) {
      for (const span of uses.get(buffer)![0].loops) extend(life, span);
      life.end = placed.length;
    }
  }
  return lives;
}

/** Makes one lifetime cover another. */
export function extend(life: Lifetime, other: { readonly start: number; readonly end: number }): void {
  life.start = Math.min(life.start, other.start);
  life.end = Math.max(life.end, other.end);
}
