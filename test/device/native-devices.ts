// The device of the addon that tests of its queue and programs run on: `cpu`, or `cuda` on the host where
// `npm run test:cuda-host` names an addon for that.

import type { Addon } from "../../ts/device/native/addon.ts";
import { loadAddon, loadCudaAddon } from "../../ts/device/native/addon.ts";
import { CpuExecutor } from "../../ts/device/native/cpu-executor.ts";
import { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import type { NativeExecutor } from "../../ts/device/native/native-executor.ts";
import { cpuIsBuilt } from "../tensor/devices.ts";

const cudaAddon = process.env.LANGEVIN_CUDA_ADDON;

export interface NativeDevices {
  readonly name: "cpu" | "cuda";
  readonly isBuilt: boolean;
  /** The file of the addon. */
  path(): string;
  addon(): Addon;
  open(options?: { addon?: Addon }): NativeExecutor;
  /** A device of the addon and its kernels, as expressions of JavaScript in which it is called `addon`. */
  readonly device: string;
  readonly kernels: string;
}

export const native: NativeDevices = cudaAddon
  ? {
      name: "cuda",
      isBuilt: true,
      path: () => cudaAddon,
      addon: loadCudaAddon,
      open: (options) => new CudaExecutor(options),
      device: "addon.openCuda()",
      kernels: "addon.cudaKernels()",
    }
  : {
      name: "cpu",
      isBuilt: cpuIsBuilt,
      path: () => loadAddon().path,
      addon: () => loadAddon().addon,
      open: (options) => new CpuExecutor({ threads: 2, ...options }),
      device: "addon.openDevice(2)",
      kernels: "addon.kernels()",
    };
