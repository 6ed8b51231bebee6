// What the executors `cpu` and `cuda` share: they hand commands to the queue of a device of the addon.

import { DeviceError } from "../../errors/index.ts";
import type { AnyOp, DType } from "../../ops/index.ts";
import type {
  BufferId,
  Command,
  DeviceName,
  ElementArray,
  Executor,
  MemoryStats,
  Program,
  Precision,
  ProgramId,
  Replay,
  ReplayOptions,
} from "../executor.ts";
import type { Addon, NativeDevice } from "./addon.ts";
import { expectPrecision } from "../executor.ts";
import { CommandEncoder } from "./encode.ts";

/** An error of the addon as one of this library's; the addon's errors carry `op` and `problem`. */
function deviceError(error: unknown): unknown {
  const { op, problem } = error as { op?: unknown; problem?: unknown };
  return typeof op === "string" && typeof problem === "string"
    ? new DeviceError({ op, problem: `${problem}.`, cause: error })
    : error;
}

/** Calls the addon, and throws its errors as this library's. */
export function asDeviceError<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw deviceError(error);
  }
}

/** Runs commands on the queue of one device of the addon. */
export abstract class NativeExecutor implements Executor {
  abstract readonly name: DeviceName;
  readonly threads: number;
  readonly precisions: readonly Precision[] = ["float32"];
  readonly #addon: Addon;
  readonly #device: NativeDevice;
  readonly #encoder: CommandEncoder;

  /** `codes` are the op codes of the device's kernels. */
  constructor(addon: Addon, device: NativeDevice, codes: ReadonlyMap<AnyOp, number>) {
    this.#addon = addon;
    this.#device = device;
    this.#encoder = new CommandEncoder(codes);
    this.threads = addon.threadCount(device);
  }

  supports(dtype: DType): boolean {
    return dtype !== "float64";
  }

  allocate(bytes: number): BufferId {
    return asDeviceError(() => this.#addon.allocate(this.#device, bytes));
  }

  release(buffer: BufferId): void {
    asDeviceError(() => this.#addon.release(this.#device, buffer));
  }

  submit(commands: readonly Command[]): void {
    this.#encoder.encode(commands);
    try {
      this.#addon.submit(this.#device, this.#encoder.words, this.#encoder.count);
    } catch (error) {
      throw deviceError(error);
    }
  }

  write(buffer: BufferId, byteOffset: number, source: ElementArray): void {
    asDeviceError(() => this.#addon.write(this.#device, buffer, byteOffset, source));
  }

  /** The target must not be transferred to another thread before the promise is settled. */
  async read(buffer: BufferId, byteOffset: number, target: ElementArray): Promise<void> {
    try {
      await this.#addon.read(this.#device, buffer, byteOffset, target);
    } catch (error) {
      throw deviceError(error);
    }
  }

  readSync(buffer: BufferId, byteOffset: number, target: ElementArray): void {
    asDeviceError(() => this.#addon.readSync(this.#device, buffer, byteOffset, target));
  }

  async synchronize(): Promise<void> {
    try {
      await this.#addon.synchronize(this.#device);
    } catch (error) {
      throw deviceError(error);
    }
  }

  memory(): MemoryStats {
    return this.#addon.memory(this.#device);
  }

  load(program: Program): ProgramId {
    expectPrecision("load", this, program.precision ?? "float32");
    const layout = this.#encoder.encodeProgram(program);
    return asDeviceError(() => this.#addon.load(this.#device, this.#encoder.words, this.#encoder.count, layout));
  }

  describe(program: ProgramId): string {
    return asDeviceError(() => this.#addon.describe(this.#device, program));
  }

  unload(program: ProgramId): void {
    asDeviceError(() => this.#addon.unload(this.#device, program));
  }

  /** Throws DeviceError for values that do not fit the program, and where one of its buffers was released. */
  run(program: ProgramId, values: Float64Array): void {
    asDeviceError(() => this.#addon.run(this.#device, program, values));
  }

  /**
   * Throws like `run`. The process stays alive until the end. Values stay in their places: what a list without slots of
   * its own finds there may come from an earlier replay. What `onProgress` throws is an uncaught exception; the replay
   * goes on. `reports` must not be transferred to another thread before the end.
   */
  replay(program: ProgramId, options: ReplayOptions): Replay {
    const { steps, values, reports, onProgress } = options;
    const { id, ended } = asDeviceError(() =>
      this.#addon.replay(this.#device, program, steps, values, reports, onProgress),
    );
    return { ended, stop: () => this.#addon.stop(id) };
  }
}
