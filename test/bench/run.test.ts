// `npm run bench` as a program: lines of JSON, tables, and what it answers to mistakes.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "chai";
import { findTorch, torchAbsent } from "../../bench/peers.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";
import type { Line } from "../../bench/report.ts";

const quick = ["--device=ts", "--repeats=1", "--seconds=0"];

function bench(...args: string[]) {
  const root = packageRoot();
  const command = ["--import", "tsx", join(root, "bench", "run.ts"), ...args];
  return spawnSync(process.execPath, command, { cwd: root, encoding: "utf8" });
}

const tiny = ["--only=W4", "--batch=1", "--size=4", "--base=32", "--mults=1,1"];

describe("bench: the program", function () {
  this.timeout(120_000);

  it("prints a line of JSON for each result", () => {
    const { status, stdout, stderr } = bench(...quick, ...tiny, "--json");
    expect(status, stderr).to.equal(0);
    const lines = stdout.trim().split("\n").map((line) => JSON.parse(line) as Line); // prettier-ignore
    expect(lines.map(({ workload, metric }) => [workload, metric])).to.deep.equal([
      ["W4-train-b1", "ms_per_train_step"],
      ["W4-fwd-b1", "ms_fwd"],
    ]);
    for (const line of lines) {
      expect(line).to.include({
        peer: "langevin",
        variant: "plan",
        device: "ts",
        precision: "float32",
        threads: 1,
        n: 1,
      });
      expect(line.median).to.be.greaterThan(0);
      expect([line.min, line.max]).to.deep.equal([line.median, line.median]);
      expect(line).to.include.keys("version", "foreign", "memory_mb");
    }
  });

  it("prints a table, and says what the machine is", () => {
    const { status, stdout, stderr } = bench(...quick, ...tiny);
    expect(status, stderr).to.equal(0);
    expect(stdout).to.match(/^\d+ of \d+ cores of .*load \d/);
    expect(stdout).to.match(/\n\| W4-fwd-b1 +\| ms_fwd +\| +1 \| langevin \(plan\) \| +\d/);
  });

  if (findTorch() === undefined) it.skip(`skipped: ${torchAbsent}`);
  else
    it("measures PyTorch on the same work, and prints ratios", () => {
      const { status, stdout, stderr } = bench(...quick, ...tiny, "--peers", "--json");
      expect(status, stderr).to.equal(0);
      const lines = stdout.trim().split("\n").map((line) => JSON.parse(line) as Line); // prettier-ignore
      const train = lines.filter(({ workload }) => workload === "W4-train-b1");
      expect(train.map(({ peer }) => peer)).to.deep.equal(["langevin", "torch", "torch-tuned"]);
      for (const { ratio, n } of train) expect([ratio! > 0, n >= 1]).to.deep.equal([true, true]);
    });

  it("ends with 2 and plain words where an option is wrong", () => {
    const { status, stdout, stderr } = bench("--only=W7");
    expect({ status, stdout }).to.deep.equal({ status: 2, stdout: "" });
    expect(stderr).to.include("W7 is no workload");
  });

  it("ends with 2 and the library's own words where a device does not work", () => {
    const { status, stderr } = bench("--device=cuda", ...quick.slice(1));
    expect(status).to.equal(2);
    expect(stderr).to.match(/^device "cuda": /);
  });
});
