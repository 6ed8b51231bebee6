// A model on paper of the persistent sampler (native/cuda/persistent): cycles of a step on one multiprocessor of an H100.
//
// A product takes what its warps' steps take, or what its weights take to come from the second-level cache, and the latencies
// that nothing hides: of barriers, of what follows on the sums, and of the first operands. Steps take what the busiest of the
// tensor cores, the integer and float32 cores and shared memory takes, divided by an efficiency.

import type { TensorTree } from "langevin";
import type { Executor } from "../../ts/device/executor.ts";
import type { RecordedCommand } from "../../ts/plan/recorded.ts";
import { listsOf } from "../../ts/plan/recorded.ts";
import { planOf } from "./planned-cost.ts";

/** In what products are computed. */
export type Products = "float32" | "tf32" | "bf16";

/** What is assumed of an H100 SXM5 beside what paper-model.ts assumes; cycles, unless it says otherwise. */
const machine = {
  multiprocessors: 132,
  /** In a second. */
  clock: 1.7e9,
  /**
   * From one m16n8k8 of tf32, or m16n8k16 of bf16, to the next on one of a multiprocessor's four tensor cores: six tenths of
   * the data sheet's rate.
   */
  tensor: 6.4,
  /** Bytes a cycle from the second-level cache to a multiprocessor: alone, and where all of them ask (5.5 TB/s). */
  cacheAlone: 64,
  cacheShared: 5.5e12 / 1.7e9 / 132,
  /** Of the busiest unit's rate, with two and with four warps on each of the four schedulers. */
  efficiency: { 1: 0.7, 2: 0.85 },
  /**
   * Latencies of a product: two barriers (60), the first sources from shared memory (70), the last tensor-core products and their
   * sums (90), sums of parts (50), bias and what follows (80).
   */
  product: 350,
  /** Of an instruction without a product: a barrier, the instruction itself, one pass over shared memory. */
  other: 250,
  /** Of the reverse step, whose x may come from the second-level cache. */
  reverseStep: 500,
  /** Seconds for each launch of 16 steps: its start and the next one's, and 228 KB of weights for each block. */
  launch: 8e-6,
  stepsALaunch: 16,
} as const;

/** Warps that work on an image. */
const warps = 8;

/** Vectors of 128 bytes that a warp reads of shared memory in a step: weights; a tile's source; and the table. */
const reads = { weights: { float32: 8, tf32: 8, bf16: 4 }, tile: 4, table: 3 } as const;
/** Tensor-core instructions of a step and tile. */
const tensorOps = { float32: 6, tf32: 2, bf16: 1 } as const;
/** Integer instructions of a step, which take two cycles each: addresses, and for each tile what rounds or splits the source. */
const integerOps = { addresses: 15, tile: { float32: 8, tf32: 4, bf16: 2 } } as const;
/** Float32 instructions of a step: what splits weights, and for each tile what splits the source and adds up. */
const floatOps = { weights: { float32: 32, tf32: 0, bf16: 0 }, tile: { float32: 16, tf32: 0, bf16: 0 } } as const;

interface Product {
  readonly pixels: number;
  /** Taps that meet a group of pixels, by the number of tiles in a group. */
  readonly taps: (tiles: number) => number;
  readonly channels: number;
  readonly outputs: number;
}

/** Cycles that all warps of a block take for a step each. */
function cyclesOfStep(tiles: number, products: Products, together: 1 | 2): number {
  const onScheduler = (warps * together) / 4;
  const busiest = Math.max(
    onScheduler * tensorOps[products] * tiles * machine.tensor,
    onScheduler * 2 * (integerOps.addresses + integerOps.tile[products] * tiles),
    onScheduler * (floatOps.weights[products] + floatOps.tile[products] * tiles),
    warps * together * (reads.weights[products] + reads.tile * tiles + reads.table),
  );
  return busiest / machine.efficiency[together];
}

