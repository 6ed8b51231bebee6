// npm run cuda:model: a model on paper of how fast the goals' workloads run on one H100, as the tables of docs/performance.md.

import { Command } from "commander";
import { setDefaultDevice } from "langevin";
import { markdownTable } from "../../bench/report.ts";
import { ddpmUNet } from "../../bench/workloads/ddpm-unet.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import { openDevice } from "../../ts/device/devices.ts";
import { persistentCost } from "./persistent-model.ts";
import type { CommandCost, PlannedCost } from "./planned-cost.ts";
import { plannedCost, samplingStep, trainingStep } from "./planned-cost.ts";
import { cifarUNet } from "./timings.ts";

/** What is assumed of an H100 SXM5. */
const h100 = {
  /** Bytes in a second: 3.35 TB/s (data sheet), of which copies are known to reach nine tenths. */
  bandwidth: 0.9 * 3.35e12,
  /** Float32 multiplications and additions in a second outside of tensor cores: 66.9 TFLOP/s (data sheet). */
  float32: 66.9e12,
  /** bf16 products: 989 TFLOP/s (data sheet), of which mma.sync, instead of Hopper's wgmma, reaches about six tenths. */
  bf16: 0.6 * 989e12,
  /** Of these rates, what kernels of this kind reach. */
  efficiency: 0.5,
  /** Seconds from one kernel of a graph to the next that depends on it: its start, and the tail of a small grid. */
  launch: 2e-6,
} as const;

type Precision = "float32" | "bf16";

/** Seconds that a command takes: its start, and what is slower of arithmetic and memory. bf16 halves the bytes of products. */
function timeOf({ flops, bytes, isProduct }: CommandCost, precision: Precision): number {
  const rate = h100.efficiency * (isProduct ? h100[precision] : h100.float32);
  const moved = precision === "bf16" && isProduct ? bytes / 2 : bytes;
  return h100.launch + Math.max(flops / rate, moved / h100.bandwidth);
}

/** Seconds of a step as it is planned now, one kernel for each command. */
function predicted({ commands, launches }: PlannedCost, precision: Precision): number {
  const others = launches - commands.length;
  return commands.reduce((total, command) => total + timeOf(command, precision), others * h100.launch);
}

/** Seconds below which an H100 cannot come: products at mma.sync's rate, or bytes. */
function limit({ commands, bytes }: PlannedCost): number {
  const products = commands.reduce((total, { flops, isProduct }) => total + (isProduct ? flops : 0), 0);
  return Math.max(products / h100.bf16, bytes / 2 / h100.bandwidth);
}

const showTime = (seconds: number): string =>
  seconds < 1e-3
    ? `${(1e6 * seconds).toPrecision(3)} us`
    : seconds < 1
      ? `${(1e3 * seconds).toPrecision(3)} ms`
      : `${seconds.toPrecision(3)} s`;
const showCount = (count: number, unit: string): string => {
  const power = ["", "k", "M", "G", "T", "P"];
  const at = Math.floor(Math.log10(Math.max(1, count)) / 3);
  return `${(count / 1000 ** at).toPrecision(3)} ${power[at]}${unit}`;
};

interface Workload {
  readonly name: string;
  /** Steps in a call. */
  readonly steps: number;
  readonly step: () => Parameters<typeof plannedCost>[0];
}

const tutorialSize = [8, 8, 1] as const;
const cifarSize = [32, 32, 3] as const;

/** The goals of issue 7, which docs/performance.md repeats. */
const workloads: readonly Workload[] = [
  { name: "tutorial C, train step, batch 128", steps: 1, step: () => trainingStep(tutorialUNet(), tutorialSize, 128) },
  ...[1, 132, 1024].map((batch) => ({
    name: `tutorial C, 1000 sampling steps, batch ${batch}`,
    steps: 1000,
    step: () => samplingStep(tutorialUNet(), tutorialSize, batch),
  })),
  {
    name: "DDPM CIFAR-10, train step, batch 128",
    steps: 1,
    step: () => trainingStep(ddpmUNet(cifarUNet), cifarSize, 128),
  },
  {
    name: "DDPM CIFAR-10, 1000 sampling steps, batch 64",
    steps: 1000,
    step: () => samplingStep(ddpmUNet(cifarUNet), cifarSize, 64),
  },
];

/** The table. */
function paperModel(): string {
  const executor = openDevice(setDefaultDevice("cpu"));
  const rows = workloads.map(({ name, steps, step }) => {
    const cost = plannedCost(step(), executor);
    return [
      name,
      showCount(steps * cost.flops, "FLOP"),
      showCount(steps * cost.bytes, "B"),
      String(cost.launches),
      showTime(steps * limit(cost)),
      showTime(steps * predicted(cost, "float32")),
      showTime(steps * predicted(cost, "bf16")),
    ];
  });
  const head = ["workload", "arithmetic", "bytes", "launches a step", "limit", "predicted, float32", "predicted, bf16"];
  return markdownTable([head, ...rows], [1, 2, 3, 4, 5, 6]);
}

/** The tutorial's sampling in one kernel: milliseconds for 1000 steps, and of what they are made. */
function persistentModel(): string {
  const executor = openDevice(setDefaultDevice("cpu"));
  const rows = [1, 132, 1024].flatMap((batch) =>
    (["float32", "tf32", "bf16"] as const).map((products) => {
      const cost = persistentCost(samplingStep(tutorialUNet(), tutorialSize, batch), executor, batch, products);
      const { steps, weights, latencies, launches } = cost.parts;
      return [
        String(batch),
        products,
        String(cost.together),
        ...[cost.seconds, steps, weights, latencies, launches].map((seconds) => showTime(1000 * seconds)),
      ];
    }),
  );
  const head = ["batch", "products", "images a block", "1000 steps", "products", "weights", "latencies", "launches"];
  return markdownTable([head, ...rows], [0, 2, 3, 4, 5, 6, 7]);
}

new Command("npm run cuda:model").description("Predicts times on an H100 from plans. Nothing is executed.").parse();
console.log(`${paperModel()}\n\nTutorial C's sampling in one kernel:\n\n${persistentModel()}`);
