// Losses of a short training, for devices and precisions to be compared by.

import type { DeviceName, NoiseSchedule, Precision } from "langevin";
import { Adam, ImageSet, manualSeed, mse, setDefaultDevice, train } from "langevin";
import type { Network } from "../../bench/workloads/training.ts";
import { generator } from "../ops/draw.ts";

/** A training on pictures of noise. */
export interface ShortTraining {
  readonly network: () => Network;
  readonly size: readonly [height: number, width: number, channels: number];
  readonly schedule: NoiseSchedule;
  /** Pictures in all. */
  readonly count: number;
  readonly batch: number;
  readonly iterations: number;
  readonly lr: number;
  readonly seed: number;
}

/** The losses of all steps. */
export async function lossesOf(
  { network, size, schedule, count, batch, iterations, lr, seed }: ShortTraining,
  device: DeviceName,
  how: { readonly precision?: Precision; readonly checkFinite?: boolean } = {},
): Promise<number[]> {
  setDefaultDevice(device);
  manualSeed(seed);
  const random = generator(seed);
  const pixels = size.reduce((product, n) => product * n, count);
  const images = Float32Array.from({ length: pixels }, () => 2 * random() - 1);
  const model = network();
  const adam = new Adam(model.parameters(), { lr });
  const losses: number[] = [];
  for await (const { loss } of train({
    iterations,
    seed,
    schedule,
    data: new ImageSet({ images, shape: [count, ...size] }).batches(batch),
    step: ({ x0, t, noise }) => {
      const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
      loss.backward();
      adam.step();
      return { loss };
    },
    ...how,
  }))
    losses.push(loss);
  adam.dispose();
  model.dispose();
  return losses;
}
