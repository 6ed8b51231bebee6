// The executor `cuda`: hands commands to the addon's queue, which launches its kernels on the first GPU.

import { DeviceError } from "../../errors/index.ts";
import type { AnyOp } from "../../ops/index.ts";
import { opList, roundToBf16 } from "../../ops/index.ts";
import type { Command, Precision, Program, ProgramId } from "../executor.ts";
import { precisions } from "../executor.ts";
import type { Addon } from "./addon.ts";
import { loadCudaAddon } from "./addon.ts";
import { matchKernels } from "./encode.ts";
import { NativeExecutor, asDeviceError } from "./native-executor.ts";

/** The instruction set, and what plans put in for this device alone. */
export const cudaRecords: readonly AnyOp[] = [...opList, roundToBf16];

/** What the executor may be given; tests put their own in place. */
export interface CudaExecutorOptions {
  readonly addon?: Addon;
  /** The instruction set. */
  readonly records?: readonly AnyOp[];
}

/** Ops, of `records`, that have no CUDA kernel in the addon yet. No device is opened for that. */
export function missingCudaKernels(addon: Addon = loadCudaAddon(), records: readonly AnyOp[] = cudaRecords): AnyOp[] {
  const names = new Set(addon.cudaKernels().map(({ name }) => name));
  return records.filter(({ name, view }) => !view && !names.has(name));
}

/** Runs commands on a GPU. A replay stops within the steps that are under way, 32 at most. */
export class CudaExecutor extends NativeExecutor {
  readonly name = "cuda";
  readonly sideBySide = true;
  override readonly precisions: readonly Precision[];
  /** Ops of the instruction set that have no CUDA kernel yet. */
  readonly missing: readonly AnyOp[];

  /** Throws DeviceError where there is no GPU that works. */
  constructor(options: CudaExecutorOptions = {}) {
    const records = options.records ?? cudaRecords;
    const addon = options.addon ?? loadCudaAddon();
    const missing = missingCudaKernels(addon, records);
    const present = records.filter((op) => !missing.includes(op));
    const device = asDeviceError(() => addon.openCuda());
    super(addon, device, matchKernels(present, addon.cudaKernels()));
    this.missing = missing;
    const hasTensorCores = addon.cuda().devices[0].major >= 8;
    this.precisions = hasTensorCores ? precisions : ["float32"];
  }

  override submit(commands: readonly Command[]): void {
    this.#expectKernels(commands);
    super.submit(commands);
  }

  override load(program: Program): ProgramId {
    for (const list of program.lists) this.#expectKernels(list);
    return super.load(program);
  }

  #expectKernels(commands: readonly Command[]): void {
    if (this.missing.length === 0) return;
    for (const { op } of commands)
      if (this.missing.includes(op))
        throw new DeviceError({
          op: op.name,
          problem: 'this op has no CUDA kernel yet, so that it does not run on device "cuda".',
          advice: 'Use device "cpu" or "ts".',
        });
  }
}

/** Opens the device with this package's addon. Throws DeviceError where it does not work. */
export function openCudaExecutor(): CudaExecutor {
  return new CudaExecutor();
}
