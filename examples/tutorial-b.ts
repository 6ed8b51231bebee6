// Tutorial, part B: training is a loop, too. A tiny network overfits one picture of 8x8 pixels, in 24 noise levels.

import { Adam, NoiseSchedule, Progress, RunFolder, grid, manualSeed, mse, sample, tensor, train } from "langevin";
import { exampleOptions, useDevice } from "./options.ts";
import { errorOfSamples, squareImage } from "./square.ts";
import { TinyNet } from "./tutorial-nets.ts";

const { iterations, lr, seed, out, device } = exampleOptions({
  iterations: 10_000,
  lr: 1e-3,
  seed: 1,
  out: "runs/tutorial-b",
});
useDevice(device);
manualSeed(seed);

const target = squareImage(3);
const schedule = new NoiseSchedule({ steps: 24, betaStart: 1e-4, betaEnd: 0.6 });
const model = new TinyNet(3);
const adam = new Adam(model.parameters(), { lr });

// Each step noises the picture to a random level t; the network must find the noise in it.
const run = train({
  iterations,
  seed,
  schedule,
  data: target.batches(1),
  step: ({ x0, t, noise }) => {
    const xt = schedule.addNoise(x0, t, noise);
    const loss = mse(model.forward(xt, t), noise);
    loss.backward();
    adam.step();
    return { loss };
  },
});

const start = performance.now();
const progress = new Progress({ total: iterations });
const losses = [];
for await (const { iteration, loss } of run) {
  losses.push({ iteration, loss });
  progress.update(iteration, loss);
}
progress.finish();
const seconds = (performance.now() - start) / 1000;

const samples = await sample({ model, schedule, count: 64, size: [8, 8, 3], seed });
const sampleMse = await errorOfSamples(samples, target);

const folder = await RunFolder.create(out);
await folder.writePicture("target.png", await grid(tensor(target.images, { shape: target.shape }), { enlarge: 16 }));
await folder.writePicture("samples.png", await grid(samples, { enlarge: 8, gap: 2, background: 128 }));
await folder.writeLosses(losses);
await folder.writeSummary({
  program: "b",
  iterations,
  seed,
  device: samples.device,
  seconds,
  finalLoss: losses.at(-1)!.loss,
  sampleMse,
});

const recent = losses.slice(-2000);
const meanLoss = recent.reduce((sum, { loss }) => sum + loss, 0) / recent.length;
console.log(
  `Mean loss of the last ${recent.length} iterations: ${meanLoss.toFixed(3)}. Mean error of 64 samples: ${sampleMse.mean.toFixed(3)}.`,
);
console.log(`The samples in ${out} are no squares, and more training would not help: the loss falls, but the network
sees 5x5 pixels at a time and takes t as a bare number that is added after the ReLU, so at every pixel its answer is too
coarse for 24 reverse steps to lead anywhere. Part C gives it a U-Net, an embedding of t, and 1000 steps.`);
