// gpu-check itself: that it finds wrong answers, draws shapes that no sample has, reads ncu's report, and says where there is no GPU.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { expect } from "chai";
import { loadCudaAddon, packageRoot } from "../ts/device/native/addon.ts";
import type { CudaExecutor } from "../ts/device/native/cuda-executor.ts";
import { TsExecutor } from "../ts/device/ts/executor.ts";
import type { BufferId, ElementArray } from "../ts/device/executor.ts";
import { opList, ops } from "../ts/ops/index.ts";
import { inFolder, newFolder } from "./device/native-programs.ts";
import { savedReport } from "./gpu-check/report.ts";
import { DeviceError } from "../ts/errors/index.ts";
import { rejection } from "./failure.ts";
import { freshCase } from "./gpu-check/fresh-cases.ts";
import { noiseHashes, opsAgainstCpu } from "./gpu-check/ops.ts";
import { costliest, underSanitizers } from "./gpu-check/programs-on-gpu.ts";
import type { Setup } from "./gpu-check/session.ts";
import { Ended, Session, missingKernelIn } from "./gpu-check/session.ts";
import { generator } from "./ops/draw.ts";
import { cpuIsBuilt } from "./tensor/devices.ts";

/** An executor of plain TypeScript that gets a bit of one read wrong, and of every so many after that; or none. */
class Doubtful extends TsExecutor {
  readonly missing = [];
  private reads = 0;
  private readonly wrongRead: number;
  private readonly again: number;

  constructor(wrongRead = Infinity, again = Infinity) {
    super();
    this.wrongRead = wrongRead;
    this.again = again;
  }

  override readSync(buffer: BufferId, byteOffset: number, target: ElementArray): void {
    super.readSync(buffer, byteOffset, target);
    const since = ++this.reads - this.wrongRead;
    if (since === 0 || (since > 0 && since % this.again === 0))
      new Uint8Array(target.buffer, target.byteOffset)[target.byteLength >> 1] ^= 0x40;
  }
}

interface Told {
  readonly session: Session;
  readonly said: string[];
  readonly begun: string[];
}

function sessionOf(cuda: TsExecutor, more: Partial<Setup> = {}): Told {
  const [said, begun]: [string[], string[]] = [[], []];
  const session = new Session({
    cuda: cuda as unknown as CudaExecutor,
    cpu: new TsExecutor(),
    seed: 11,
    reduced: true,
    deadline: Infinity,
    keepGoing: false,
    report: { say: (text) => said.push(text), begin: (what) => begun.push(what) },
    ...more,
  });
  return { session, said, begun };
}

const script = join(packageRoot(), "scripts", "gpu-check.mjs");

