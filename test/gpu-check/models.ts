// The golden cases on device cuda, and fifty training steps of the tutorial's U-Net beside the CPU's.

import { join, relative } from "node:path";
import { Adam, ImageSet, NoiseSchedule, manualSeed, mse, setDefaultDevice, train } from "langevin";
import type { DeviceName } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { findSidecars, readDataSet } from "../golden-suite/data-set.ts";
import { enterSetting, runCase } from "../golden-suite/suite.ts";
import { generator } from "../ops/draw.ts";
import type { Part, Session } from "./session.ts";
import { WrongAnswer, missingKernelIn } from "./session.ts";

/** Data sets that are run where everything is to be small: one of each folder. */
const small = /ops.norm_act|optim.optimizers|seed.part_b|schedulers.EDMEuler|legacy_names.golden|extra.dit/;

/** All of test/golden on device cuda, eagerly, and as plans with eager's bits. */
export const goldenSuites: Part = {
  title: "Golden suites",
  async run(session) {
    const folder = join(packageRoot(), "test", "golden");
    const eager = enterSetting("cuda", "float32");
    const settings = [eager, enterSetting("cuda", "float32", { eager })];
    const count = { passed: 0, skipped: 0, late: 0 };
    const needed = new Set<string>();
    for (const path of findSidecars(folder).filter((file) => !session.reduced || small.test(file))) {
      if (Date.now() > session.deadline) {
        session.leaveOut(`golden suite ${relative(folder, path)}`, "the ten minutes are over");
        count.late++;
        continue;
      }
      const data = readDataSet(path);
      for (const given of data.cases)
        for (const setting of settings) {
          const outcome = await runCase(data, given, setting);
          const missing = outcome.status === "failed" ? missingKernelIn(outcome.problem) : undefined;
          if (missing !== undefined) needed.add(missing);
          else if (outcome.status === "failed") {
            const how = setting === eager ? "" : ", as a plan";
            throw new WrongAnswer(`golden case ${relative(folder, path)} ${given.name}${how}: ${outcome.problem}`);
          } else count[outcome.status]++;
        }
      eager.ended.clear();
    }
    session.say(
      `${count.passed} cases passed, eagerly or as plans, ${count.skipped} are of kinds that are not supported`,
    );
    if (needed.size > 0) session.say(`others need ops without CUDA kernels: ${[...needed].join(", ")}`);
    if (count.passed + count.late === 0) throw new WrongAnswer("no golden case ran");
  },
};

/**
 * How far losses may be apart. At the tutorial's learning rate, cpu and ts stay within 3e-7 over all steps; at ten times that
 * rate Adam carries roundings on, to 1e-3 after fifty steps.
 */
const mostApart = 1e-5;
const learningRate = 1e-4;

/** Losses of the tutorial's training on a device, from the same weights, pictures and noise. */
async function lossesOn(device: DeviceName, session: Session): Promise<number[]> {
  const [batch, count] = session.reduced ? [2, 4] : [128, 256];
  setDefaultDevice(device);
  manualSeed(session.seed);
  const random = generator(session.seed);
  const images = Float32Array.from({ length: count * 64 }, () => 2 * random() - 1);
  const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
  const model = new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: schedule.steps });
  const adam = new Adam(model.parameters(), { lr: learningRate });
  const losses: number[] = [];
  for await (const { loss } of train({
    iterations: 50,
    seed: session.seed,
    schedule,
    data: new ImageSet({ images, shape: [count, 8, 8, 1] }).batches(batch),
    step: ({ x0, t, noise }) => {
      const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
      loss.backward();
      adam.step();
      return { loss };
    },
  }))
    losses.push(loss);
  adam.dispose();
  return losses;
}

/** Training on cuda takes the course that it takes on cpu. */
export const lossParity: Part = {
  title: "Losses of training beside the CPU's",
  async run(session) {
    const expected = await lossesOn("cpu", session);
    const got = await lossesOn("cuda", session);
    const apart = got.map((loss, i) => Math.abs(loss - expected[i]) / Math.abs(expected[i]));
    const wrong = apart.findIndex((distance) => !(distance <= mostApart));
    if (got.length !== expected.length || wrong >= 0)
      throw new WrongAnswer(`the loss of step ${wrong + 1} is ${got[wrong]} on cuda and ${expected[wrong]} on cpu`);
    session.say(
      `${got.length} steps, from ${got[0].toPrecision(4)} to ${got.at(-1)!.toPrecision(4)}, at most ${Math.max(...apart).toExponential(1)} apart`,
    );
  },
};
