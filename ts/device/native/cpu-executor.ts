// The executor `cpu`: hands commands to the addon's queue, which runs its vectorised kernels on a thread of its own.

import { ArgumentError, DeviceError, LangevinError } from "../../errors/index.ts";
import type { AnyOp, DType } from "../../ops/index.ts";
import { opList } from "../../ops/index.ts";
import type {
  BufferId,
  Command,
  ElementArray,
  Executor,
  MemoryStats,
  Program,
  ProgramId,
  Replay,
  ReplayOptions,
} from "../executor.ts";
import type { Addon, NativeDevice } from "./addon.ts";
import { loadAddon } from "./addon.ts";
import { CommandEncoder, matchKernels } from "./encode.ts";

/** What the executor may be given; tests put their own in place. */
export interface CpuExecutorOptions {
  /** Threads for kernels; default: LANGEVIN_THREADS, else as many as there are processors. Results do not depend on it. */
  readonly threads?: number;
  readonly addon?: Addon;
  /** The instruction set; each op in it needs a kernel. */
  readonly records?: readonly AnyOp[];
}

const maxThreads = 1024;

/** The number of threads that LANGEVIN_THREADS asks for; undefined where it is not set. */
export function threadsFromEnvironment(environment: NodeJS.ProcessEnv = process.env): number | undefined {
  const text = environment.LANGEVIN_THREADS;
  return text === undefined || text === "" ? undefined : checkThreads("LANGEVIN_THREADS", text);
}

function checkThreads(name: string, value: number | string): number {
  const threads = typeof value === "number" ? value : /^\d+$/.test(value.trim()) ? Number(value) : NaN;
  if (Number.isInteger(threads) && threads >= 1 && threads <= maxThreads) return threads;
  throw new ArgumentError({
    op: name,
    problem: `is ${JSON.stringify(value)}.`,
    advice: `Expected a whole number of threads from 1 to ${maxThreads}.`,
  });
}

/** An error of the addon as one of this library's; the addon's errors carry `op` and `problem`. */
function deviceError(error: unknown): unknown {
  const { op, problem } = error as { op?: unknown; problem?: unknown };
  return typeof op === "string" && typeof problem === "string"
    ? new DeviceError({ op, problem: `${problem}.`, cause: error })
    : error;
}

function asDeviceError<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw deviceError(error);
  }
}

/** The addon's kernels. Fails where LANGEVIN_ISA asks for what is not there: then no other device may be chosen quietly. */
function kernelsOf(addon: Addon): { name: string; signature: string }[] {
  try {
    return addon.kernels();
  } catch (error) {
    const { problem } = error as { problem?: string };
    throw new LangevinError({ op: "CpuExecutor", problem: `${problem ?? String(error)}.`, cause: error });
  }
}

/** Runs commands on the queue of one device of the addon. */
export class CpuExecutor implements Executor {
  readonly name = "cpu";
  readonly threads: number;
  readonly #addon: Addon;
  readonly #device: NativeDevice;
  readonly #encoder: CommandEncoder;

  constructor(options: CpuExecutorOptions = {}) {
    const threads =
      options.threads === undefined ? threadsFromEnvironment() : checkThreads("CpuExecutor.threads", options.threads);
    this.#addon = options.addon ?? loadAddon().addon;
    this.#encoder = new CommandEncoder(matchKernels(options.records ?? opList, kernelsOf(this.#addon)));
    this.#device = asDeviceError(() => this.#addon.openDevice(threads ?? 0));
    this.threads = this.#addon.threadCount(this.#device);
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
    const layout = this.#encoder.encodeProgram(program);
    return asDeviceError(() => this.#addon.load(this.#device, this.#encoder.words, this.#encoder.count, layout));
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

/** Opens the device with this package's addon. Throws DeviceError where there is none. */
export function openCpuExecutor(): CpuExecutor {
  return new CpuExecutor();
}
