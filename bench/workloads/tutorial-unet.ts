// W1 and W2: the small U-Net of tutorial part C, a training step and a thousand reverse steps of it.

import { sample } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { TaskOf } from "../tasks.ts";
import { schedule, training } from "./training.ts";
import type { Workload } from "./workload.ts";
import { forwardCost } from "./workload.ts";

const size: [number, number, number] = [8, 8, 1];

/** The network: 135,473 parameters. */
export const tutorialUNet = (): TutorialUNet =>
  new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: schedule.steps });

/** W1. */
export function tutorialTraining({ batch }: TaskOf<"tutorial-train" | "tutorial-sample">): Workload {
  return training(tutorialUNet(), size, { batch, calls: 10 });
}

/** W2: all steps of DDPM, through `sample`, which records its plan anew each time. */
export function tutorialSampling({ batch }: TaskOf<"tutorial-train" | "tutorial-sample">): Workload {
  const model = tutorialUNet();
  model.eval();
  const [step, { steps }] = [forwardCost(model, size, batch), schedule];
  return {
    variant: "plan",
    calls: 1,
    cost: { flops: steps * step.flops, bytes: steps * step.bytes, steps },
    async run() {
      (await sample({ model, schedule, count: batch, batch, size })).dispose();
    },
    close() {},
  };
}
