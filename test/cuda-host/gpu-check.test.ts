// gpu-check goes through all of its parts, with kernels that run on the host and small cases.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { openDevice } from "../../ts/device/devices.ts";
import type { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { openCudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { compile, hasCompiler, inFolder } from "../device/native-programs.ts";
import { goldenSuites } from "../gpu-check/models.ts";
import { Session } from "../gpu-check/session.ts";
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
        "W1 ms_per_train_step bf16",
        "W2-b1 s_total_1000_steps, in steps alone tf32",
        "W3 ms_per_step float32",
        "W4-train-b1 ms_per_train_step bf16",
      ])
        expect(stdout).to.match(new RegExp(`^\\| ${row} +\\|`, "m"));
      expect(stdout).to.match(/^Not run: .*memcheck, racecheck, initcheck, synccheck \(kernels run on the host\)/m);
      expect(stdout).not.to.contain("WRONG");
      for (const { name } of missing)
        expect(stdout).to.match(new RegExp(`^Ops without CUDA kernels: .*\\b${name}\\b`, "m"));
      expect(status).to.equal(missing.length > 0 ? 1 : 0);
      const [saved, progress] = readdirSync(folder).sort();
      expect(saved).to.match(/^\d{4}-\d\d-\d\d-gpu-check-[a-z0-9-]+\.md$/);
      const text = readFileSync(join(folder, saved), "utf8");
      expect(text).to.contain("| workload");
      expect(text).to.match(/^W1 ms_per_train_step bf16: [\d.]+ \w+; error \S+$/m);
      expect(progress).to.equal(saved.replace(".md", ".progress.txt"));
      expect(readFileSync(join(folder, progress), "utf8")).to.match(/^[\d.]+ s: conv2d$/m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  describe("its options", () => {
    before(function () {
      if (!process.env.LANGEVIN_CUDA_ADDON || !cpuIsBuilt) this.skip();
    });

    /** Runs it with the stand-in provoked to fail in some way. */
    function check(provoked: string, ...args: string[]) {
      const script = join(packageRoot(), "scripts", "gpu-check.mjs");
      const all = [script, "--host-addon", process.env.LANGEVIN_CUDA_ADDON!, "--seed", "5", ...args];
      const env = { ...process.env, LANGEVIN_CUDA_HOST: provoked };
      return spawnSync(process.execPath, all, { encoding: "utf8", env });
    }

    it("choose its parts", () => {
      const { status, stdout } = check("", "--only", "sanitizer,ops,noise", "--skip", "ops");
      expect(stdout).to.match(/^Noise: [^]*^Kernels under compute-sanitizer$/m);
      for (const other of ["Ops against", "Golden", "Times", "ncu"]) expect(stdout).not.to.contain(other);
      expect(status).to.equal(0);
    });

    it("stop it at what is wrong, or go on as far as a broken CUDA context lets it; there always is a table", () => {
      const parts = ["--only", "ops,parity,sanitizer"];
      const stopped = check("crash=40", ...parts);
      expect(stopped.stdout).to.match(/^WRONG: \w+ on .*CUDA context is broken/m);
      expect(stopped.stdout).not.to.contain("Losses of training");
      expect(stopped.stdout).to.match(/^\| workload /m);
      expect(stopped.status).to.equal(1);
      const kept = check("crash=40", ...parts, "--keep-going");
      expect(kept.stdout).to.match(/^not run: parity \(the CUDA context is broken\)$/m);
      expect(kept.stdout).to.match(/^not run: memcheck, .* \(kernels run on the host\)$/m);
      expect(kept.stdout).to.match(/^\| workload /m);
      expect(kept.status).to.equal(1);
    });

    it("a timing for which there is no memory is not run, and the others are", () => {
      const { status, stdout } = check("memory=6e6", "--only", "times");
      expect(stdout).to.match(/^not run: timing of W1 ms_per_train_step bf16 \(.*out of memory/m);
      expect(stdout).to.match(/^\| W2-b1 s_total_1000_steps bf16 /m);
      expect(stdout).to.match(/^All is right\.$/m);
      expect(status).to.equal(0);
    });
  });

  it("the program for compute-sanitizer gets everything right", function () {
    const addon = process.env.LANGEVIN_CUDA_ADDON;
    if (!addon || !hasCompiler()) this.skip();
    const require = createRequire(join(packageRoot(), "package.json"));
    const { checked, host } = require("./native/sources.cjs") as Record<"checked" | "host", string[]>;
    const built = join(dirname(dirname(addon)), "CMakeFiles", "langevin.dir"); // the addon's object files
    const objects = [...checked, ...host].map((file) => join(built, `${file}.o`));
    inFolder((folder) => {
      const [object, program] = [join(folder, "kernels.o"), join(folder, "kernels")];
      const defines = ["-DLANGEVIN_CUDA=1", "-DLANGEVIN_CUDA_HOST=1"];
      compile(["native/test/gpu/kernels.cu"], object, ["-c", "-O1", ...defines, "-x", "c++"]);
      compile([object, ...objects], program, []);
      const { status, stdout, stderr } = spawnSync(program, { encoding: "utf8" });
      expect(stdout, stderr).to.match(/^\d{3} cases, 0 wrong\n$/);
      expect(status).to.equal(0);
    });
  });

  describe("its parts", () => {
    before(function () {
      if (!process.env.LANGEVIN_CUDA_ADDON || !cpuIsBuilt) this.skip();
    });
    useDevice("cuda");

    const sessionUntil = (deadline: number): Session =>
      new Session({
        cuda: openDevice("cuda") as CudaExecutor,
        cpu: openDevice("cpu"),
        ...{ seed: 5, reduced: true, deadline, keepGoing: false },
        report: { say: () => undefined, begin: () => undefined },
      });

    it("set times beside the limits of the device, by the precision of each", async () => {
      const session = sessionUntil(Infinity);
      const device = { device: "made up", multiprocessors: 2, launchUs: 1, copyGbps: 1e-3 };
      session.ceilings = { ...device, float32Tflops: 1e-9, tf32Tflops: 2e-9, bf16Tflops: 4e-9 };
      await timings.run(session);
      const limitOf = (name: string): number => session.rows.find(({ workload }) => workload === name)!.limit!;
      expect(session.rows).to.have.length.above(8);
      for (const { limit } of session.rows) expect(limit).to.be.a("number").above(0);
      // 135,473 parameters whose gradients take two products each, for one image: 10^5 to 10^8 operations at 1 kFLOP/s.
      expect(limitOf("W1 ms_per_train_step float32")).to.be.within(1e2, 1e5);
      expect(limitOf("W1 ms_per_train_step float32") / limitOf("W1 ms_per_train_step bf16")).to.be.closeTo(4, 1e-9);
      const [whole, steps] = ["", ", in steps alone"].map((how) => limitOf(`W2-b1 s_total_1000_steps${how} tf32`));
      expect(steps / whole).to.be.closeTo(1000 / 4, 1e-9); // of which four are made on the host
    });

    it("begin nothing when the time is over, and say so", async () => {
      const session = sessionUntil(0);
      await goldenSuites.run(session);
      await timings.run(session);
      expect(session.rows).to.deep.equal([]);
      expect(session.leftOut).to.include("timing of W1 ms_per_train_step bf16 (the time is over)");
      expect(session.leftOut.filter((what) => what.startsWith("golden suite "))).to.have.length.above(4);
    });
  });
});
