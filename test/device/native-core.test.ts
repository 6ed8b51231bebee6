// The native core under sanitizers, and the noise's formulas on all of their inputs.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import { instructionSets, isSupported } from "./instruction-sets.ts";
import { compile, hasCompiler, inFolder } from "./native-programs.ts";

const core = [
  "native/test/core.cpp",
  ...["allocator", "decode", "device", "finite", "program", "queue", "registry", "replay", "scratch", "stepwise"].map(
    (name) => `native/core/${name}.cpp`,
  ),
  "native/cpu/context.cpp",
  "native/cpu/cpu_backend.cpp",
  "native/cpu/processors.cpp",
  "native/cpu/thread_pool.cpp",
];

describe("native core", function () {
  this.timeout(300_000);

  before(function () {
    if (!hasCompiler()) this.skip();
  });

  for (const sanitizer of ["thread", "address,undefined"])
    it(`passes its checks under -fsanitize=${sanitizer}`, function () {
      inFolder((folder) => {
        const program = join(folder, "core");
        compile(core, program, ["-O0", "-g1", `-fsanitize=${sanitizer}`]);
        const result = spawnSync(program, {
          encoding: "utf8",
          env: {
            ...process.env,
            LANGEVIN_ISA: "baseline",
            // One check asks for more memory than there is.
            TSAN_OPTIONS: "allocator_may_return_null=1",
            ASAN_OPTIONS: "allocator_may_return_null=1",
          },
        });
        // Some kernels lay out memory as the thread sanitizer cannot bear.
        if (result.stderr.includes("unexpected memory mapping")) this.skip();
        expect(result.status, result.stdout + result.stderr).to.equal(0);
        expect(result.stdout).to.match(/^ok .*each item once, threads 5$/m);
        expect(result.stdout).to.match(/^ok .*devices end in the middle of work$/m);
      });
    });
});

describe("noise", function () {
  this.timeout(300_000);

  before(function () {
    if (!hasCompiler()) this.skip();
  });

  for (const set of instructionSets)
    it(`has the same bits for every input in ${set.isa} vectors and scalars`, function () {
      if (!isSupported(set)) this.skip();
      inFolder((folder) => {
        const program = join(folder, "noise_bits");
        compile(["native/test/noise_bits.cpp"], program, ["-O3", ...set.flags, `-DLANGEVIN_ISA=${set.isa}`]);
        const result = spawnSync(program, { encoding: "utf8" });
        // The checksum over all inputs stands for the noise that seeds of the past have drawn.
        expect(result.stdout).to.equal("114c3b6621c7072b 0\n");
      });
    });
});
