// The cpu kernels that work element by element, reduce, move, draw or work along an axis: native/test/elementwise_check.cpp
// and axis_check.cpp in every instruction set.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import type { InstructionSet } from "./instruction-sets.ts";
import { instructionSets, isSupported } from "./instruction-sets.ts";
import { compile, hasCompiler, inFolder } from "./native-programs.ts";

/** The programs, and the kernels that each checks. */
const programs = {
  elementwise: [
    "activations",
    "arithmetic",
    "diffusion",
    "functions",
    "loss",
    "noise",
    "reduce",
    "selection",
    "shape",
    "update",
  ],
  axis: ["cumulative", "group_norm", "indexing", "layer_norm", "softmax"],
};
type Program = keyof typeof programs;

const core = [
  "native/core/scratch.cpp",
  "native/cpu/context.cpp",
  "native/cpu/parts.cpp",
  "native/cpu/processors.cpp",
  "native/cpu/thread_pool.cpp",
];

/** Compiles and runs the checks; returns the checksum of all results. */
function check(program: Program, { isa, flags }: InstructionSet, options: readonly string[]): string {
  const kernels = programs[program].map((name) => `native/cpu/kernels/${name}.cpp`);
  return inFolder((folder) => {
    const [object, executable] = ["check.o", "check"].map((name) => join(folder, name));
    const set = [`-DLANGEVIN_ISA=${isa}`, ...flags];
    // The check itself needs no sanitizer: its arrays lie on the heap, where the kernels' accesses are seen all the same.
    compile([`native/test/${program}_check.cpp`], object, ["-c", "-O1", ...set]);
    compile([object, ...core, ...kernels], executable, [...set, ...options]);
    const result = spawnSync(executable, { encoding: "utf8" });
    expect(result.status, result.stdout + result.stderr).to.equal(0);
    return /^checksum (\w+)$/m.exec(result.stdout)![1];
  });
}

for (const program of Object.keys(programs) as Program[])
  describe(`${program} kernels on the cpu`, function () {
    this.timeout(300_000);
    const sets = instructionSets.filter(isSupported);
    const checksums = new Map<string, string>();

    before("needs a C++ compiler", function () {
      if (!hasCompiler()) this.skip();
    });

    // The baseline's partial vectors are plain loops: there a sanitizer sees every element.
    const sanitizers = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"];
    for (const set of sets) {
      const sanitized = set.isa === "baseline";
      it(`${set.isa}: results, sentinels, any number of threads${sanitized ? ", under sanitizers" : ""}`, () => {
        checksums.set(set.isa, check(program, set, sanitized ? sanitizers : ["-O2"]));
      });
    }

    it("every instruction set gives the same bits", () => {
      expect([...checksums.keys()]).to.deep.equal(sets.map(({ isa }) => isa));
      expect(new Set(checksums.values())).to.have.lengthOf(1);
    });
  });
