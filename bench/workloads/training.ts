// Training steps as `train` runs them: noise, timesteps, forward, loss, backward and Adam, the step replayed as a plan.

import type { Module, Tensor } from "langevin";
import { Adam, ImageSet, NoiseSchedule, mse, train } from "langevin";
import type { Workload } from "./workload.ts";
import { trainingCost } from "./workload.ts";

/** DDPM's schedule (Ho et al. 2020). */
export const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });

/** A network that predicts noise. */
export interface Network extends Module {
  forward(x: Tensor, t: Tensor): Tensor;
}

/** Training of a network on grey pictures of size [H, W, C], `calls` steps a run. */
export function training(
  model: Network,
  size: [height: number, width: number, channels: number],
  { batch, calls }: { readonly batch: number; readonly calls: number },
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
    },
  };
}
