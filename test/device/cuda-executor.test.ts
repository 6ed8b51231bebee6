// The executor of device cuda, on the host, under sanitizers.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import { compile, hasCompiler, inFolder, sourcesIn } from "./native-programs.ts";

/** All of the executor, and the kernels that the program uses. */
const sources = [
  "native/test/cuda_executor.cpp",
  ...["native/core", "native/cuda", "native/cuda/persistent", "native/cuda/discovery", "native/cuda/host"].flatMap(
    (folder) => sourcesIn(folder, ".cpp"),
  ),
  "native/cpu/processors.cpp",
  "native/cpu/thread_pool.cpp",
  ...["-x", "c++"],
  ...["chain", "fill", "persistent", "steps"].map((name) => `native/cuda/kernels/${name}.cu`),
];

describe("cuda executor on the host", function () {
  this.timeout(600_000);

  before(function () {
    if (!hasCompiler()) this.skip();
  });

  for (const sanitizer of ["thread", "address,undefined"])
    it(`passes its checks under -fsanitize=${sanitizer}`, function () {
      inFolder((folder) => {
        const program = join(folder, "cuda_executor");
        const options = ["-O1", "-g1", `-fsanitize=${sanitizer}`, "-fno-sanitize-recover=undefined"];
        compile(sources, program, [...options, "-DLANGEVIN_CUDA=1", "-DLANGEVIN_CUDA_HOST=1"]);
        const result = spawnSync(program, { encoding: "utf8" });
        // Some kernels of Linux lay out memory as the thread sanitizer cannot bear.
        if (result.stderr.includes("unexpected memory mapping")) this.skip();
        expect(result.status, result.stdout + result.stderr).to.equal(0);
        expect(result.stdout).to.match(/^ok .*devices end in the middle of work$/m);
      });
    });
});
