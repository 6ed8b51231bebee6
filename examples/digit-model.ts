// The model of digits that several examples share: a U-Net that is told which digit to draw, and how it is trained.

import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import {
  Adam,
  DPMSolverMultistepScheduler,
  NoiseSchedule,
  Pipeline,
  Progress,
  UNet2D,
  defaultDevice,
  digits,
  manualSeed,
  mse,
  rand,
  train,
  where,
} from "langevin";
import type { LossRecord } from "langevin";
import { exampleOptions, useDevice } from "./options.ts";

/** The class that stands for none: it comes after the digits 0 to 9. */
export const nullLabel = 10;
/** The share of labels that training replaces by it. */
const labelDropout = 0.15;

/** Where the example class-conditional puts the model, and the others look for it. */
const modelFolder = "runs/digits/model";

export const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });

const all = digits();
/** The digits that the model learns from. */
export const training = all.subset(0, all.count - 200);
/** The last 200 digits, which it never sees. */
export const heldOut = all.subset(all.count - 200, all.count);

/** How the model is trained. */
export interface Training {
  iterations: number;
  /** Pictures in a step. */
  batch: number;
  /** Learning rate at its highest. */
  lr: number;
  seed: number;
}

/** Training in a few minutes: on two CPU cores, and what plain TypeScript, some forty times slower, gets done. */
export function trainingOn(device: string): Omit<Training, "seed"> {
  return { ...(device === "ts" ? { iterations: 400, batch: 16 } : { iterations: 4000, batch: 64 }), lr: 2e-3 };
}

/** What training leaves beside the model. */
export interface Trained {
  losses: LossRecord[];
  seconds: number;
}

/** Trains a model, and saves it with a sampler as a folder that `Pipeline.load` and diffusers read. */
export async function trainInto(folder: string, settings: Training): Promise<Trained> {
  const start = performance.now();
  const model = newModel(settings.seed);
  const losses = await trainModel(model, settings);
  // Guidance pulls pictures out of [-1, 1], where no digit is. Dynamic thresholding (Saharia et al. 2022, section 2.3)
  // brings them back in every step.
  const scheduler = new DPMSolverMultistepScheduler({ schedule, thresholding: true });
  await mkdir(dirname(folder), { recursive: true });
  await new Pipeline({ model, scheduler }).save(folder);
  return { losses, seconds: (performance.now() - start) / 1000 };
}

/**
 * What examples begin with that draw with the model: reads the command line, and loads the pipeline in the folder --model. That
 * of the example class-conditional is trained first where it is missing.
 */
export async function openPipeline(places: { out: string }) {
  const { device: asked } = exampleOptions({ iterations: 1, lr: 1, model: "", seed: 1, out: "" });
  const { batch, ...defaults } = trainingOn(useDevice(asked));
  const { model, seed, out, ...settings } = exampleOptions({ ...defaults, ...places, model: modelFolder, seed: 1 });
  if (model === modelFolder && !existsSync(model)) await trainInto(model, { ...settings, batch, seed });
  return { pipeline: await Pipeline.load(model), model, seed, out };
}

/** A U-Net as diffusers has them, with new weights: 8x8 pixels at 32 channels, 4x4 at 64, and eleven classes. */
function newModel(seed: number): UNet2D {
  manualSeed(seed);
  return new UNet2D({
    sampleSize: 8,
    inChannels: 1,
    outChannels: 1,
    blockOutChannels: [32, 64],
    downBlockTypes: ["DownBlock2D", "DownBlock2D"],
    upBlockTypes: ["UpBlock2D", "UpBlock2D"],
    layersPerBlock: 1,
    addAttention: false,
    normNumGroups: 8,
    numClassEmbeds: nullLabel + 1,
  });
}

/** Trains the network to see the noise in digits, with their labels and now and then without. */
async function trainModel(model: UNet2D, { iterations, batch, lr, seed }: Training): Promise<LossRecord[]> {
  const adam = new Adam(model.parameters(), { lr: (step) => lr * warmUpAndCosine(step, iterations) });
  console.log(`Training a U-Net of ${model.parameterCount()} parameters on ${training.count} digits.`);
  if (defaultDevice() === "ts")
    console.log("No compiled kernels are in use, so this is a short run: expect rough digits.");
  const run = train({
    iterations,
    seed,
    schedule,
    data: training.batches(batch),
    step: ({ x0, labels, t, noise, iteration }) => {
      // Ho & Salimans 2022, algorithm 1: one network learns p(x | class) and, of those that lose their label, p(x).
      const isDropped = rand([batch], { seed, step: iteration }).less(labelDropout);
      const classLabels = where(isDropped, nullLabel, labels!);
      const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t, { classLabels }), noise);
      loss.backward();
      adam.step();
      return { loss };
    },
  });

  const progress = new Progress({ total: iterations });
  const losses = [];
  for await (const { iteration, loss } of run) {
    losses.push({ iteration, loss });
    progress.update(iteration, loss);
  }
  progress.finish();
  return losses;
}

/** From 0 to 1 in the first hundred steps, and back to 0 along a half cosine. */
function warmUpAndCosine(step: number, iterations: number): number {
  return Math.min(1, (step + 1) / 100) * ((1 + Math.cos((Math.PI * step) / iterations)) / 2);
}
