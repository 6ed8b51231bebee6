// Tutorial, part A: sampling is a loop. We start from noise and take 24 reverse steps with a network that knows nothing.

import { NoiseSchedule, RunFolder, grid, manualSeed, noGrad, randn, scope } from "langevin";
import { exampleOptions, useDevice } from "./options.ts";
import { TinyNet } from "./tutorial-nets.ts";

const { seed, out, device } = exampleOptions({ seed: 1, out: "runs/tutorial-a" });
useDevice(device);
manualSeed(seed);

// Few steps need a strong schedule: after 24 steps with betas up to 0.6 nothing of the picture is left.
const schedule = new NoiseSchedule({ steps: 24, betaStart: 1e-4, betaEnd: 0.6 });
const network = new TinyNet(3);

// x[T] ~ N(0, 1), one image of 512x512 pixels.
let x = randn([1, 512, 512, 3], { seed, draw: 0 });
console.log(`alphaBar at the end: ${schedule.alphaBar[23].toExponential(2)}, so x[T] is noise.`);

const start = performance.now();
for (let t = schedule.steps - 1; t >= 0; t--) {
  // x[t-1] = mu + sigma z: the schedule computes mu from the noise that the network believes to see, and draws z
  // (at t = 0 there is none: sigma is 0). Whatever the step makes besides the new x is freed when the scope ends.
  const current = x;
  x = noGrad(() =>
    scope(() => {
      const timestep = schedule.timesteps(t, current);
      const epsilon = network.forward(current, timestep);
      return schedule.reverseStep(current, timestep, epsilon, { seed, step: schedule.steps - 1 - t });
    }),
  );
  current.dispose();
}
const values = await x.data(); // steps are queued; this waits for the last one
const seconds = (performance.now() - start) / 1000;

// An untrained network takes no noise away, so the values run far beyond [-1, 1]: we stretch the picture to their range.
let [low, high] = [0, 0];
for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
const folder = await RunFolder.create(out);
const file = await folder.writePicture("sample.png", await grid(x, { range: [low, high] }));
await folder.writeSummary({ program: "a", iterations: 0, seed, device: x.device, seconds });
console.log(
  `24 steps at 512x512 on ${x.device} in ${seconds.toFixed(2)} s. ${file} shows what an untrained network dreams, with values from ${low.toFixed(1)} to ${high.toFixed(1)}.`,
);
