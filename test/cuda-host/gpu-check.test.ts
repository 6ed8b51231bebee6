// gpu-check goes through all of its parts, with kernels that run on the host and small cases.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { openCudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { cpuIsBuilt } from "../tensor/devices.ts";

describe("gpu-check with kernels on the host", function () {
  this.timeout(300_000);

  it("ends with its table, and with what was not run", function () {
    const addon = process.env.LANGEVIN_CUDA_ADDON;
    if (!addon || !cpuIsBuilt) this.skip();
    const { missing } = openCudaExecutor();
    const folder = mkdtempSync(join(tmpdir(), "langevin-test-"));
    try {
      const script = join(packageRoot(), "scripts", "gpu-check.mjs");
      const args = [script, "--host-addon", addon, "--seed", "5", "--save", folder];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
      expect(stderr).to.equal("");
      expect(stdout).to.match(/^\d+ ops, \d+ cases, \d+ of them in new shapes \(seed 5\)$/m);
      expect(stdout).to.match(/^\d{2,} cases passed, \d+ are of kinds that are not supported$/m);
      expect(stdout).to.match(/^\| workload +\| limit \| +ours \| multiple \| +error \|$/m);
      expect(stdout).to.match(/^\| W3 ms_per_step +\|/m);
      expect(stdout).to.match(/^Not run: .*memcheck, racecheck, initcheck, synccheck \(kernels run on the host\)/m);
      expect(stdout).not.to.contain("WRONG");
      for (const { name } of missing)
        expect(stdout).to.match(new RegExp(`^Ops without CUDA kernels: .*\\b${name}\\b`, "m"));
      expect(status).to.equal(missing.length > 0 ? 1 : 0);
      const [saved] = readdirSync(folder);
      expect(saved).to.match(/^\d{4}-\d\d-\d\d-gpu-check-[a-z0-9-]+\.md$/);
      expect(readFileSync(join(folder, saved), "utf8")).to.contain("| workload");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
