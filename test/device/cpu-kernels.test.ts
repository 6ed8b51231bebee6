// The cpu kernels for products, pooling and embedding against plain loops in double precision, for each instruction set.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { compile, hasCompiler, inFolder } from "./native-programs.ts";

const sources = [
  "native/test/kernels_check.cpp",
  "native/core/registry.cpp",
  "native/core/scratch.cpp",
  "native/cpu/thread_pool.cpp",
  ...["window", "gather_gemm", "outer_product", "conv", "matmul", "pool", "embedding"].map(
    (name) => `native/cpu/kernels/${name}.cpp`,
  ),
];

const instructionSets = [
  { isa: "baseline", flags: [], needs: [] },
  { isa: "avx2", flags: ["-mavx2", "-mfma"], needs: ["avx2", "fma"] },
  {
    isa: "avx512",
    flags: ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
    needs: ["avx512f", "avx512dq", "avx512bw", "avx512vl"],
  },
];

/** Whether this processor has the features. */
function supports(features: readonly string[]): boolean {
  if (features.length === 0) return true;
  if (arch() !== "x64" || process.platform !== "linux") return false;
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1].split(" ") ?? [];
  return features.every((feature) => flags.includes(feature));
}

/** Compiles the checks for an instruction set and runs them, with so many random convolutions. */
function check(isa: string, convolutions: number, options: readonly string[]): void {
  inFolder((folder) => {
    const program = join(folder, "kernels_check");
    compile(sources, program, [`-DLANGEVIN_ISA=${isa}`, ...options]);
    const result = spawnSync(program, [String(convolutions)], {
      encoding: "utf8",
      env: { ...process.env, LANGEVIN_ISA: isa },
    });
    expect(result.status, result.stdout + result.stderr).to.equal(0);
    expect(result.stdout).to.match(new RegExp(`^${isa}: [0-9]{4,} checks, 0 failed$`, "m"));
  });
}

describe("cpu kernels", function () {
  this.timeout(300_000);

  before(function () {
    if (!hasCompiler()) {
      console.log("      (no C++ compiler: install g++, or name one in CXX)");
      this.skip();
    }
  });

  for (const { isa, flags, needs } of instructionSets)
    it(`match the definitions in ${isa}, bit for bit the same for any pitch, batch and number of threads`, function () {
      if (!supports(needs)) this.skip();
      check(isa, 120, ["-O2", ...flags]);
    });

  it("stay inside of their operands (address and undefined-behaviour sanitizers)", function () {
    check("baseline", 15, ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
  });
});
