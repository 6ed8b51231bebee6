// W1 and W2: the small U-Net of tutorial part C, a training step and a thousand reverse steps of it.

import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { TaskOf } from "../tasks.ts";
import { sampling, schedule, training } from "./training.ts";
import type { Manner, Workload } from "./workload.ts";

const size: [number, number, number] = [8, 8, 1];

/** The network: 135,473 parameters. */
export const tutorialUNet = (): TutorialUNet =>
  new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: schedule.steps });

type TutorialTask = TaskOf<"tutorial-train" | "tutorial-sample">;

/** W1. */
export function tutorialTraining({ batch }: TutorialTask, manner: Manner): Workload {
  return training(tutorialUNet(), size, { calls: 10, ...manner, batch });
}

/** W2: all steps of DDPM. */
export function tutorialSampling({ batch }: TutorialTask, manner: Manner): Workload {
  return sampling(tutorialUNet(), size, { ...manner, batch });
}
