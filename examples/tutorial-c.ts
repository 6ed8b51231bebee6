// Tutorial, part C: a small U-Net, 1000 noise levels, batches of 128. Now the samples are the picture.

import { Adam, NoiseSchedule, Progress, RunFolder, grid, manualSeed, mse, sample, tensor, train } from "langevin";
import { exampleOptions, useDevice } from "./options.ts";
import { errorOfSamples, squareImage } from "./square.ts";
import { TutorialUNet } from "./tutorial-nets.ts";

const { iterations, lr, seed, out, device } = exampleOptions({
  iterations: 10_000,
  lr: 1e-4,
  seed: 1,
  out: "runs/tutorial-c",
});
useDevice(device);
manualSeed(seed);

const target = squareImage(1);
const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
const model = new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: 1000 });
const adam = new Adam(model.parameters(), { lr });
console.log(`A U-Net of ${model.parameterCount()} parameters.`);

const run = train({
  iterations,
  seed,
  schedule,
  data: target.batches(128),
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

console.log("Sampling 64 pictures, 1000 reverse steps each.");
const samples = await sample({ model, schedule, count: 64, size: [8, 8, 1], seed });
const sampleMse = await errorOfSamples(samples, target);

const folder = await RunFolder.create(out);
await folder.writePicture("target.png", await grid(tensor(target.images, { shape: target.shape }), { enlarge: 16 }));
await folder.writePicture("samples.png", await grid(samples, { enlarge: 8, gap: 2 }));
await folder.writeLosses(losses);
await folder.writeSummary({
  program: "c",
  iterations,
  seed,
  device: samples.device,
  seconds,
  finalLoss: losses.at(-1)!.loss,
  sampleMse,
});
console.log(
  `Error of 64 samples: mean ${sampleMse.mean.toExponential(2)}, max ${sampleMse.max.toExponential(2)}. See ${out}.`,
);
