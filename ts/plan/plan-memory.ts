// What a plan takes of memory, and the error where that is not to be had: what the device says, and which results take most.

import { DeviceError } from "../errors/index.ts";
import { bytesOf, sizeOf } from "../ops/index.ts";
import type { RecordedCommand } from "./recorded.ts";

/** Memory of a plan, in bytes. */
export interface PlanMemory {
  /** The block that all intermediate results share. */
  readonly arena: number;
  /** What they would take one beside the other. */
  readonly separate: number;
  /** Data of the host that are the same in every step. */
  readonly constants: number;
  /** Data of the host that differ from step to step. */
  readonly tables: number;
}

/** How many results are named. */
const named = 3;

/** Bytes that the results of a plan take together, and that they would take one beside the other. */
interface Needs {
  readonly arena: number;
  readonly separate: number;
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** `conv2d [64, 32, 32, 128] of unet.conv_in, 32.0 MiB` */
function describe({ op, output, layer }: RecordedCommand): string {
  const { shape, dtype } = output!;
  const place = layer === "" ? "" : ` of ${layer}`;
  return `${op.name} [${shape.join(", ")}]${place}, ${mebibytes(sizeOf(shape) * bytesOf(dtype))}`;
}

/** The device's error with the plan's needs added; any other error as it is. */
export function withPlanMemory(error: unknown, memory: Needs, commands: readonly RecordedCommand[]): unknown {
  if (!(error instanceof DeviceError)) return error;
  const size = ({ output }: RecordedCommand): number => sizeOf(output!.shape) * bytesOf(output!.dtype);
  const largest = commands.filter(({ output }) => output).sort((a, b) => size(b) - size(a));
  const distinct = [...new Map(largest.map((command) => [command.output!.buffer, command])).values()];
  return new DeviceError({
    op: error.op,
    problem: `${error.problem} The plan shares ${mebibytes(memory.arena)} among its results (${mebibytes(memory.separate)} one beside the other); the largest: ${distinct.slice(0, named).map(describe).join("; ")}.`,
    advice: error.advice,
    cause: error,
  });
}
