// From when to when each buffer of a recorded program holds something that is still needed.

import type { BufferId, Operand } from "../device/executor.ts";
import type { RecordedCommand, RecordedList, RecordedNode } from "./recorded.ts";
import { isLoop } from "./recorded.ts";

/** A loop, or commands that run part by part, in the order of commands: from the first to the last one. */
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
  /** The commands that it runs with part by part, this one included. */
  readonly group: Span;
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
      } else
        for (const command of node.commands) {
          const position = placed.length;
          const group = command.joined ? placed[position - 1].group : { start: position, end: position };
          group.end = position;
          placed.push({ command, position, list: node, loops, group });
        }
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
 * runs; what is used inside alone is written anew in each iteration before it is read. What one of several commands uses that
 * run part by part lives as long as all of them run.
 */
export function lifetimes(placed: readonly PlacedCommand[], outputs: readonly Operand[]): Map<BufferId, Lifetime> {
  const uses = usesOf(placed);
  const lives = new Map<BufferId, Lifetime>();
  for (const [buffer, items] of uses) {
    if (buffer >= 0) continue;
    const common = items[0].loops.filter((span) => items.every(({ loops }) => loops.includes(span)));
    const life: Lifetime = { start: items[0].group.start, end: items.at(-1)!.group.end };
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
