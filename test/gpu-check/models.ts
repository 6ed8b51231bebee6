// The golden cases on device cuda, and fifty training steps of the tutorial's U-Net beside the CPU's.

import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { schedule } from "../../bench/workloads/training.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { findSidecars, readDataSet } from "../golden-suite/data-set.ts";
import { enterSetting, runCase } from "../golden-suite/suite.ts";
import type { ShortTraining } from "./losses.ts";
import { lossesOf } from "./losses.ts";
import type { Part } from "./session.ts";
import { WrongAnswer, missingKernelIn } from "./session.ts";

/** Data sets that are run where everything is to be small: one of each folder. */
const small = /ops.norm_act|optim.optimizers|seed.part_b|schedulers.EDMEuler|legacy_names.golden|extra.dit/;

/** All of test/golden on device cuda, eagerly, and as plans with eager's bits. */
export const goldenSuites: Part = {
  name: "golden",
  title: "Golden suites",
  async run(session) {
    const folder = join(packageRoot(), "test", "golden");
    if (!existsSync(folder)) return session.leaveOut("golden suites", "this folder was packed without their data");
    const eager = enterSetting("cuda", "float32");
    const settings = [eager, enterSetting("cuda", "float32", { eager })];
    const count = { passed: 0, skipped: 0 };
    const needed = new Set<string>();
    const before = session.leftOut.length;
    for (const path of findSidecars(folder).filter((file) => !session.reduced || small.test(file))) {
      const suite = relative(folder, path);
      await session.attempt(`golden suite ${suite}`, async () => {
        const data = readDataSet(path);
        for (const given of data.cases)
          for (const setting of settings) {
            const name = `golden case ${suite} ${given.name}${setting === eager ? "" : ", as a plan"}`;
            await session.attempt(name, async () => {
              const outcome = await runCase(data, given, setting);
              const missing = outcome.status === "failed" ? missingKernelIn(outcome.problem) : undefined;
              if (missing !== undefined) needed.add(missing);
              else if (outcome.status === "failed") throw new WrongAnswer(`${name}: ${outcome.problem}`);
              else count[outcome.status]++;
            });
          }
        eager.ended.clear();
      });
    }
    session.say(
      `${count.passed} cases passed, eagerly or as plans, ${count.skipped} are of kinds that are not supported`,
    );
    if (needed.size > 0) session.say(`others need ops without CUDA kernels: ${[...needed].join(", ")}`);
    if (count.passed === 0 && session.leftOut.length === before) throw new WrongAnswer("no golden case ran");
  },
};

/**
 * How far losses may be apart. At the tutorial's learning rate, cpu and ts stay within 3e-7 over all steps; at ten times that
 * rate Adam carries roundings on, to 1e-3 after fifty steps.
 */
const mostApart = 1e-5;
const learningRate = 1e-4;

/** Training on cuda takes the course that it takes on cpu. */
export const lossParity: Part = {
  name: "parity",
  title: "Losses of training beside the CPU's",
  async run(session) {
    const training: ShortTraining = {
      network: tutorialUNet,
      size: [8, 8, 1],
      schedule,
      ...(session.reduced ? { batch: 2, count: 4 } : { batch: 128, count: 256 }),
      ...{ iterations: 50, lr: learningRate, seed: session.seed },
    };
    const expected = await lossesOf(training, "cpu");
    const got = await lossesOf(training, "cuda");
    const apart = got.map((loss, i) => Math.abs(loss - expected[i]) / Math.abs(expected[i]));
    const wrong = apart.findIndex((distance) => !(distance <= mostApart));
    if (got.length !== expected.length || wrong >= 0)
      throw new WrongAnswer(`the loss of step ${wrong + 1} is ${got[wrong]} on cuda and ${expected[wrong]} on cpu`);
    session.say(
      `${got.length} steps, from ${got[0].toPrecision(4)} to ${got.at(-1)!.toPrecision(4)}, at most ${Math.max(...apart).toExponential(1)} apart`,
    );
  },
};
