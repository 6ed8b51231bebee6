// The executors that tests run ops on; where nothing is compiled, tests of the native one are skipped with the reason.

import { existsSync } from "node:fs";

import type { Executor } from "../../ts/device/executor.ts";
import { addonCandidates, packageRoot } from "../../ts/device/native/addon.ts";
import { CpuExecutor } from "../../ts/device/native/cpu-executor.ts";
import { openCudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { TsExecutor } from "../../ts/device/ts/executor.ts";

export interface Subject {
  readonly name: string;
  readonly float: "float32" | "float64";
  /** Opens the executor on first use; throws if it does not work. */
  readonly open: () => Executor;
  /** Why it is not there at all. */
  readonly absent: string | undefined;
}

function once(create: () => Executor): () => Executor {
  let executor: Executor | undefined;
  return () => (executor ??= create());
}

/** Undefined if an addon was built, however badly: then its tests run and fail. */
const addonAbsent = addonCandidates(packageRoot()).some(({ path }) => existsSync(path))
  ? undefined
  : "the native addon is not built";

export function cpuSubject(threads: number): Subject {
  return {
    name: `cpu float32, ${threads} thread${threads === 1 ? "" : "s"}`,
    float: "float32",
    open: once(() => new CpuExecutor({ threads })),
    absent: addonAbsent,
  };
}

/** The reference: double arithmetic throughout. */
export const oracle: Subject = {
  name: "ts float64",
  float: "float64",
  open: once(() => new TsExecutor()),
  absent: undefined,
};

/**
 * Device "cuda" by an addon whose kernels run on the host, which `npm run test:cuda-host` builds and names. Without that
 * there is nothing to say of it.
 */
export const cudaHost: Subject | undefined = process.env.LANGEVIN_CUDA_ADDON
  ? { name: "cuda on the host", float: "float32", open: once(openCudaExecutor), absent: undefined }
  : undefined;

/** What is compared with the reference: the executors, or the CUDA one alone where that is what is tested. */
export const subjects: readonly Subject[] = cudaHost
  ? [cudaHost]
  : [{ name: "ts float32", float: "float32", open: once(() => new TsExecutor()), absent: undefined }, cpuSubject(2)];

/** Opens a block of tests of a subject; where it is absent, one skipped test says why. */
export function describeSubject(subject: Subject, tests: () => void): void {
  describe(subject.name, () => {
    if (subject.absent) it.skip(`skipped: ${subject.absent}`);
    else tests();
  });
}
