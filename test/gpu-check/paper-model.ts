// npm run cuda:model: a model on paper of how fast the goals' workloads run on one H100, as the tables of docs/performance.md.

import { Command } from "commander";
import { setDefaultDevice } from "langevin";
import { markdownTable } from "../../bench/report.ts";
import { ddpmUNet } from "../../bench/workloads/ddpm-unet.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import { openDevice } from "../../ts/device/devices.ts";
import type { Precision } from "../../ts/device/executor.ts";
import { precisions } from "../../ts/device/executor.ts";
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
  /** tf32 and bf16 products: 495 and 989 TFLOP/s (data sheet), of which mma.sync, instead of Hopper's wgmma, reaches six tenths. */
  tf32: 0.6 * 495e12,
  bf16: 0.6 * 989e12,
  /** Of these rates, what kernels of this kind reach. */
  efficiency: 0.5,
  /** Seconds from one kernel of a graph to the next that depends on it: its start, and the tail of a small grid. */
  launch: 2e-6,
} as const;

/** Kernels of a step's graph and of its longest chain, as `plan().toString()` tells them on device cuda at this batch. */
interface Graph {
  readonly kernels: number;
  readonly longest: number;
  readonly longestInBf16: number;
}

/** Seconds that a command takes: what is slower of arithmetic and memory. */
function timeOf({ flops, bytes, isProduct }: CommandCost, precision: Precision): number {
  const rate = h100.efficiency * (isProduct ? h100[precision] : h100.float32);
  return Math.max(flops / rate, bytes / h100.bandwidth);
}

/** Seconds of a step: all work, and starts along the longest chain. */
function predicted({ commands }: PlannedCost, graph: Graph, precision: Precision): number {
  const work = commands.reduce((total, command) => total + timeOf(command, precision), 0);
  return work + (precision === "bf16" ? graph.longestInBf16 : graph.longest) * h100.launch;
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
  readonly graph: Graph;
}

const tutorialSize = [8, 8, 1] as const;
const cifarSize = [32, 32, 3] as const;

/** Those of the goals. */
const workloads: readonly Workload[] = [
  {
    name: "tutorial C, train step, batch 128",
    steps: 1,
    step: () => trainingStep(tutorialUNet(), tutorialSize, 128),
    graph: { kernels: 116, longest: 46, longestInBf16: 50 },
  },
  ...[1, 132, 1024].map((batch) => ({
    name: `tutorial C, 1000 sampling steps, batch ${batch}`,
    steps: 1000,
    step: () => samplingStep(tutorialUNet(), tutorialSize, batch),
    graph: { kernels: 24, longest: 20, longestInBf16: 23 },
  })),
  {
    name: "DDPM CIFAR-10, train step, batch 128",
    steps: 1,
    step: () => trainingStep(ddpmUNet(cifarUNet), cifarSize, 128),
    graph: { kernels: 1184, longest: 588, longestInBf16: 581 },
  },
  {
    name: "DDPM CIFAR-10, 1000 sampling steps, batch 64",
    steps: 1000,
    step: () => samplingStep(ddpmUNet(cifarUNet), cifarSize, 64),
    graph: { kernels: 214, longest: 159, longestInBf16: 170 },
  },
];

/** The table. */
function paperModel(): string {
  const executor = openDevice(setDefaultDevice("cpu"));
  const rows = workloads.map(({ name, steps, step, graph }) => {
    const cost = plannedCost(step(), executor);
    const inBf16 = plannedCost(step(), executor, "bf16");
    return [
      name,
      showCount(steps * cost.flops, "FLOP"),
      [cost, inBf16].map(({ bytes }) => showCount(steps * bytes, "B")).join(" / "),
      `${graph.kernels} / ${graph.longest} / ${graph.longestInBf16}`,
      showTime(steps * limit(cost)),
      ...precisions.map((precision) =>
        showTime(steps * predicted(precision === "bf16" ? inBf16 : cost, graph, precision)),
      ),
    ];
  });
  const head = ["workload", "arithmetic", "bytes / in bf16", "kernels / chain / in bf16", "limit", ...precisions];
  return markdownTable([head, ...rows], [1, 2, 3, 4, 5, 6, 7]);
}

/** The tutorial's sampling in one kernel: milliseconds for 1000 steps, and of what they are made. */
function persistentModel(): string {
  const executor = openDevice(setDefaultDevice("cpu"));
  const rows = [1, 132, 1024].flatMap((batch) =>
    precisions.map((products) => {
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
