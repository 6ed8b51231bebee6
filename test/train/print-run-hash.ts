// Program: trains the tutorial's part C for 20 steps, samples with 20 steps, and prints hashes of all that came out.
// Arguments: small or full; plan or eager.

import { createHash } from "node:crypto";
import { Adam, ImageSet, NoiseSchedule, manualSeed, mse, sample, train } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";

const square = Float32Array.from({ length: 64 }, (_, i) => {
  const [y, x] = [Math.floor(i / 8), i % 8];
  return y >= 2 && y <= 5 && x >= 2 && x <= 5 ? 1 : -1;
});
const [batch, channels]: [number, [number, number, number]] =
  process.argv[2] === "small" ? [8, [4, 8, 16]] : [128, [16, 32, 64]];
const eager = process.argv[3] === "eager";

manualSeed(11);
const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
const model = new TutorialUNet({ imageChannels: 1, channels, timeDim: 16, steps: 1000 });
const adam = new Adam(model.parameters(), { lr: 1e-3 });
const data = new ImageSet({ images: square, shape: [1, 8, 8, 1] }).batches(batch);

const losses: number[] = [];
for await (const { loss } of train({
  iterations: 20,
  seed: 5,
  schedule,
  data,
  eager,
  step: ({ x0, t, noise }) => {
    const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
    loss.backward();
    adam.step();
    return { loss };
  },
}))
  losses.push(loss);

const weights = createHash("sha256");
for (const parameter of model.parameters()) weights.update(await parameter.data());
const images = await sample({
  model,
  schedule: new NoiseSchedule({ steps: 20, betaStart: 1e-4, betaEnd: 0.6 }),
  count: 10,
  size: [8, 8, 1],
  seed: 3,
  eager,
});
console.log(
  JSON.stringify({
    losses: losses.map((loss) => loss.toString()),
    weights: weights.digest("hex"),
    images: createHash("sha256")
      .update(await images.data())
      .digest("hex"),
  }),
);
