// The executor `cpu`: hands commands to the addon's queue, which runs its vectorised kernels on a thread of its own.

import { ArgumentError, LangevinError } from "../../errors/index.ts";
import type { AnyOp } from "../../ops/index.ts";
import { opList } from "../../ops/index.ts";
import type { Addon } from "./addon.ts";
import { loadAddon } from "./addon.ts";
import { matchKernels } from "./encode.ts";
import { NativeExecutor, asDeviceError } from "./native-executor.ts";

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

/** The addon's kernels. Fails where LANGEVIN_ISA asks for what is not there: then no other device may be chosen quietly. */
function kernelsOf(addon: Addon): { name: string; signature: string }[] {
  try {
    return addon.kernels();
  } catch (error) {
    const { problem } = error as { problem?: string };
    throw new LangevinError({ op: "CpuExecutor", problem: `${problem ?? String(error)}.`, cause: error });
  }
}

/** Runs commands on the CPU, on a thread of the addon's and a pool beside it. */
export class CpuExecutor extends NativeExecutor {
  readonly name = "cpu";

  constructor(options: CpuExecutorOptions = {}) {
    const threads =
      options.threads === undefined ? threadsFromEnvironment() : checkThreads("CpuExecutor.threads", options.threads);
    const addon = options.addon ?? loadAddon().addon;
    const codes = matchKernels(options.records ?? opList, kernelsOf(addon));
    super(
      addon,
      asDeviceError(() => addon.openDevice(threads ?? 0)),
      codes,
    );
  }
}

/** Opens the device with this package's addon. Throws DeviceError where there is none. */
export function openCpuExecutor(): CpuExecutor {
  return new CpuExecutor();
}
