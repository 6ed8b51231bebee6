// Demo: trains the tutorial's U-Net on 1,597 real handwritten digits and draws digits that nobody wrote.

import { existsSync } from "node:fs";
import {
  Adam,
  NoiseSchedule,
  Progress,
  RunFolder,
  concat,
  digits,
  grid,
  loadWeights,
  manualSeed,
  mse,
  sample,
  saveWeights,
  train,
} from "langevin";
import type { Tensor } from "langevin";
import { novelty } from "./nearest-digits.ts";
import { exampleOptions, useDevice } from "./options.ts";
import { TutorialUNet } from "./tutorial-nets.ts";

const { device: asked } = exampleOptions({ iterations: 1, lr: 1, seed: 1, out: "" });
const device = useDevice(asked);

// Plain TypeScript is some forty times slower than the compiled kernels: then a small run has to do.
const size =
  device === "ts" ? { iterations: 1600, batch: 16, pictures: 16 } : { iterations: 12000, batch: 128, pictures: 64 };
const { iterations, lr, seed, out, sampleOnly } = exampleOptions({
  iterations: size.iterations,
  lr: 3e-3,
  seed: 1,
  out: "runs/demo",
});
if (device === "ts" && !sampleOnly)
  console.log(
    `No compiled kernels are in use, so this is a short run in plain TypeScript: ${iterations} iterations of ${size.batch}
pictures and ${size.pictures} samples instead of 12000 of 128 and 64. Expect rough digits.`,
  );

// The last 200 digits are held out, to tell new digits from copies.
const all = digits();
const training = all.subset(0, all.count - 200);
const heldOut = all.subset(all.count - 200, all.count);

const folder = await RunFolder.create(out);
const weightsFile = folder.file("weights.safetensors");
if (sampleOnly && !existsSync(weightsFile)) {
  console.error(`${weightsFile} does not exist: run without --sample-only first.`);
  process.exit(1);
}

manualSeed(seed);
const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
const model = new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: 1000 });

const trained = sampleOnly ? undefined : await trainModel();
if (sampleOnly) await loadWeights(weightsFile, model);

/** Trains with a learning rate that falls to zero along a half cosine; returns what the summary tells of it. */
async function trainModel(): Promise<{ iterations: number; seconds: number; finalLoss: number }> {
  const adam = new Adam(model.parameters(), {
    lr: (step) => (lr * (1 + Math.cos((Math.PI * step) / iterations))) / 2,
  });
  console.log(`Training a U-Net of ${model.parameterCount()} parameters on ${training.count} digits (${device}).`);
  const run = train({
    iterations,
    seed,
    schedule,
    data: training.batches(size.batch),
    step: ({ x0, t, noise }) => {
      const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
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
  await folder.writeLosses(losses);
  await saveWeights(weightsFile, model);
  return { iterations, seconds: (performance.now() - start) / 1000, finalLoss: losses.at(-1)!.loss };
}

// While sampling, we keep eleven looks at the first eight pictures on their way from noise to digits: most of what one
// can see happens in the last steps.
const shown = [0, 300, 600, 700, 800, 850, 900, 925, 950, 975, 1000];
console.log(`Drawing ${size.pictures} digits, 1000 reverse steps each.`);
const looks: Tensor[] = [];
const pictures = await sample({
  model,
  schedule,
  count: size.pictures,
  size: [8, 8, 1],
  seed,
  previewEvery: 25,
  onPreview: ({ step, x }) => {
    if (shown.includes(step)) looks.push(x.slice([0, 8]).reshape([8, 1, 8, 8, 1]).keep());
  },
});
const strip = concat(looks, 1).reshape([8 * looks.length, 8, 8, 1]);

await folder.writePicture("samples.png", await grid(pictures, { enlarge: 6, gap: 3 }));
await folder.writePicture("strip.png", await grid(strip, { enlarge: 6, gap: 3, columns: looks.length }));
const nearest = novelty(await pictures.data(), training.images, heldOut.images, 8 * 8);
// Drawing again leaves the summary of the training as it is.
if (trained)
  await folder.writeSummary({ program: "demo", seed, device, ...trained, medianDistanceToTraining: nearest });
console.log(
  `Median distance to the nearest training digit: samples ${nearest.samples.toFixed(2)}, held-out digits ${nearest.heldOut.toFixed(2)} (ratio ${nearest.ratio.toFixed(2)}).
Look at ${folder.file("samples.png")} and ${folder.file("strip.png")}.`,
);
