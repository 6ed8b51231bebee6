// The machine's limits, measured by limits.cpp, and how long a workload would take if it did nothing but reach them.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Cost } from "../workloads/workload.ts";

/** What a number of threads can do at most. */
export interface Limits {
  /** Float32 multiply-adds, two for each: 10^9 in a second. */
  readonly gflops: number;
  /** 10^9 bytes in a second, read and written in arrays of so many bytes together, smaller ones first. */
  readonly memory: readonly { readonly bytes: number; readonly gbps: number }[];
}

/** The compilers to try, the one that the user names first. */
const compilers = [process.env.CXX, "c++", "g++", "clang++"].filter(
  (name) => name !== undefined && name !== "",
) as string[];

/** Measures them, for each number of threads; throws where nothing compiles the program. */
export function measureLimits(threads: readonly number[]): Map<number, Limits> {
  const folder = mkdtempSync(join(tmpdir(), "langevin-limits-"));
  try {
    const program = join(folder, "limits");
    const flags = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"];
    const args = [...flags, join(import.meta.dirname, "limits.cpp"), "-o", program];
    if (!compilers.some((compiler) => spawnSync(compiler, args).status === 0))
      throw new Error(`none of ${compilers.join(", ")} compiles bench/floor/limits.cpp here`);
    return new Map(
      threads.map((count) => {
        const { stdout } = spawnSync(program, [`${count}`], { encoding: "utf8" });
        return [count, JSON.parse(stdout) as Limits];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Seconds below which a call cannot come: its arithmetic at full speed, or its bytes if they take longer. */
export function floorOf({ flops, bytes, steps = 1 }: Cost, { gflops, memory }: Limits): number {
  // A step whose bytes fit in a cache moves them at the cache's speed.
  const { gbps } = memory.find((arrays) => arrays.bytes >= bytes / steps) ?? memory[memory.length - 1];
  return Math.max(flops / gflops, bytes / gbps) / 1e9;
}
