// The instruction sets that kernels are compiled for: their flags, and whether this processor has them.

import { readFileSync } from "node:fs";
import { arch } from "node:os";

/** One of the sets in CMakeLists.txt. */
export interface InstructionSet {
  readonly isa: string;
  readonly flags: readonly string[];
  /** Features as /proc/cpuinfo names them. */
  readonly needs: readonly string[];
}

/** All of them, best last. */
export const instructionSets: readonly InstructionSet[] = [
  { isa: "baseline", flags: [], needs: [] },
  { isa: "avx2", flags: ["-mavx2", "-mfma"], needs: ["avx2", "fma"] },
  {
    isa: "avx512",
    flags: ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
    needs: ["avx512f", "avx512dq", "avx512bw", "avx512vl"],
  },
];

/** Whether this processor has the set; true only for the baseline where that cannot be told. */
export function isSupported({ needs }: InstructionSet): boolean {
  const readable = arch() === "x64" && process.platform === "linux";
  const cpuinfo = readable ? readFileSync("/proc/cpuinfo", "utf8") : "";
  const features = new Set(/^flags\s*:(.*)$/m.exec(cpuinfo)?.[1].trim().split(/\s+/));
  return needs.every((feature) => features.has(feature));
}
