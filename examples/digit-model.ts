// The model of digits that several examples share: a U-Net that is told which digit to draw, and how it is trained.

import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  Adam,
  NoiseSchedule,
  Progress,
  RunFolder,
  UNet2D,
  digits,
  loadWeights,
  manualSeed,
  mse,
  rand,
  saveWeights,
  train,
  where,
} from "langevin";
import type { LossRecord } from "langevin";

/** The class that stands for none: it comes after the digits 0 to 9. */
export const nullLabel = 10;
/** The share of labels that training replaces by it. */
const labelDropout = 0.15;

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

/** Training in some four minutes: on two CPU cores, and what plain TypeScript, some forty times slower, gets done. */
export function trainingOn(device: string): Omit<Training, "seed"> {
  return { ...(device === "ts" ? { iterations: 400, batch: 16 } : { iterations: 4000, batch: 64 }), lr: 2e-3 };
}

/** What training leaves beside the model. */
export interface Trained {
  losses: LossRecord[];
  seconds: number;
}

/** Trains a model, and saves it in a folder of its own. */
export async function trainInto(folder: string, settings: Training): Promise<Trained> {
  const start = performance.now();
  const model = newModel(settings.seed);
  const losses = await trainModel(model, settings);
  await RunFolder.create(folder);
  await saveWeights(join(folder, "weights.safetensors"), model);
  return { losses, seconds: (performance.now() - start) / 1000 };
}

/** The model in a folder, ready to draw. */
export async function loadModel(folder: string): Promise<UNet2D> {
  const model = newModel(0);
  await loadWeights(join(folder, "weights.safetensors"), model);
  return model.eval();
}

/** The model in a folder; where the folder is missing, one is trained and put there. */
export async function loadOrTrain(folder: string, settings: Training): Promise<UNet2D> {
  if (!existsSync(folder)) {
    console.log(`There is no ${folder} yet.`);
    await trainInto(folder, settings);
  }
  return loadModel(folder);
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
