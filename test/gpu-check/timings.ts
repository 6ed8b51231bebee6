// How long the bench's workloads take on device cuda, replayed as plans, and how far their networks are from the CPU's.

import type { Tensor } from "langevin";
import { manualSeed, noGrad, randint, randn, scope, setDefaultDevice } from "langevin";
import { unetForward, unetTraining, usualUNet } from "../../bench/tasks.ts";
import type { Task, UNetSizes } from "../../bench/tasks.ts";
import { ddpmUNet } from "../../bench/workloads/ddpm-unet.ts";
import { setUp } from "../../bench/workloads/index.ts";
import { schedule } from "../../bench/workloads/training.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import type { Workload } from "../../bench/workloads/workload.ts";
import type { Part, Session } from "./session.ts";
import { WrongAnswer, missingKernelIn } from "./session.ts";

/** DDPM's U-Net for CIFAR-10 (Ho et al. 2020): 35.7 million parameters. */
export const cifarUNet: UNetSizes = { size: 32, base: 128, mults: [1, 2, 2, 2] };

const tutorialTrain = (batch: number): Task => {
  return { workload: "W1", metric: "ms_per_train_step", kind: "tutorial-train", batch };
};
const tutorialSample = (batch: number): Task => {
  return { workload: `W2-b${batch}`, metric: "s_total_1000_steps", kind: "tutorial-sample", batch };
};
const cifar = <T extends Task>(task: T): T => ({ ...task, workload: task.workload.replace("W4", "cifar10") });

/** What is timed: the bench's W1 to W4, and the goals for one H100. */
export const timedTasks: readonly Task[] = [
  tutorialTrain(128),
  ...[1, 64, 132, 1024].map(tutorialSample),
  { workload: "W3", metric: "ms_per_step", kind: "reverse-step", size: 512 },
  unetTraining(usualUNet, 16),
  unetForward(usualUNet, 16),
  cifar(unetTraining(cifarUNet, 128)),
  cifar(unetForward(cifarUNet, 64)),
];

const tinyUNet: UNetSizes = { size: 8, base: 32, mults: [1, 1] };
/** A training step that is small. */
export const tinyTraining = unetTraining(tinyUNet, 1);

/** What stands for them where kernels run on the host: one of each kind. */
const reducedTasks: readonly Task[] = [
  tutorialTrain(1),
  tutorialSample(1),
  { workload: "W3", metric: "ms_per_step", kind: "reverse-step", size: 8 },
  tinyTraining,
  unetForward(tinyUNet, 1),
];

/** Runs so often, and for so many seconds, at least, after one run that warms up. */
const least = { full: { runs: 3, seconds: 2 }, reduced: { runs: 1, seconds: 0 } };

/** Median seconds of a call. */
async function timeOf(workload: Workload, { runs, seconds }: typeof least.full): Promise<number> {
  const times: number[] = [];
  const begin = performance.now();
  await workload.run();
  while (times.length < runs || performance.now() - begin < 1000 * seconds) {
    await workload.prepare?.();
    const start = performance.now();
    await workload.run();
    times.push((performance.now() - start) / 1000 / workload.calls);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

/** Seconds in which the GPU could do it: its arithmetic in bf16 products or its bytes, whichever takes longer. */
function limitOf({ cost }: Workload, { ceilings }: Session): number | undefined {
  if (ceilings === undefined) return undefined;
  const products = ceilings.bf16Tflops > 0 ? cost.flops / (1e12 * ceilings.bf16Tflops) : 0;
  return Math.max(products, cost.bytes / (1e9 * ceilings.copyGbps));
}

/** What the task's network gives on the default device, for weights and inputs of a seed. */
function outputOf(task: Task, seed: number): Tensor | undefined {
  if (!("batch" in task) || task.kind === "conv" || task.kind === "group-norm-silu" || task.kind === "attention")
    return undefined;
  manualSeed(seed);
  const [model, size] = "base" in task ? [ddpmUNet(task), [task.size, task.size, 3]] : [tutorialUNet(), [8, 8, 1]];
  model.eval();
  // One or two images tell as much of the arithmetic as a batch does, and the CPU has to compute them, too.
  const count = Math.min(2, task.batch);
  return scope(() => {
    const [x, t] = [randn([count, ...size]), randint(0, schedule.steps, [count])];
    return noGrad(() => model.forward(x, t)).keep();
  });
}

/** What float32 networks of this depth may differ by, relative to their largest output. */
const mostApart = 1e-4;

/** Largest difference of the network's output from the CPU's, relative to the largest value. */
async function errorOf(task: Task, seed: number): Promise<number | undefined> {
  const outputs: Float32Array[] = [];
  for (const device of ["cpu", "cuda"] as const) {
    setDefaultDevice(device);
    const output = outputOf(task, seed);
    if (output === undefined) return undefined;
    outputs.push(Float32Array.from(await output.data()));
    output.dispose();
  }
  const [expected, got] = outputs;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const error = got.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0) / largest;
  if (!(error <= mostApart)) throw new WrongAnswer(`the network of ${task.workload} is ${error} away from the CPU's`);
  return error;
}

/** Times them all, and checks each network beside. */
export const timings: Part = {
  title: "Times, by replay of graphs",
  async run(session) {
    for (const task of session.reduced ? reducedTasks : timedTasks) {
      if (Date.now() > session.deadline) {
        session.leaveOut(`timing of ${task.workload}`, "the ten minutes are over");
        continue;
      }
      try {
        const error = await errorOf(task, session.seed);
        setDefaultDevice("cuda");
        const workload = setUp(task);
        const ours = await timeOf(workload, session.reduced ? least.reduced : least.full);
        await workload.close();
        session.rows.push({
          workload: `${task.workload} ${task.metric}`,
          limit: limitOf(workload, session),
          ours,
          error,
        });
        session.say(`${task.workload}: ${(1000 * ours).toPrecision(4)} ms a call`);
      } catch (error) {
        const missing = missingKernelIn((error as Error).message);
        if (missing === undefined) throw error;
        session.leaveOut(`timing of ${task.workload}`, `${missing} has no CUDA kernel`);
      }
    }
  },
};
