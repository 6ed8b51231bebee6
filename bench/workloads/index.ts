// Sets up the workload of a task.

import type { Task } from "../tasks.ts";
import { unetForward, unetTraining } from "./ddpm-unet.ts";
import { adamUpdate, convolution, groupNormSilu, product, selfAttention } from "./operations.ts";
import { largeReverseStep } from "./reverse-step.ts";
import { tutorialSampling, tutorialTraining } from "./tutorial-unet.ts";
import type { Manner, Workload } from "./workload.ts";

/** The workload on the default device. */
export function setUp(task: Task, manner: Manner = {}): Workload {
  switch (task.kind) {
    case "tutorial-train":
      return tutorialTraining(task, manner);
    case "tutorial-sample":
      return tutorialSampling(task, manner);
    case "reverse-step":
      return largeReverseStep(task, manner);
    case "unet-train":
      return unetTraining(task, manner);
    case "unet-forward":
      return unetForward(task, manner);
    case "conv":
      return convolution(task);
    case "matmul":
      return product(task);
    case "group-norm-silu":
      return groupNormSilu(task);
    case "attention":
      return selfAttention(task);
    case "adam":
      return adamUpdate(task);
  }
}
