// The least time that the machine's limits allow, and the program that measures them.

import { expect } from "chai";
import type { Limits } from "../../bench/floor/limits.ts";
import { floorOf, measureLimits } from "../../bench/floor/limits.ts";
import { linesOf, remarksOn, tableOf } from "../../bench/report.ts";
import type { Measurement, Outcome } from "../../bench/measure.ts";

const limits: Limits = {
  gflops: 100,
  memory: [
    { bytes: 1000, gbps: 50 },
    { bytes: 1e6, gbps: 10 },
  ],
};

describe("bench: floor", () => {
  it("is what takes longer, arithmetic or memory", () => {
    expect(floorOf({ flops: 1e9, bytes: 1000 }, limits)).to.be.closeTo(0.01, 1e-12);
    expect(floorOf({ flops: 0, bytes: 1e6 }, limits)).to.be.closeTo(1e-4, 1e-12);
  });

  it("moves bytes at the speed of the smallest arrays that hold as many, for each step of a call", () => {
    expect(floorOf({ flops: 0, bytes: 1000 }, limits)).to.be.closeTo(1000 / 50e9, 1e-15);
    expect(floorOf({ flops: 0, bytes: 1e6, steps: 1000 }, limits)).to.be.closeTo(1e6 / 50e9, 1e-12);
    expect(floorOf({ flops: 0, bytes: 1e9 }, limits)).to.be.closeTo(0.1, 1e-12);
  });

  it("is told as a multiple beside the ratio to langevin", () => {
    const line = (peer: string, median: number): Measurement => ({
      peer,
      version: "1",
      workload: "W4-fwd-b1",
      variant: "plan",
      device: "cpu",
      precision: "float32",
      threads: 2,
      metric: "ms_fwd",
      median,
      min: median,
      max: median,
      n: 1,
      foreign: 0.5,
      memory_mb: null,
    });
    const outcome: Outcome = {
      task: { workload: "W4-fwd-b1", metric: "ms_fwd", kind: "matmul", size: 1 },
      measurements: [line("langevin", 20), line("torch", 30)],
      cost: { flops: 1e9, bytes: 0 },
      absent: [],
    };
    const lines = linesOf(outcome, new Map([[2, limits]]));
    expect(lines.map(({ ratio, floors }) => [ratio, floors])).to.deep.equal([
      [1, 2],
      [1.5, 3],
    ]);
    const [, , ours, theirs] = tableOf(lines).split("\n");
    expect(ours).to.match(/\| langevin \(plan\) \| +20 \|.*\| +0\.50 ! \| +\| +2x \|$/);
    expect(theirs).to.match(/\| +1\.5x \| +3x \|$/);
    const [busy, spinning, limit, ...others] = remarksOn(lines, new Map([[2, limits]]));
    expect(busy).to.match(/^! The machine was busy: during 2 of 2 measurements/);
    expect(spinning).to.match(/^PyTorch was among these with more than one thread\./);
    expect(limit).to.equal("Limits of 2 threads: 100 GFLOP/s, 50 GB/s in 0 MiB, 10 GB/s in 1 MiB.");
    expect(others).to.deep.equal([]);
    expect(remarksOn(lines.map((each) => ({ ...each, foreign: 0 })), undefined)).to.deep.equal([]); // prettier-ignore
  });

  it("is measured where something compiles the program", function () {
    this.timeout(120_000);
    let measured: ReadonlyMap<number, Limits>;
    try {
      measured = measureLimits([1]);
    } catch (error) {
      expect((error as Error).message).to.match(/compiles bench\/floor\/limits\.cpp here$/);
      this.skip();
    }
    const { gflops, memory } = measured!.get(1)!;
    expect(gflops).to.be.greaterThan(0.1);
    expect(memory.map(({ bytes }) => bytes / 2 ** 20)).to.deep.equal([3, 24, 768]);
    for (const { gbps } of memory) expect(gbps).to.be.greaterThan(0.01);
  });
});