describe("gpu-check", function () {
  this.timeout(120_000);

  it("is content where both devices agree, and mostly draws shapes that no sample has", async () => {
    const { session, said, begun } = sessionOf(new Doubtful());
    await noiseHashes.run(session);
    await opsAgainstCpu.run(session);
    expect(session.wrong).to.deep.equal([]);
    expect(said.slice(0, 3).join()).to.match(/^normal: [0-9a-f]{8},uniform: [0-9a-f]{8},integer: [0-9a-f]{8}$/);
    const [, count, fresh] = /(\d+) cases, (\d+) of them in new shapes/.exec(said[3])!.map(Number);
    expect(fresh).to.be.greaterThan(0.8 * count);
    expect(begun).to.include.members(["normal noise", "conv2d", "attentionGradient"]);
  });

  for (const wrongRead of [1, 2, 3])
    it(`finds a wrong bit in noise (read ${wrongRead})`, async () => {
      const { session } = sessionOf(new Doubtful(wrongRead));
      expect(await rejection(noiseHashes.run(session))).to.be.instanceOf(Ended);
      expect(session.wrong).to.have.length(1);
      expect(session.wrong[0]).to.match(/noise of seed 11 has hash \w+ on cuda and \w+ on cpu/);
    });

  for (const wrongRead of [1, 100, 500])
    it(`stops at a wrong element of an op (read ${wrongRead})`, async () => {
      const { session } = sessionOf(new Doubtful(wrongRead));
      expect(await rejection(opsAgainstCpu.run(session))).to.be.instanceOf(Ended);
      expect(session.wrong).to.have.length(1);
      expect(session.wrong[0]).to.match(/^\w+ on (\[|none|,)/);
    });

  it("keeps going where it is told to, and tells of each op that is wrong once", async () => {
    const { session, begun } = sessionOf(new Doubtful(10, 100), { keepGoing: true });
    await opsAgainstCpu.run(session);
    const ops = session.wrong.map((problem) => problem.split(" ")[0]);
    expect(ops).to.have.length.above(2);
    expect(new Set(ops).size).to.equal(ops.length);
    expect(begun.indexOf(ops.at(-1)!)).to.be.greaterThan(begun.indexOf(ops[0]));
  });

  it("notes an error of any kind with its stack, and ends a part once the CUDA context is broken", async () => {
    const { session } = sessionOf(new Doubtful(), { keepGoing: true });
    await session.attempt("a thing", () => void JSON.parse("{"));
    expect(session.wrong[0]).to.match(/^a thing: SyntaxError: .*\n +at /);
    const broken = new DeviceError({
      op: "add",
      problem: "an illegal address. The CUDA context is broken: nothing runs.",
    });
    expect(await rejection(session.attempt("another", () => Promise.reject(broken)))).to.be.instanceOf(Ended);
    expect(session.contextIsBroken).to.equal(true);
    expect(session.wrong).to.have.length(2);
  });

  it("begins nothing when the time is over", async () => {
    const { session, begun } = sessionOf(new Doubtful(1), { deadline: 0 });
    await noiseHashes.run(session);
    expect(begun).to.deep.equal([]);
    expect(session.leftOut[0]).to.equal("normal noise (the time is over)");
    expect(session.wrong).to.deep.equal([]);
  });

  describe("with programs", () => {
    const path = process.env.PATH;
    let [folder, remove] = ["", () => {}];
    before(() => {
      [folder, remove] = newFolder();
      process.env.PATH = `${folder}${delimiter}${path}`;
    });
    after(() => {
      process.env.PATH = path;
      remove();
    });

    /** What the sanitizers say, where the tool does so. */
    async function sanitizedBy(commands: string, more: Partial<Setup> = {}): Promise<Session> {
      const text = `#!/bin/sh\n[ "$1" = --version ] && exit 0\n${commands}\n`;
      writeFileSync(join(folder, "compute-sanitizer"), text, { mode: 0o755 });
      const { session } = sessionOf(new Doubtful(), { keepGoing: true, ...more });
      await underSanitizers(session, "/bin/true");
      return session;
    }

    it("takes only the status that was asked for as something found", async () => {
      const found = await sanitizedBy('[ "$2" = racecheck ] && echo "a race" && exit 9; exit 0');
      expect(found.wrong).to.deep.equal(["compute-sanitizer --tool racecheck found:\na race\n"]);
      expect(found.leftOut).to.deep.equal([]);
      const unsupported = await sanitizedBy("echo Device not supported; echo error 999 >&2; exit 1");
      expect(unsupported.wrong).to.deep.equal([]);
      expect(unsupported.leftOut).to.have.length(4);
      expect(unsupported.leftOut[0]).to.equal("memcheck (status 1 / Device not supported / error 999)");
    });

    it("stops a program, and what that has started, at the deadline", async () => {
      const start = Date.now();
      const { wrong, leftOut } = await sanitizedBy("sleep 60 & wait; exit 0", { deadline: start + 1000 });
      expect(Date.now() - start).to.be.below(20_000);
      expect(wrong).to.deep.equal([]);
      expect(leftOut).to.have.length(4);
      expect(leftOut[0]).to.match(/^memcheck \(status unknown \/ stopped after [01] s\)$/);
      expect(leftOut[3]).to.equal("synccheck (the time is over)");
    });
  });

  it("draws cases that the op's rule for shapes takes", () => {
    const random = generator(3);
    for (const op of opList.filter(({ view }) => !view)) {
      const { case: c } = freshCase(op, op.samples[0], random);
      const types = c.inputs.map((value) => value?.type);
      expect(() => op.infer(types, c.attributes), op.name).not.to.throw();
    }
    const drawn = freshCase(ops.conv2d, ops.conv2d.samples[0], random);
    expect(drawn.isNew).to.equal(true);
  });

  it("names the op that has no kernel", () => {
    expect(missingKernelIn("sum: this op has no CUDA kernel yet, so that")).to.equal("sum");
    expect(missingKernelIn("sum: something else")).to.equal(undefined);
  });

  it("reads ncu's report: time by kernel, in any unit, and percentages weighted by it", () => {
    const line = (...cells: string[]): string => cells.map((cell) => `"${cell}"`).join(",");
    const time = "gpu__time_duration.sum";
    const report = [
      "==PROF== Connected",
      line("ID", "Kernel Name", "Metric Name", "Metric Unit", "Metric Value"),
      line("0", "a<1, 2>(int)", time, "ns", "3,000"),
      line("0", "a<1, 2>(int)", "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed", "%", "10"),
      line("1", "b", time, "us", "2.5"),
      line("2", "a<1, 2>(int)", time, "ns", "1000"),
      line("2", "a<1, 2>(int)", "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed", "%", "50"),
    ].join("\n");
    const [first, second] = costliest(report, 5);
    expect(first).to.deep.equal({ name: "a<1, 2>(int)", calls: 2, time: 4000, products: 20, memory: 0 });
    expect(second).to.include({ name: "b", calls: 1, time: 2500 });
    expect(() => costliest(report.replace('"us"', '"fortnights"'), 5)).to.throw(/fortnights/);
  });

  it("says in one plain line that there is no GPU, and exits with 3", function () {
    if (!cpuIsBuilt || process.env.LANGEVIN_CUDA_ADDON || loadCudaAddon().cuda().devices.length > 0) this.skip();
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
    expect(stdout + stderr).to.match(/^There is no GPU to check: [^\n]+\.\n$/);
    expect(status).to.equal(3);
  });

  it("tells a GPU that cannot be used from none, and exits with 4", function () {
    if (!cpuIsBuilt || process.env.LANGEVIN_CUDA_ADDON || loadCudaAddon().cuda().devices.length > 0) this.skip();
    inFolder((folder) => {
      const text = '#!/bin/sh\necho "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"\n';
      writeFileSync(join(folder, "nvidia-smi"), text, { mode: 0o755 });
      const env = { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}` };
      const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8", env });
      expect(stdout + stderr).to.match(/^There is a GPU that cannot be used: [^\n]+\.\n$/);
      expect(status).to.equal(4);
    });
  });

  it("saves what it finds as it comes, and what it begins", async () => {
    const [folder, remove] = newFolder();
    try {
      const report = savedReport(folder, "NVIDIA H100", { say: () => undefined, begin: () => undefined });
      const { session } = sessionOf(new Doubtful(), { report });
      const progress = report.path.replace(".md", ".progress.txt");
      await session.attempt("first", () => session.addRow({ workload: "W1", limit: 1e-3, ours: 2e-3, error: 1e-5 }));
      await session.attempt("second", () => {
        expect(readFileSync(report.path, "utf8")).to.equal("W1: 2.00 ms; limit 1.00 ms, 2.00x; error 1.0e-5\n");
        expect(readFileSync(progress, "utf8")).to.match(/^0\.\d s: first\n0\.\d s: second\n$/);
      });
      expect(session.wrong).to.deep.equal([]);
    } finally {
      remove();
    }
  });

  it("refuses what makes no sense", () => {
    for (const args of [["--pack"], ["--pack", "a", "b"], ["--seed", "x"], ["--nonsense"], ["--minutes", "0"]])
      expect(spawnSync(process.execPath, [script, ...args]).status, args.join(" ")).to.equal(2);
    const { status, stderr } = spawnSync(process.execPath, [script, "--only", "noise,nose"], { encoding: "utf8" });
    expect(stderr).to.match(/There is no part "nose"\. The parts are ceilings, noise, /);
    expect(status).to.equal(2);
  });
});