/** How native/cuda/persistent cuts a product, and the steps that the busiest warp takes. */
function cut({ pixels, taps, channels, outputs }: Product): { tiles: number; steps: number } {
  const groups = (tiles: number) => Math.ceil(pixels / (8 * tiles));
  const cost = (tiles: number) => groups(tiles) * taps(tiles) * (tiles + 1);
  const tiles = cost(2) < cost(1) ? 2 : 1;
  const steps = Math.ceil((taps(tiles) * channels) / 16);
  const units = groups(tiles) * Math.ceil(outputs / 16);
  const parts = Math.max(1, Math.min(Math.floor(warps / units), steps));
  return { tiles, steps: Math.ceil(steps / parts) * Math.ceil((units * parts) / warps) };
}

function productOf({ op, attributes, inputs, output }: RecordedCommand): Product {
  const [x, weight] = inputs;
  const { shape } = output!;
  if (op.name === "matmul") return { pixels: 1, taps: () => 1, channels: x!.shape[1], outputs: shape[1] };
  const pixels = shape[1] * shape[2];
  const all = weight!.shape[0] * weight!.shape[1];
  const [strideY, strideX] = (attributes as { stride: readonly [number, number] }).stride;
  // Pixels of a transposed convolution come together by the taps that they meet.
  const classes = op.name === "convTranspose2d" ? strideY * strideX : 1;
  const taps = (tiles: number) => (all / classes) * Math.min(classes, Math.max(1, (8 * tiles * classes) / pixels));
  return { pixels, taps, channels: x!.shape[3], outputs: shape[3] };
}

/** Where weights lie, as plan().toString() tells of the tutorial's network: how many come from the second-level cache. */
const streamedWeights = {
  1: { float32: 40960, tf32: 40960, bf16: 0 },
  2: { float32: 78336, tf32: 78336, bf16: 20480 },
} as const;

/** Seconds of a step of all images, and of what they are made, for one block. */
export interface PersistentCost {
  readonly together: 1 | 2;
  readonly seconds: number;
  readonly parts: {
    readonly steps: number;
    readonly weights: number;
    readonly latencies: number;
    readonly launches: number;
  };
}

/** What a step of the tutorial's sampling takes, for a function that records it. */
export function persistentCost(
  fn: () => TensorTree | void,
  executor: Executor,
  batch: number,
  products: Products,
): PersistentCost {
  const commands = listsOf(planOf(fn, executor).placed.nodes).flatMap((list) => list.commands);
  const together = batch > machine.multiprocessors ? 2 : 1;
  const waves = Math.ceil(batch / (together * machine.multiprocessors));
  let steps = 0;
  let latencies = machine.other; // the timestep
  let projected = false;
  for (const command of commands) {
    const { name, multiplyAdds } = command.op;
    if (multiplyAdds !== undefined) {
      const product = productOf(command);
      const { tiles, steps: count } = cut(product);
      steps += count * cyclesOfStep(tiles, products, together);
      // Products of the time embedding are all done in one round.
      if (name !== "matmul" || !projected) latencies += machine.product;
      projected ||= name === "matmul";
    } else if (name === "ddpmStep") latencies += machine.reverseStep;
    else if (name === "maxPool2d" || name === "embedding") latencies += machine.other;
  }
  const bytes = streamedWeights[together][products] * (products === "bf16" ? 2 : 4);
  // Products that wait for weights multiply meanwhile, but are a third of all at most.
  const arrival = bytes / (batch === 1 ? machine.cacheAlone : machine.cacheShared);
  const weights = Math.max(0, arrival - steps / 3);
  const inSeconds = (cycles: number): number => (waves * cycles) / machine.clock;
  const parts = {
    steps: inSeconds(steps),
    weights: inSeconds(weights),
    latencies: inSeconds(latencies),
    launches: (waves * machine.launch) / machine.stepsALaunch,
  };
  return { together, parts, seconds: Object.values(parts).reduce((sum, part) => sum + part, 0) };
}
