// gpu-check goes through all of its parts, with kernels that run on the host and small cases.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { openDevice } from "../../ts/device/devices.ts";
import type { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { openCudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { goldenSuites } from "../gpu-check/models.ts";
import type { Ceilings, Session } from "../gpu-check/session.ts";
import { timings } from "../gpu-check/timings.ts";
import { cpuIsBuilt, useDevice } from "../tensor/devices.ts";

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
      expect(stdout).to.match(/^\d{3,} cases passed, eagerly or as plans, 0 are of kinds that are not supported$/m);
      expect(stdout).to.match(/^\| workload +\| limit \| +ours \| multiple \| +error \|$/m);
      expect(stdout).to.match(/^50 steps, from \S+ to \S+, at most \S+ apart$/m);
      for (const row of [
        "W1 ms_per_train_step",
        "W2-b1 s_total_1000_steps",
        "W3 ms_per_step",
        "W4-train-b1 ms_per_train_step",
      ])
        expect(stdout).to.match(new RegExp(`^\\| ${row} +\\|`, "m"));
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

  describe("its parts", () => {
    before(function () {
      if (!process.env.LANGEVIN_CUDA_ADDON || !cpuIsBuilt) this.skip();
    });
    useDevice("cuda");

    /** A session on the host, and the names of what its parts leave out. */
    const sessionUntil = (deadline: number, ceilings?: Ceilings): { session: Session; leftOut: string[] } => {
      const leftOut: string[] = [];
      const session: Session = {
        cuda: openDevice("cuda") as CudaExecutor,
        cpu: openDevice("cpu"),
        seed: 5,
        reduced: true,
        deadline,
        say: () => undefined,
        leaveOut: (what) => leftOut.push(what),
        ceilings,
        rows: [],
      };
      return { session, leftOut };
    };

    it("set times beside the limits of the device", async () => {
      const device = { device: "made up", multiprocessors: 2, launchUs: 1 };
      const { session } = sessionUntil(Infinity, { ...device, copyGbps: 1e-3, bf16Tflops: 1e-9 });
      await timings.run(session);
      const limits = session.rows.map(({ limit }) => limit);
      expect(limits).to.have.length.above(4);
      for (const limit of limits) expect(limit).to.be.a("number").above(0);
      // 135,473 parameters whose gradients take two products each, for one image: 10^5 to 10^8 operations at 1 kFLOP/s.
      expect(limits[0]).to.be.within(1e2, 1e5);
      await timings.run({ ...session, ceilings: undefined, deadline: 0 });
      expect(session.rows).to.have.length(limits.length);
    });

    it("begin nothing when the time is over, and say so", async () => {
      const { session, leftOut } = sessionUntil(0);
      await goldenSuites.run(session);
      await timings.run(session);
      expect(session.rows).to.deep.equal([]);
      expect(leftOut).to.include("timing of W1");
      expect(leftOut.filter((what) => what.startsWith("golden suite "))).to.have.length.above(4);
    });
  });
});
