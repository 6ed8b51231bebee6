// Commands whose kernels and memory have been found, so that all that is left is to run them.

import { DeviceError, showShape } from "../../errors/index.ts";
import type { AnyAttributes, AnyOp } from "../../ops/index.ts";
import { sizeOf } from "../../ops/index.ts";
import type { Command, Operand } from "../executor.ts";
import type { BufferTable } from "./buffers.ts";
import type { Kernel, View } from "./view.ts";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- attributes are contravariant in kernels
export type AnyKernel = Kernel<any>;

/** A command on typed arrays. It may run after its buffers were released, and before others use their memory. */
export interface BoundCommand {
  readonly op: AnyOp;
  readonly kernel: AnyKernel;
  /** The output; for an in-place op the first written input. */
  readonly target: View;
  readonly inputs: readonly (View | undefined)[];
  readonly attributes: AnyAttributes;
  /** Runs part by part with the command before it. */
  readonly joined: boolean;
}

/** A bound command with attributes of its own. */
export interface OwnCommand extends BoundCommand {
  readonly attributes: Record<string, AnyAttributes[string]>;
}

export function execute({ kernel, target, inputs, attributes }: BoundCommand): void {
  if (target.rows * target.cols > 0) kernel(target, inputs, attributes);
}

/** Finds kernels and memory, and refuses commands without. */
export class Binder {
  readonly #kernels: Readonly<Record<string, AnyKernel>>;
  readonly #buffers: BufferTable;

  constructor(kernels: Readonly<Record<string, AnyKernel>>, buffers: BufferTable) {
    this.#kernels = kernels;
    this.#buffers = buffers;
  }

  bind({ op, attributes, inputs, output, joined = false }: Command): BoundCommand {
    const kernel = this.#kernels[op.name];
    if (!kernel) throw new DeviceError({ op: op.name, problem: "the ts executor has no kernel for it." });
    const written = op.writes ? inputs[op.writes[0]] : output;
    if (!written) throw new DeviceError({ op: op.name, problem: "the command has no output." });
    const views = inputs.map((operand) => operand && this.view(op.name, operand));
    const target = op.writes ? views[op.writes[0]]! : this.view(op.name, written);
    return { op, kernel, target, inputs: views, attributes, joined };
  }

  /** The same for a command that runs later, by when the caller may have changed the attributes and lists in them. */
  bindForLater(command: Command): OwnCommand {
    const attributes = { ...command.attributes };
    for (const [name, value] of Object.entries(attributes))
      if (typeof value === "object") attributes[name] = [...value];
    return { ...this.bind(command), attributes };
  }

  /** The memory of an operand; `op` is what an error names. */
  view(op: string, { buffer, offset, shape, pitch, dtype }: Operand): View {
    if (dtype === "bfloat16")
      throw new DeviceError({ op, problem: "an operand is stored in bfloat16, which the ts executor does not have." });
    const data = this.#buffers.elements(op, buffer, dtype);
    const cols = shape.length === 0 ? 1 : shape[shape.length - 1];
    const rows = shape.length === 0 ? 1 : sizeOf(shape.slice(0, -1));
    const end = rows * cols === 0 ? offset : offset + (rows - 1) * pitch + cols;
    const valid = Number.isInteger(offset) && Number.isInteger(pitch) && offset >= 0 && (rows <= 1 || pitch >= cols);
    if (!valid || end > data.length)
      throw new DeviceError({
        op,
        problem: `an operand ${showShape(shape)} at ${offset} with pitch ${pitch} lies outside buffer ${buffer} of ${data.length} ${dtype} elements.`,
      });
    return { data, offset, shape, pitch, dtype, rows, cols };
  }
}
