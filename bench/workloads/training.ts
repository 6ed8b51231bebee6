// Training steps as `train` runs them (noise, timesteps, forward, loss, backward and Adam) and the reverse steps of `sample`,
// replayed as plans.

import type { Module, Tensor } from "langevin";
import { Adam, ImageSet, NoiseSchedule, mse, sample, train } from "langevin";
import type { Manner, Workload } from "./workload.ts";
import { forwardCost, trainingCost } from "./workload.ts";

/** DDPM's betas (Ho et al. 2020), over its 1000 steps or others. */
const ddpmSchedule = (steps: number): NoiseSchedule => new NoiseSchedule({ steps, betaStart: 1e-4, betaEnd: 0.02 });

/** DDPM's schedule. */
export const schedule = ddpmSchedule(1000);

/** A network that predicts noise. */
export interface Network extends Module {
  forward(x: Tensor, t: Tensor): Tensor;
}

/** Training of a network on grey pictures of size [H, W, C], `calls` steps a run. */
export function training(
  model: Network,
  size: [height: number, width: number, channels: number],
  { batch, calls, precision }: Manner & { readonly batch: number; readonly calls: number },
): Workload {
  const cost = trainingCost(model, size, batch);
  const images = new Float32Array(size[0] * size[1] * size[2]).fill(-0.5);
  const adam = new Adam(model.parameters(), { lr: 1e-4 });
  const steps = train({
    iterations: Number.MAX_SAFE_INTEGER,
    pauseEvery: calls, // so that none runs ahead, out of sight of the clock
    schedule,
    data: new ImageSet({ images, shape: [1, ...size] }).batches(batch),
    step: ({ x0, t, noise }) => {
      const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
      loss.backward();
      adam.step();
      return { loss };
    },
    precision,
  });
  return {
    variant: "plan",
    calls,
    cost,
    async run() {
      for (let call = 0; call < calls; call++) await steps.next();
    },
    async close() {
      await steps.return(undefined);
      adam.dispose();
      model.dispose();
    },
  };
}

/** Sampling from a network through `sample`, which records its plan anew each time: all steps are a call. */
export function sampling(
  model: Network,
  size: [height: number, width: number, channels: number],
  { batch, steps = schedule.steps, precision }: Manner & { readonly batch: number },
): Workload {
  model.eval();
  const step = forwardCost(model, size, batch);
  // A short run ends at a picture as a long one does, and begins at one that still holds signal.
  const options = { schedule: ddpmSchedule(steps), allowResidualSignal: true, count: batch, batch, size, precision };
  return {
    variant: "plan",
    calls: 1,
    cost: { flops: steps * step.flops, bytes: steps * step.bytes, steps },
    async run() {
      const pictures = await sample({ model, ...options });
      await pictures.data();
      pictures.dispose();
    },
    close() {
      model.dispose();
    },
  };
}
