// The native core under sanitizers, and the noise's formulas on all of their inputs.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { compile, hasCompiler, inFolder } from "./native-programs.ts";

const core = [
  "native/test/core.cpp",
  ...["allocator", "decode", "device", "queue", "registry", "scratch"].map((name) => `native/core/${name}.cpp`),
  "native/cpu/thread_pool.cpp",
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

  for (const { isa, flags, needs } of instructionSets)
    it(`has the same bits for every input in ${isa} vectors and scalars`, function () {
      if (!supports(needs)) this.skip();
      inFolder((folder) => {
        const program = join(folder, "noise_bits");
        compile(["native/test/noise_bits.cpp"], program, ["-O3", ...flags, `-DLANGEVIN_ISA=${isa}`]);
        const result = spawnSync(program, { encoding: "utf8" });
        // The checksum over all inputs stands for the noise that seeds of the past have drawn.
        expect(result.stdout).to.equal("114c3b6621c7072b 0\n");
      });
    });
});
