// Builds the addon whose CUDA kernels run on the host and runs the tests of device "cuda" through it, in processes of
// their own: what `npm run test:cuda-host` does.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import { packageRoot } from "../../ts/device/native/addon.ts";
import { hasCompiler } from "./native-programs.ts";

describe("device cuda on the host", function () {
  this.timeout(1_800_000);

  it("passes its tests", function () {
    const hasCMake = spawnSync("cmake", ["--version"], { stdio: "ignore" }).status === 0;
    if (process.env.LANGEVIN_CUDA_ADDON || !hasCompiler() || !hasCMake) this.skip();
    const script = join(packageRoot(), "test", "cuda-host.mjs");
    const start = performance.now();
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8", maxBuffer: 1 << 28 });
    const failures = stdout.slice(Math.max(0, stdout.search(/^ {2}\d+ failing$/m)));
    expect(status, failures.slice(-20_000) + stderr).to.equal(0);
    const closing = /^(\d+) passed, 0 failed(, \d+ skipped)?$/m.exec(stdout);
    expect(Number(closing?.[1]), stdout.slice(-1000)).to.be.above(9_000);
    console.log(`      (${closing![0]}, in ${((performance.now() - start) / 60_000).toFixed(1)} minutes)`);
  });
});
