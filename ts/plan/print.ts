// A plan as text: its memory, and each command with layer, shapes, place, lifetime and arithmetic.

import type { Operand } from "../device/executor.ts";
import { showShape } from "../errors/index.ts";
import { bytesOf, sizeOf } from "../ops/index.ts";
import { placeCommands } from "./lifetimes.ts";
import type { Plan } from "./plan.ts";
import type { RecordedCommand, RecordedNode } from "./recorded.ts";
import { isLoop } from "./recorded.ts";

/** Multiplications and additions of a command: two for each term of a sum of products, else one for each element. */
export function flopsOf({ op, inputs, output, attributes }: RecordedCommand): number {
  const result = output ?? inputs[op.writes?.[0] ?? 0];
  if (!result || op.exact) return 0;
  if (op.terms) return 2 * op.terms(inputs, attributes) * sizeOf(result.shape);
  return Math.max(...[...inputs, result].map((operand) => (operand ? sizeOf(operand.shape) : 0)));
}

/** Bytes that a command reads and writes. */
export function bytesMoved({ inputs, output }: RecordedCommand): number {
  const size = (operand: Operand | undefined): number => (operand ? sizeOf(operand.shape) * bytesOf(operand.dtype) : 0);
  return [...inputs, output].reduce((total, operand) => total + size(operand), 0);
}

/** The lines of `plan.toString()`, and how many commands there are. */
export function printPlan(plan: Plan): { readonly lines: string; readonly commands: number } {
  const placed = placeCommands(plan.placed.nodes);
  const positions = new Map(placed.map(({ command, position }) => [command, position]));
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
            `${"  ".repeat(depth)}${command.op.name}`,
            ...cells(plan, command),
          ]);
    }
  };
  visit(plan.placed.nodes, 0);
  return { lines: [...summary(plan), "", ...aligned(rows)].join("\n"), commands: placed.length };
}

function cells(plan: Plan, command: RecordedCommand): string[] {
  const { op, inputs, output, layer } = command;
  const result = output ?? inputs[op.writes?.[0] ?? 0];
  const home = result && plan.arena.get(result.buffer);
  const type = result ? `${result.dtype} ${showShape(result.shape)}` : "";
  const pitch =
    result && result.shape.length > 1 && result.pitch !== result.shape.at(-1) ? ` pitch ${result.pitch}` : "";
  const place = home ? `arena + ${home.byteOffset + result.offset * bytesOf(result.dtype)}` : "its own";
  const lives = home ? `${home.life.start}-${home.life.end}` : "";
  return [layer, type + pitch, place, lives, showCount(flopsOf(command)), showBytes(bytesMoved(command))];
}

function summary(plan: Plan): string[] {
  const { arena, separate, constants, tables } = plan.memory;
  let flops = 0;
  let moved = 0;
  let commands = 0;
  const add = (nodes: readonly RecordedNode[], times: number): void => {
    for (const node of nodes) {
      if (isLoop(node)) add(node.body, times * node.times);
      else
        for (const command of node.commands) {
          flops += times * flopsOf(command);
          moved += times * bytesMoved(command);
          commands += times;
        }
    }
  };
  add(plan.placed.nodes, 1);
  return [
    `A step on ${plan.executor.name}: ${commands} commands, ${showCount(flops)} FLOP, ${showBytes(moved)} read and written.`,
    `Memory: arena ${showBytes(arena)} (${showBytes(separate)} without sharing), constants ${showBytes(constants)}, tables for ${plan.options.steps} steps a call ${showBytes(tables)}.`,
    plan.executor.name === "cuda"
      ? "Rounds otherwise than eager where kernels differ."
      : "Rounds as eager does, to the bit.",
  ];
}

/** Columns side by side; numbers of the last two to the right. */
function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => (row.at(column) ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 || column > 5 ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join("  ")
      .trimEnd(),
  );
}

function showBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB"];
  const power = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(1)} ${units[power - 1]}`;
}

function showCount(count: number): string {
  const units = ["", "k", "M", "G", "T"];
  const power = Math.min(units.length - 1, count < 1000 ? 0 : Math.floor(Math.log10(count) / 3));
  return power === 0 ? String(count) : `${(count / 1000 ** power).toFixed(1)} ${units[power]}`;
}
