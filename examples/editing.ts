// What a trained model does besides drawing from noise: go from one picture to another, complete one, and redraw one.
//
//   npm run example -- editing
//
// The model is that of the example class-conditional; where it has not run yet, the model is trained first.

import { RunFolder, concat, grid, ones, tensor, where, zeros } from "langevin";
import type { Tensor } from "langevin";
import { heldOut, nullLabel, openPipeline } from "./digit-model.ts";
import { labelledGrid } from "./labelled-grid.ts";

const { pipeline, seed, out } = await openPipeline({ out: "runs/editing" });

/** A handwritten digit that the model has never seen [1, 8, 8, 1], by its number among all of its class. */
function handwritten(digit: number, index: number): Tensor {
  const places = Array.from(heldOut.labels!.keys()).filter((k) => heldOut.labels![k] === digit);
  const [pixels, place] = [8 * 8, places[index]];
  return tensor(heldOut.images.slice(pixels * place, pixels * (place + 1)), { shape: [1, 8, 8, 1] });
}
const columns = 11;

/** Interpolation: what lies between the noises of two seeds is noise, too, and so there are digits between their digits. */
async function between(label: number): Promise<Tensor> {
  return pipeline.interpolate({ n: columns, seeds: [seed, seed + 1], label, guidance: 3, nullLabel, steps: 20 });
}

/**
 * Inpainting: the upper half is given, and the model draws what lies below, once for each digit that it might be. Going back
 * and forth between noise levels (RePaint, Lugmayr et al. 2022) makes the halves fit; it takes a sampler without memory.
 */
async function completed(image: Tensor): Promise<Tensor> {
  const mask = concat([zeros([1, 4, 8, 1]), ones([1, 4, 8, 1])], 1);
  const label = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  const drawn = await pipeline.sample({
    ...{ n: label.length, label, guidance: 3, nullLabel, seed },
    ...{ inpaint: { image, mask, resamples: 5, jump: 5 }, scheduler: "DDPMScheduler", steps: 20 },
  });
  return concat([where(mask.greater(0), 0, image), drawn], 0);
}

/** img2img: noise until only rough shapes are left, and from there on another digit. The more noise, the more it is that. */
async function redrawn(from: Tensor, label: number): Promise<Tensor> {
  const pictures = [from];
  for (let k = 1; k < columns; k++)
    pictures.push(await pipeline.sample({ from, strength: k / (columns - 1), label, steps: 50, seed }));
  return concat(pictures, 0);
}

const edits = {
  "from one 2 to another": await between(2),
  "from one 4 to another": await between(4),
  "upper half of a 9": await completed(handwritten(9, 0)),
  "upper half of a 6": await completed(handwritten(6, 0)),
  "a 3 becomes an 8": await redrawn(handwritten(3, 8), 8),
  "a 5 becomes a 6": await redrawn(handwritten(5, 8), 6),
};
const cells = await Promise.all(
  Object.values(edits).map(async (row) => [await grid(row, { enlarge: 6, gap: 4, columns, background: 128 })]),
);
const folder = await RunFolder.create(out);
const file = await folder.writePicture("editing.png", labelledGrid({ rows: Object.keys(edits), cells }));
console.log(`Look at ${file}.`);
