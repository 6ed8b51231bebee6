// Program: replays training steps or samplings, and prints what the plan announced and by how much resident memory grew.

import type { Tensor } from "langevin";
import { Adam, Conv2d, Module, capture, iterate, manualSeed, memoryStats, mse, noGrad, randn } from "langevin";

class Net extends Module {
  conv1 = new Conv2d(3, 32, 3, { padding: 1 });
  conv2 = new Conv2d(32, 32, 3, { padding: 1 });
  conv3 = new Conv2d(32, 32, 3, { padding: 1 });
  conv4 = new Conv2d(32, 3, 3, { padding: 1 });

  forward(x: Tensor): Tensor {
    const h = this.conv1.forward(x).silu();
    return this.conv4.forward(this.conv3.forward(this.conv2.forward(h).silu()).add(h).silu());
  }
}

const [what, size, batch] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const shape = [batch, size, size, 3];
manualSeed(1);
const net = new Net();
const adam = new Adam(net.parameters(), { lr: 1e-3 });

const trainingStep = (shape: readonly number[]): Tensor => {
  const loss = mse(net.forward(randn(shape)), randn(shape));
  loss.backward();
  adam.step();
  return loss;
};
const sampling = (shape: readonly number[]): Tensor =>
  noGrad(() => iterate(3, randn(shape), (x) => x.sub(net.forward(x).mul(0.1)))).mean();
const step = what === "train" ? trainingStep : sampling;

/** Resident bytes once garbage is gone. */
async function resident(): Promise<number> {
  for (let i = 0; i < 5; i++) {
    globalThis.gc!();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return process.memoryUsage.rss();
}

// What any computation brings along is there before: the device's threads, the kernels' scratch memory, compiled code.
const small = capture(() => step([1, 8, 8, 3]));
for await (const _ of small.replay(20));
small.dispose();

const large = capture(() => step(shape));
const before = await resident();
const { bytes } = large.plan();
const recorded = await resident();
const grown: number[] = [];
for (const steps of [1, Number(process.argv[5]) - 1]) {
  for await (const _ of large.replay(steps));
  grown.push((await resident()) - before);
}
console.log(JSON.stringify({ bytes, recorded: recorded - before, grown, reserved: memoryStats().reservedBytes }));
