// A denoiser of a few weights, with data and a training step, for tests that need many steps or many runs.

import type { StepInputs, Tensor } from "langevin";
import { Adam, Conv2d, Embedding, ImageSet, Module, NoiseSchedule, mse } from "langevin";

export const schedule = new NoiseSchedule({ steps: 20, betaStart: 1e-4, betaEnd: 0.6 });

/** Two convolutions with an embedding of t between them. */
export class SmallNet extends Module {
  embed = new Embedding(20, 4);
  conv1 = new Conv2d(1, 4, 3, { padding: 1 });
  conv2 = new Conv2d(4, 1, 3, { padding: 1 });

  forward(x: Tensor, t: Tensor): Tensor {
    const time = this.embed.forward(t).reshape([-1, 1, 1, 4]);
    return this.conv2.forward(this.conv1.forward(x).add(time).relu());
  }
}

/** Twelve pictures of 4x4: bright at one place each. */
export const pictures = new ImageSet({
  images: Float32Array.from({ length: 12 * 16 }, (_, i) => (i % 16 === Math.floor(i / 16) ? 1 : -1)),
  shape: [12, 4, 4, 1],
});

export interface SmallRun {
  readonly model: SmallNet;
  readonly adam: Adam;
  readonly step: (inputs: StepInputs) => { loss: Tensor };
}

export function smallRun(): SmallRun {
  const model = new SmallNet();
  const adam = new Adam(model.parameters(), { lr: 1e-2 });
  const step = ({ x0, t, noise }: StepInputs): { loss: Tensor } => {
    const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
    loss.backward();
    adam.step();
    return { loss };
  };
  return { model, adam, step };
}
