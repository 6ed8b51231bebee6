// Thousands of training steps leave live buffers exactly, and resident memory within a bound, where they were.

import { expect } from "chai";
import { manualSeed, train } from "langevin";
import { cudaOnHost, liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";
import { pictures, schedule, smallRun } from "./small-net.ts";

const mebibyte = 2 ** 20;

/** CUDA kernels that run on the host are slow; what they leak is JavaScript's and the executor's, as elsewhere. */
const count = cudaOnHost ? 2_000 : 10_000;

onEveryDevice(`${count} training steps`, () => {
  it("leave memory where it was", async () => {
    manualSeed(0);
    const { step } = smallRun();
    const steps = async (iterations: number): Promise<number> => {
      let last = 0;
      for await (const { loss } of train({ iterations, seed: 1, schedule, data: pictures.batches(2), step }))
        last = loss;
      return last;
    };
    const memory = async () => {
      const live = await referencedMemory();
      const { rss, heapUsed, external } = process.memoryUsage();
      return { live, rss, heapUsed, external };
    };

    await steps(500); // code is compiled, caches are filled
    const before = await memory();
    expect(await steps(count)).to.be.greaterThan(0);
    expect(await liveMemory(), "before any garbage collection").to.deep.equal(before.live);
    const after = await memory();
    expect(after.live).to.deep.equal(before.live);
    // A leak of one small object a step would be about 1 MiB, of one tensor with its buffer 3 MiB.
    expect(after.heapUsed - before.heapUsed, "JavaScript heap").to.be.lessThan(mebibyte);
    expect(after.external - before.external, "array buffers").to.be.lessThan(mebibyte);
    expect(after.rss - before.rss, "resident memory").to.be.lessThan(32 * mebibyte);
  });
});
