// Classifier-free guidance: one network draws the digit that it is asked for, and guidance says how much it listens.
//
//   npm run example -- class-conditional
//   npm run example -- class-conditional --sample-only    (draws from the model of an earlier run)
//
// It trains a U-Net on labelled handwritten digits, some of which lose their label on the way, so that it can draw with
// and without one. Then it draws every digit with guidance 0 (nobody tells it which), 1 (it is told), 3 and 7 (it goes
// beyond what it was told), and measures what comes of it: how many samples are the digit that was asked for, and how
// far they are from handwritten ones. Guidance makes digits clearer, up to where it overshoots.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { Pipeline, RunFolder, grid } from "langevin";
import type { Tensor } from "langevin";
import { heldOut, nullLabel, trainInto, training, trainingOn } from "./digit-model.ts";
import { labelledGrid } from "./labelled-grid.ts";
import { readDigits } from "./nearest-digits.ts";
import type { LabelledPictures } from "./nearest-digits.ts";
import { exampleOptions, useDevice } from "./options.ts";

const { device: asked } = exampleOptions({ iterations: 1, lr: 1, seed: 1, out: "" });
const device = useDevice(asked);
const { batch, ...defaults } = trainingOn(device);
const { iterations, lr, seed, out, sampleOnly } = exampleOptions({ ...defaults, seed: 1, out: "runs/digits" });

const folder = await RunFolder.create(out);
const modelFolder = join(out, "model");
if (sampleOnly && !existsSync(modelFolder)) {
  console.error(`${modelFolder} does not exist: run without --sample-only first.`);
  process.exit(1);
}
const trained = sampleOnly ? undefined : await trainInto(modelFolder, { iterations, batch, lr, seed });
const pipeline = await Pipeline.load(modelFolder);

const scales = [0, 1, 3, 7];
const perDigit = device === "ts" ? 4 : 20;
const labels = Array.from({ length: 10 * perDigit }, (_, k) => k % 10);

/** Four samples of each digit, as one picture for each. */
async function picturesOfDigits(samples: Tensor) {
  const ofDigit = samples.reshape([perDigit, 10, 8, 8, 1]).slice([0, 4]).unbind(1);
  return Promise.all(ofDigit.map((pictures) => grid(pictures, { enlarge: 4, gap: 2, columns: 2, background: 128 })));
}

/** Prints a line of the table, and returns what is in it. */
function report(name: string, drawn: LabelledPictures) {
  const { right, distance } = readDigits(drawn, training);
  console.log(`${name.padEnd(12)}  ${`${(100 * right).toFixed(1)}%`.padStart(9)}  ${distance.toFixed(2).padStart(8)}`);
  return { right, distance };
}

const steps = 20;
console.log(`Drawing ${labels.length} digits for each guidance, in ${steps} steps.\n`);
console.log("              as asked  distance");
const cells = [];
const results = [];
for (const guidance of scales) {
  const samples = await pipeline.sample({ n: labels.length, label: labels, guidance, nullLabel, steps, seed });
  cells.push(await picturesOfDigits(samples));
  results.push({ guidance, ...report(`guidance ${guidance}`, { images: await samples.data(), labels }) });
}
report("by hand", { images: heldOut.images, labels: heldOut.labels! });

const columns = Array.from({ length: 10 }, (_, digit) => String(digit));
const picture = labelledGrid({ rows: scales.map((scale) => `guidance ${scale}`), columns, cells });
const file = await folder.writePicture("guidance.png", picture);
if (trained) {
  await folder.writeLosses(trained.losses);
  const { seconds, losses } = trained;
  const finalLoss = losses.at(-1)!.loss;
  await folder.writeSummary({ program: "class-conditional", iterations, seed, device, seconds, finalLoss, results });
}
console.log(`
As asked: the nearest neighbour among the digits that the model learnt from is the digit that was asked for. Distance: how
far that neighbour is (median). By hand: the same of ${heldOut.count} digits that the model has never seen. Look at ${file}.`);
