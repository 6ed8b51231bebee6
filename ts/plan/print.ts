// A plan as text: its memory, and each command with layer, shapes, place, lifetime and arithmetic.

import { showShape } from "../errors/index.ts";
import { bytesOf } from "../ops/index.ts";
import { aligned, showBytes, showCount } from "./figures.ts";
import { bytesMoved, flopsOf, resultOf, runsOfCommands } from "./cost.ts";
import { placeCommands } from "./lifetimes.ts";
import type { Plan } from "./plan.ts";
import type { RecordedCommand, RecordedNode } from "./recorded.ts";
import { isLoop, listsOf } from "./recorded.ts";

/** The lines of `plan.toString()`, and how many commands there are; `+` marks those that run part by part with the one before. */
export function printPlan(plan: Plan): { readonly lines: string; readonly commands: number } {
  const placed = placeCommands(plan.placed.nodes);
  const positions = new Map(placed.map(({ command, position }) => [command, position]));
  const bytes = trafficOf(plan.placed.nodes);
  const rows: string[][] = [["#", "op", "layer", "result", "place", "lives", "FLOP", "bytes"]];
  const visit = (nodes: readonly RecordedNode[], depth: number): void => {
    for (const node of nodes) {
      if (isLoop(node)) {
        rows.push(["", `${"  ".repeat(depth)}repeat ${node.times}`]);
        visit(node.body, depth + 1);
      } else
        for (const command of node.commands)
          rows.push([
            String(positions.get(command)),
            `${"  ".repeat(depth)}${command.joined ? "+ " : ""}${command.op.name}`,
            ...cells(plan, command),
            showBytes(bytes.get(command)!),
          ]);
    }
  };
  visit(plan.placed.nodes, 0);
  return { lines: [...summary(plan, bytes), "", ...aligned(rows, [0, 6, 7])].join("\n"), commands: placed.length };
}

/** Bytes that each command reads and writes. */
function trafficOf(nodes: readonly RecordedNode[]): Map<RecordedCommand, number> {
  return new Map(
    listsOf(nodes).flatMap(({ commands }) => {
      const bytes = bytesMoved(commands);
      return commands.map((command, i) => [command, bytes[i]] as const);
    }),
  );
}

function cells(plan: Plan, command: RecordedCommand): string[] {
  const { layer } = command;
  const result = resultOf(command);
  const home = result && plan.arena.get(result.buffer);
  const type = result ? `${result.dtype} ${showShape(result.shape)}` : "";
  const pitch =
    result && result.shape.length > 1 && result.pitch !== result.shape.at(-1) ? ` pitch ${result.pitch}` : "";
  const place = home ? `arena + ${home.byteOffset + result.offset * bytesOf(result.dtype)}` : "its own";
  const lives = home ? `${home.life.start}-${home.life.end}` : "";
  return [layer, type + pitch, place, lives, showCount(flopsOf(command))];
}

function summary(plan: Plan, bytes: ReadonlyMap<RecordedCommand, number>): string[] {
  const { arena, separate, constants, tables } = plan.memory;
  const { precision = "float32" } = plan.options;
  let flops = 0;
  let moved = 0;
  let commands = 0;
  for (const [command, times] of runsOfCommands(plan.placed.nodes)) {
    flops += times * flopsOf(command);
    moved += times * bytes.get(command)!;
    commands += times;
  }
  return [
    `A step on ${plan.executor.name}: ${commands} commands, ${showCount(flops)} FLOP, ${showBytes(moved)} read and written.`,
    `Memory: arena ${showBytes(arena)} (${showBytes(separate)} without sharing), constants ${showBytes(constants)}, tables for ${plan.options.steps} steps a call ${showBytes(tables)}.`,
    plan.executor.name === "cuda"
      ? "Rounds otherwise than eager where kernels differ."
      : "Rounds as eager does, to the bit.",
    ...(precision === "float32" ? [] : [`Products round their operands to ${precision}, and add up in float32.`]),
    ...(plan.execution === undefined ? [] : [plan.execution]),
  ];
}
