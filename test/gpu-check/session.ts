// What the parts of gpu-check share: the devices that are compared, how much of each part is run, and what is to be told.

import type { Executor } from "../../ts/device/executor.ts";
import type { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";

/** A result that is not what it should be: the check ends there. */
export class WrongAnswer extends Error {}

/** The op that an error names because it has no CUDA kernel; undefined for any other error. */
export function missingKernelIn(problem: string): string | undefined {
  return /(\w+): this op has no CUDA kernel yet/.exec(problem)?.[1];
}

/** The most that this GPU does, as the program of native/test/gpu measures it. */
export interface Ceilings {
  readonly device: string;
  readonly multiprocessors: number;
  /** 10^9 bytes in a second, read and written, of a copy in memory. */
  readonly copyGbps: number;
  /** 10^12 multiplications and additions in a second of bf16 products; 0 where the GPU has none. */
  readonly bf16Tflops: number;
  /** Microseconds from one empty kernel to the next in a graph. */
  readonly launchUs: number;
}

/** A line of the table at the end. */
export interface Row {
  readonly workload: string;
  /** Seconds below which the GPU cannot come; undefined where its ceilings are not known. */
  readonly limit: number | undefined;
  /** Seconds of a call. */
  readonly ours: number;
  /** Largest difference from device cpu, relative to the largest value; undefined where only the time was taken. */
  readonly error: number | undefined;
}

/** One run of gpu-check. */
export interface Session {
  readonly cuda: CudaExecutor;
  readonly cpu: Executor;
  /** Decides the shapes and values that are drawn. */
  readonly seed: number;
  /** Whether kernels run on the host, for tests of this program: then everything is small. */
  readonly reduced: boolean;
  /** Milliseconds since the epoch (`Date.now`) at which no part is begun any more. */
  readonly deadline: number;
  say(text: string): void;
  /** Notes what was not done, and why. */
  leaveOut(what: string, why: string): void;
  ceilings?: Ceilings;
  readonly rows: Row[];
}

/** One thing that gpu-check does. Throws WrongAnswer at the first wrong result. */
export interface Part {
  readonly title: string;
  run(session: Session): Promise<void>;
}
