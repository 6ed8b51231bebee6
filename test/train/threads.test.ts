// Runs in processes of their own give the same bits each time and at any number of threads.

import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { cpuIsBuilt } from "../tensor/devices.ts";

const root = resolve(import.meta.dirname, "../..");

interface Outcome {
  readonly losses: string[];
  readonly weights: string;
  readonly images: string;
}

async function run(device: string, threads: number, size: "small" | "full"): Promise<Outcome> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", "tsx", join(import.meta.dirname, "print-run-hash.ts"), size],
    { cwd: root, env: { ...process.env, LANGEVIN_DEVICE: device, LANGEVIN_THREADS: String(threads) } },
  );
  return JSON.parse(stdout) as Outcome;
}

describe("20 steps of training and of sampling in another process", () => {
  it("give the same bits on cpu at 1, 2 and 5 threads, and again", async function () {
    if (!cpuIsBuilt) return this.skip();
    const first = await run("cpu", 1, "full");
    expect(first.losses).to.have.length(20);
    expect(first.losses.map(Number).every(Number.isFinite)).to.equal(true);
    for (const threads of [2, 5, 1])
      expect(await run("cpu", threads, "full"), `${threads} threads`).to.deep.equal(first);
  });

  it("give the same bits on ts, twice", async () => {
    const first = await run("ts", 1, "small");
    expect(await run("ts", 1, "small")).to.deep.equal(first);
  });

  it("can tell runs apart", async () => {
    const [small, again] = await Promise.all([run("ts", 1, "small"), run("ts", 5, "small")]);
    expect(again).to.deep.equal(small);
    if (!cpuIsBuilt) return;
    const cpu = await run("cpu", 2, "small");
    expect(cpu.weights).not.to.equal(small.weights); // the cpu sums in another order
    small.losses.forEach((loss, i) => {
      expect(Number(cpu.losses[i])).to.be.closeTo(Number(loss), 1e-4);
    });
  });
});
