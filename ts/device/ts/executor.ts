// The executor in plain TypeScript: the oracle of every test, and the fallback where nothing is compiled.

import { DeviceError, showShape } from "../../errors/index.ts";
import type { AnyOp } from "../../ops/index.ts";
import { opList, sizeOf } from "../../ops/index.ts";
import type { BufferId, Command, ElementArray, Executor, MemoryStats, Operand } from "../executor.ts";
import { BufferTable } from "./buffers.ts";
import { kernels as ownKernels } from "./kernels/index.ts";
import type { Kernel, View } from "./view.ts";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- attributes are contravariant in kernels
type AnyKernel = Kernel<any>;

/** Runs commands on the calling thread as they are submitted. */
export class TsExecutor implements Executor {
  readonly name = "ts";
  readonly threads = 1;
  readonly #buffers = new BufferTable();
  readonly #kernels: Readonly<Record<string, AnyKernel>>;

  /** Refuses a table of kernels that does not fit the list of ops. */
  constructor(kernels: Readonly<Record<string, AnyKernel>> = ownKernels, ops: readonly AnyOp[] = opList) {
    expectSameNames(Object.keys(kernels), ops);
    this.#kernels = kernels;
  }

  supports(): boolean {
    return true;
  }

  allocate(bytes: number): BufferId {
    return this.#buffers.allocate(bytes);
  }

  release(buffer: BufferId): void {
    this.#buffers.release(buffer);
  }

  submit(commands: readonly Command[]): void {
    for (const command of commands) this.#run(command);
  }

  write(buffer: BufferId, byteOffset: number, source: ElementArray): void {
    this.#buffers.write(buffer, byteOffset, source);
  }

  async read(buffer: BufferId, byteOffset: number, target: ElementArray): Promise<void> {
    this.#buffers.read(buffer, byteOffset, target);
  }

  readSync(buffer: BufferId, byteOffset: number, target: ElementArray): void {
    this.#buffers.read(buffer, byteOffset, target);
  }

  /** Nothing is ever pending, but work was done on this thread: the event loop gets a turn, for timers and aborts. */
  synchronize(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  memory(): MemoryStats {
    return this.#buffers.stats();
  }

  #run({ op, attributes, inputs, output }: Command): void {
    const kernel = this.#kernels[op.name];
    if (!kernel) throw new DeviceError({ op: op.name, problem: "the ts executor has no kernel for it." });
    const written = op.writes ? inputs[op.writes[0]] : output;
    if (!written) throw new DeviceError({ op: op.name, problem: "the command has no output." });
    const views = inputs.map((operand) => operand && this.#view(op.name, operand));
    const target = op.writes ? views[op.writes[0]]! : this.#view(op.name, written);
    if (sizeOf(target.shape) > 0) kernel(target, views, attributes);
  }

  #view(op: string, { buffer, offset, shape, pitch, dtype }: Operand): View {
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

function expectSameNames(kernels: readonly string[], ops: readonly AnyOp[]): void {
  const expected = new Set(ops.filter((op) => !op.view).map((op) => op.name));
  const missing = [...expected].filter((name) => !kernels.includes(name));
  const extra = kernels.filter((name) => !expected.has(name));
  if (missing.length > 0 || extra.length > 0)
    throw new DeviceError({
      op: "TsExecutor",
      problem: `kernels do not fit the ops: missing [${missing.join(", ")}], without an op [${extra.join(", ")}].`,
      advice: "Every op that is no view needs one kernel in ts/device/ts/kernels/index.ts.",
    });
}
