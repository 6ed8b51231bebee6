// gpu-check itself: that it finds wrong answers, draws shapes that no sample has, reads ncu's report, and says where there is no GPU.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "chai";
import { loadCudaAddon, packageRoot } from "../ts/device/native/addon.ts";
import type { CudaExecutor } from "../ts/device/native/cuda-executor.ts";
import { TsExecutor } from "../ts/device/ts/executor.ts";
import type { BufferId, ElementArray } from "../ts/device/executor.ts";
import { opList, ops } from "../ts/ops/index.ts";
import { freshCase } from "./gpu-check/fresh-cases.ts";
import { noiseHashes, opsAgainstCpu } from "./gpu-check/ops.ts";
import { costliest } from "./gpu-check/programs-on-gpu.ts";
import type { Session } from "./gpu-check/session.ts";
import { WrongAnswer, missingKernelIn } from "./gpu-check/session.ts";
import { generator } from "./ops/draw.ts";
import { cpuIsBuilt } from "./tensor/devices.ts";

/** An executor of plain TypeScript that gets one bit in a thousand reads wrong, or none. */
class Doubtful extends TsExecutor {
  readonly missing = [];
  private reads = 0;
  private readonly wrongRead: number;

  constructor(wrongRead = Infinity) {
    super();
    this.wrongRead = wrongRead;
  }

  override readSync(buffer: BufferId, byteOffset: number, target: ElementArray): void {
    super.readSync(buffer, byteOffset, target);
    if (++this.reads === this.wrongRead)
      new Uint8Array(target.buffer, target.byteOffset)[target.byteLength >> 1] ^= 0x40;
  }
}

function sessionOf(cuda: TsExecutor, told: string[] = []): Session {
  return {
    cuda: cuda as unknown as CudaExecutor,
    cpu: new TsExecutor(),
    seed: 11,
    reduced: true,
    deadline: Infinity,
    say: (text) => told.push(text),
    leaveOut: () => undefined,
    rows: [],
  };
}

/** What a part throws. */
async function thrownBy(run: Promise<void>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("gpu-check", function () {
  this.timeout(120_000);

  it("is content where both devices agree, and mostly draws shapes that no sample has", async () => {
    const told: string[] = [];
    await noiseHashes.run(sessionOf(new Doubtful(), told));
    await opsAgainstCpu.run(sessionOf(new Doubtful(), told));
    expect(told.slice(0, 3).join()).to.match(/^normal: [0-9a-f]{8},uniform: [0-9a-f]{8},integer: [0-9a-f]{8}$/);
    const [, count, fresh] = /(\d+) cases, (\d+) of them in new shapes/.exec(told[3])!.map(Number);
    expect(fresh).to.be.greaterThan(0.8 * count);
  });

  for (const wrongRead of [1, 2, 3])
    it(`finds a wrong bit in noise (read ${wrongRead})`, async () => {
      const error = await thrownBy(noiseHashes.run(sessionOf(new Doubtful(wrongRead))));
      expect(error).to.be.instanceOf(WrongAnswer);
      expect((error as Error).message).to.match(/noise of seed 11 has hash \w+ on cuda and \w+ on cpu/);
    });

  for (const wrongRead of [1, 100, 500])
    it(`stops at a wrong element of an op (read ${wrongRead})`, async () => {
      const error = await thrownBy(opsAgainstCpu.run(sessionOf(new Doubtful(wrongRead))));
      expect(error).to.be.instanceOf(WrongAnswer);
      expect((error as Error).message).to.match(/^\w+ on (\[|none|,)/);
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
      line("0", "a<1, 2>(int)", "sm__throughput.avg.pct_of_peak_sustained_elapsed", "%", "10"),
      line("1", "b", time, "us", "2.5"),
      line("2", "a<1, 2>(int)", time, "ns", "1000"),
      line("2", "a<1, 2>(int)", "sm__throughput.avg.pct_of_peak_sustained_elapsed", "%", "50"),
    ].join("\n");
    const [first, second] = costliest(report, 5);
    expect(first).to.deep.equal({ name: "a<1, 2>(int)", calls: 2, time: 4000, products: 20, memory: 0 });
    expect(second).to.include({ name: "b", calls: 1, time: 2500 });
    expect(() => costliest(report.replace('"us"', '"fortnights"'), 5)).to.throw(/fortnights/);
  });

  it("says in one plain line that there is no GPU, and exits with 3", function () {
    if (!cpuIsBuilt || process.env.LANGEVIN_CUDA_ADDON || loadCudaAddon().cuda().devices.length > 0) this.skip();
    const script = join(packageRoot(), "scripts", "gpu-check.mjs");
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
    expect(stdout + stderr).to.match(/^There is no GPU to check: [^\n]+\.\n$/);
    expect(status).to.equal(3);
  });

  it("refuses what makes no sense", () => {
    const script = join(packageRoot(), "scripts", "gpu-check.mjs");
    for (const args of [["--pack"], ["--pack", "a", "b"], ["--seed", "x"], ["--nonsense"]])
      expect(spawnSync(process.execPath, [script, ...args]).status, args.join(" ")).to.equal(2);
  });
});
