// Runs in processes of their own give the same bits each time, at any number of threads, as plans and eagerly.

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

async function run(
  device: string,
  threads: number,
  size: "small" | "full",
  how: "plan" | "eager" = "plan",
): Promise<Outcome> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", "tsx", join(import.meta.dirname, "print-run-hash.ts"), size, how],
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

  it("give the bits of a plan when they run eagerly on cpu at 1, 2 and 5 threads", async function () {
    if (!cpuIsBuilt) return this.skip();
    const plan = await run("cpu", 2, "small");
    for (const threads of [1, 2, 5]) {
      expect(await run("cpu", threads, "small", "eager"), `eager, ${threads} threads`).to.deep.equal(plan);
      expect(await run("cpu", threads, "small"), `plan, ${threads} threads`).to.deep.equal(plan);
    }
    expect(await run("cpu", 5, "full", "eager")).to.deep.equal(await run("cpu", 1, "full"));
  });

  it("give the bits of a plan when they run eagerly on ts", async () => {
    expect(await run("ts", 1, "small", "eager")).to.deep.equal(await run("ts", 1, "small"));
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
