// Every workload of the benchmark runs, tiny, on the device of plain TypeScript, and tells its cost; the U-Nets are the right ones.

import { expect } from "chai";
import { defaultDevice, setDefaultDevice } from "langevin";
import type { Pass, Task } from "../../bench/tasks.ts";
import { usualUNet } from "../../bench/tasks.ts";
import { ddpmUNet } from "../../bench/workloads/ddpm-unet.ts";
import { setUp } from "../../bench/workloads/index.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";

const named = { workload: "tiny", metric: "ms_fwd" };
const unet = { ...named, batch: 1, size: 4, base: 32, mults: [1, 1] };
const passes: readonly Pass[] = ["fwd", "bwd", "fwdbwd"];

/** One of every kind. */
const tasks: readonly Task[] = [
  { ...named, kind: "tutorial-train", batch: 2 },
  { ...named, kind: "tutorial-sample", batch: 1 },
  { ...named, kind: "reverse-step", size: 8 },
  { ...unet, kind: "unet-train" },
  { ...unet, kind: "unet-forward" },
  ...passes.map((pass): Task => ({ ...named, kind: "conv", pass, batch: 2, channels: 4, size: 4 })),
  ...passes.map((pass): Task => ({ ...named, kind: "group-norm-silu", pass, batch: 1, channels: 32, size: 2 })),
  ...passes.map((pass): Task => ({ ...named, kind: "attention", pass, batch: 1, length: 4, channels: 8, heads: 2 })),
  { ...named, kind: "matmul", size: 8 },
  { ...named, kind: "adam", count: 100 },
];

describe("bench: workloads", function () {
  this.timeout(120_000);
  const device = defaultDevice();
  before(() => void setDefaultDevice("ts"));
  after(() => void setDefaultDevice(device));

  for (const task of tasks)
    it(`runs ${task.kind}${"pass" in task ? `, ${task.pass}` : ""}, more than once`, async () => {
      const workload = setUp(task);
      expect(workload.calls).to.be.greaterThan(0);
      expect(workload.cost.bytes).to.be.greaterThan(0);
      for (let run = 0; run < 2; run++) {
        await workload.prepare?.();
        await workload.run();
      }
      await workload.close();
    });

  it("replays as a plan, in fewer steps and more calls, where it is told to", async () => {
    const step = setUp({ ...named, kind: "reverse-step", size: 8 }, { asPlan: true, calls: 3 });
    const sampling = { ...named, kind: "tutorial-sample", batch: 1 } as const;
    const [short, whole] = [{ steps: 4 }, {}].map((manner) => setUp(sampling, manner));
    expect([step.variant, step.calls]).to.deep.equal(["plan", 3]);
    expect(short.cost.flops).to.equal((4 / 1000) * whole.cost.flops);
    for (const workload of [step, short]) {
      await workload.run();
      await workload.run();
    }
    for (const workload of [step, short, whole]) await workload.close();
  });

  it("counts the arithmetic of a product and of a convolution", () => {
    const product = setUp({ ...named, kind: "matmul", size: 8 });
    expect(product.cost).to.deep.equal({ flops: 2 * 8 ** 3, bytes: 4 * 3 * 64 });
    const convolution = setUp({ ...named, kind: "conv", pass: "fwd", batch: 2, channels: 4, size: 4 });
    expect(convolution.cost.flops).to.equal(2 * (2 * 4 * 4 * 4) * 4 * 9);
    for (const workload of [product, convolution]) void workload.close();
  });

  it("has networks of the sizes that the page tells", () => {
    expect(tutorialUNet().parameterCount()).to.equal(135_473);
    expect(ddpmUNet(usualUNet).parameterCount()).to.equal(8_952_067);
  });
});
