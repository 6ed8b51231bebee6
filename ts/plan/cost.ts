// What the commands of a recorded program cost: arithmetic, and bytes read and written.

import type { Operand } from "../device/executor.ts";
import { tensorTypeOf } from "../device/executor.ts";
import { bytesOf, sizeOf } from "../ops/index.ts";
import { operandsOf } from "./lifetimes.ts";
import type { RecordedCommand, RecordedNode } from "./recorded.ts";
import { isLoop } from "./recorded.ts";
import { sameRegion } from "./regions.ts";

/** Every command, with the number of times that it runs. */
export function* runsOfCommands(nodes: readonly RecordedNode[], times = 1): Generator<[RecordedCommand, number]> {
  for (const node of nodes)
    if (isLoop(node)) yield* runsOfCommands(node.body, times * node.times);
    else for (const command of node.commands) yield [command, times];
}

/** What a command writes. */
export function resultOf({ op, inputs, output }: RecordedCommand): Operand | undefined {
  return output ?? inputs[op.writes?.[0] ?? 0];
}

/** Products that a command adds up: 0 unless it multiplies matrices, in whatever guise. */
export function multiplyAddsOf(command: RecordedCommand): number {
  const { op, inputs, attributes } = command;
  const result = resultOf(command);
  const types = inputs.map((operand) => operand && tensorTypeOf(operand));
  return result ? (op.multiplyAdds?.(types, attributes, tensorTypeOf(result)) ?? 0) : 0;
}

/**
 * Multiplications and additions of a command: two for each product that it adds up; of an op without products one for each
 * element of its largest operand, and none where values are only moved or chosen.
 */
export function flopsOf(command: RecordedCommand): number {
  const { op, inputs } = command;
  if (op.multiplyAdds) return 2 * multiplyAddsOf(command);
  if (op.exact) return 0;
  return Math.max(...[...inputs, resultOf(command)].map((operand) => (operand ? sizeOf(operand.shape) : 0)));
}

/**
 * Bytes that each command of a list reads and writes. What a command finds in the caches, because it runs part by part with one
 * that used it before, counts once.
 */
export function bytesMoved(commands: readonly RecordedCommand[]): number[] {
  let group: Operand[] = [];
  return commands.map((command) => {
    if (!command.joined) group = [];
    const fresh = operandsOf(command).filter((operand) => !group.some((known) => sameRegion(known, operand)));
    group.push(...fresh);
    return fresh.reduce((bytes, { shape, dtype }) => bytes + sizeOf(shape) * bytesOf(dtype), 0);
  });
}
