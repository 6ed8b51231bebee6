// The cpu kernels for products, attention, pooling and embedding against plain loops in double precision, for each instruction set.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import { instructionSets, isSupported } from "./instruction-sets.ts";
import { compile, hasCompiler, inFolder } from "./native-programs.ts";

const program = "native/test/kernels_check.cpp";
const sources = [
  "native/core/registry.cpp",
  "native/core/scratch.cpp",
  "native/cpu/context.cpp",
  "native/cpu/parts.cpp",
  "native/cpu/processors.cpp",
  "native/cpu/thread_pool.cpp",
  ...["window", "gather_gemm", "outer_product", "conv", "matmul", "tile_product", "attention", "pool", "embedding"].map(
    (name) => `native/cpu/kernels/${name}.cpp`,
  ),
];

/** Compiles the checks for an instruction set and runs them, with so many random convolutions. */
function check(isa: string, convolutions: number, options: readonly string[]): void {
  inFolder((folder) => {
    const [object, executable] = ["check.o", "check"].map((name) => join(folder, name));
    // The check itself needs no sanitizer: its arrays lie on the heap, where the kernels' accesses are seen all the same.
    compile([program], object, ["-c", "-O2", `-DLANGEVIN_ISA=${isa}`]);
    compile([object, ...sources], executable, [`-DLANGEVIN_ISA=${isa}`, ...options]);
    const result = spawnSync(executable, [String(convolutions)], {
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

  for (const set of instructionSets)
    it(`match the definitions in ${set.isa}, bit for bit the same for any pitch, batch and number of threads`, function () {
      if (!isSupported(set)) this.skip();
      check(set.isa, 120, ["-O2", ...set.flags]);
    });

  it("stay inside of their operands (address and undefined-behaviour sanitizers)", function () {
    check("baseline", 15, ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
  });
});
