// Program: runs random programs, forward and backward, in every way of making and freeing tensors, and checks that no memory stays.

import { parseArgs } from "node:util";
import type { DeviceName, Optimizer, OptimizerOptions, Tensor } from "langevin";
import {
  Adam,
  AdamW,
  Conv2d,
  Dropout,
  Flatten,
  LangevinError,
  Linear,
  MultiHeadAttention,
  RMSprop,
  SGD,
  Sequential,
  SiLU,
  clipGradNorm,
  dropout,
  einsum,
  huber,
  mse,
  noGrad,
  randn,
  scope,
  setDefaultDevice,
} from "langevin";
import { generator } from "../ops/draw.ts";
import type { LiveMemory } from "./devices.ts";
import { eventLoopTurn, liveMemory, referencedMemory } from "./devices.ts";
import type { Program } from "./random-programs.ts";
import { drawProgram, leavesOf, lossOf, print, run } from "./random-programs.ts";

/** One way of using a program that leaves nothing behind. */
type Round = (program: Program, random: () => number) => void | Promise<void>;

const disposeAll = (values: Iterable<Tensor>): void => {
  for (const value of values) value.dispose();
};

/** Everything in one scope. */
function scoped(program: Program): void {
  scope(() => {
    const leaves = leavesOf(program);
    lossOf(program, run(program, leaves)).backward();
  });
}

/** Every step in a scope of its own, of which the leaves' gradients stay until the leaves go. */
function nested(program: Program): void {
  scope(() => {
    const leaves = leavesOf(program);
    for (let i = 0; i < 2; i++)
      scope(() => {
        const values = run(program, leaves, (compute) => scope(compute));
        const loss = lossOf(program, values);
        scope(() => {
          loss.backward();
        });
      });
  });
}

/** No scope at all: every value is disposed of by hand, some of them before they are needed for the walk back. */
function disposed(program: Program, random: () => number): void {
  const leaves = leavesOf(program);
  const values = run(program, leaves);
  const loss = lossOf(program, values);
  const early = [...values.values()].filter((value) => !leaves.includes(value) && random() < 0.5);
  disposeAll(early);
  loss.backward();
  loss.dispose();
  disposeAll(values.values());
}

/** Nothing is recorded. */
function ungraded(program: Program): void {
  const values = noGrad(() => run(program, leavesOf(program)));
  disposeAll(values.values());
}

/** A graph that is never walked back. */
function unwalked(program: Program): void {
  const values = run(program, leavesOf(program));
  lossOf(program, values).dispose();
  disposeAll(values.values());
}

/** An error, of the caller or of the library, after some of the steps, or in a second walk back. */
function interrupted(program: Program, random: () => number): void {
  let steps = Math.floor(program.statements.length * random());
  expectThrow(() => {
    scope(() => {
      const leaves = leavesOf(program);
      const values = run(program, leaves, (compute) => {
        if (steps-- > 0) return compute();
        return scope(() => {
          const value = compute();
          if (random() < 0.5) throw new LangevinError({ op: "test", problem: "a user's error." });
          return value.reshape([value.size + 1]);
        });
      });
      const loss = lossOf(program, values);
      loss.backward();
      loss.backward();
      throw new LangevinError({ op: "test", problem: "the loss was a leaf." });
    });
  });
}

/** Outside of scopes, errors of the library leave nothing of their own. */
function refused(program: Program): void {
  const leaves = leavesOf(program);
  const values = run(program, leaves);
  for (const value of values.values()) {
    expectThrow(() => value.reshape([value.size + 1]));
    expectThrow(() => value.sum(value.rank));
    expectThrow(() => value.scatterAdd(0, leaves[0], value));
    expectThrow(() => huber(value, value, { reduction: "largest" as "sum" }));
    expectThrow(() => einsum("ij->k", value));
    expectThrow(() => dropout(value, 2));
  }
  disposeAll(values.values());
}

function expectThrow(fn: () => unknown): void {
  try {
    fn();
  } catch (error) {
    if (error instanceof LangevinError) return;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** Several programs take turns while reads are pending of tensors that are disposed of meanwhile. */
async function asynchronous(program: Program, random: () => number): Promise<void> {
  const task = async (): Promise<void> => {
    const leaves = leavesOf(program);
    const values = run(program, leaves);
    const loss = lossOf(program, values);
    const reads = [...values.values()].filter(() => random() < 0.3).map((value) => value.data());
    await reads[0];
    loss.backward();
    const gradients = leaves.map((leaf) => leaf.grad?.data());
    const last = loss.data();
    loss.dispose();
    disposeAll(values.values());
    await Promise.all([...reads, ...gradients, last]);
  };
  await Promise.all([task(), task(), task()]);
}

/** A model is made, trained for three steps on what the program computes, and disposed of. */
function trained(program: Program, random: () => number): void {
  const inputs = scope(() => {
    const values = noGrad(() => run(program, leavesOf(program)));
    const rows = [...values.values()]
      .filter(({ dtype }) => dtype !== "int32")
      .map((value) => value.mean().reshape([1]));
    return randn([2, 6, 6, 3], { seed: program.seed }).add(rows[rows.length - 1]);
  });
  const convolutions = [new Conv2d(3, 4, 3, { padding: 1 }), new SiLU(), new Conv2d(4, 4, 3, { stride: 2 })] as const;
  const model = new Sequential(...convolutions, new Flatten(), new Dropout(0.1), new Linear(16, 6));
  const attention = new MultiHeadAttention(6, 2);
  const parameters = [...model.parameters(), ...attention.parameters()];
  const makers = [Adam, AdamW, SGD, RMSprop] as const;
  const optimizer: Optimizer<OptimizerOptions> = new makers[Math.floor(4 * random())](parameters, { lr: 0.01 });
  for (let step = 0; step < 3; step++)
    scope(() => {
      const y = attention.forward(model.forward(inputs).reshape([1, 2, 6]));
      mse(y, randn([1, 2, 6], { seed: step })).backward();
      if (random() < 0.5) clipGradNorm(parameters, 1);
      if (random() < 0.1) optimizer.zeroGrad();
      else optimizer.step();
    });
  disposeAll([inputs]);
  for (const part of random() < 0.5 ? [optimizer, model, attention] : [model, attention, optimizer]) part.dispose();
}

const rounds: Readonly<Record<string, Round>> = {
  scoped,
  nested,
  disposed,
  ungraded,
  unwalked,
  interrupted,
  refused,
  asynchronous,
  trained,
};

/** Leaves everything to the garbage collector. */
function abandoned(program: Program): void {
  const leaves = leavesOf(program);
  const loss = lossOf(program, run(program, leaves));
  if (program.seed % 2 === 0) loss.backward();
}

/** What has to be the same after a round: the device's memory, and that of `ts`, on which programs are drawn. */
const inUse = async (device: DeviceName, count: typeof liveMemory): Promise<LiveMemory[]> => [
  await count(device),
  await count("ts"),
];

const mebibyte = 2 ** 20;

/**
 * Programs that take turns, each with every kind of round. V8 keeps some of each text that it compiles, so ever new ones
 * would look like a leak.
 */
const distinctPrograms = 500;

/** What a search did and saw. */
export interface LeakReport {
  readonly rounds: number;
  readonly statements: number;
  /** Medians of the resident memory, in bytes, in the first and in the last quarter of the time after the warm-up. */
  readonly first: number;
  readonly last: number;
}

/**
 * Runs rounds on `device` for `seconds`, and throws where live memory is not exactly as before a round.
 * `report` is called once a minute.
 */
export async function searchLeaks(
  device: DeviceName,
  seconds: number,
  report: (line: string) => void = () => undefined,
): Promise<LeakReport> {
  setDefaultDevice(device);
  const names = Object.keys(rounds);
  const elapsed = (): number => (performance.now() - start) / 1000;
  const samples: { readonly time: number; readonly rss: number }[] = [];
  const sample = (): void => {
    samples.push({ time: elapsed(), rss: process.memoryUsage.rss() });
  };
  let [count, statements, minutes] = [0, 0, 0];
  const programs = new Map<number, Program>();
  const programOf = (round: number): Program => {
    const seed = round % distinctPrograms;
    const program = programs.get(seed) ?? drawProgram(seed, 3 + (seed % 15));
    programs.set(seed, program);
    return program;
  };
  const before = JSON.stringify(await inUse(device, referencedMemory));
  // After the collections, which take seconds where other tests have left a large heap.
  const start = performance.now();
  const expectSame = async (what: string, program: Program): Promise<void> => {
    const after = JSON.stringify(await inUse(device, liveMemory));
    if (after !== before) throw new Error(`${what}: ${before} in use before, ${after} after\n${print(program)}`);
  };
  while (elapsed() < seconds) {
    for (let i = 0; i < 50 && elapsed() < seconds; i++) {
      const random = generator(++count);
      const program = programOf(count);
      statements += program.statements.length;
      const name = names[count % names.length];
      await rounds[name](program, random);
      await expectSame(name, program);
    }
    const program = programOf(count);
    await eventLoopTurn(); // lest something on the stack holds on to what is abandoned
    abandoned(program);
    // Finalizers run when V8 likes.
    for (let i = 0; i < 100 && JSON.stringify(await inUse(device, referencedMemory)) !== before; i++);
    await expectSame("abandoned", program);
    sample();
    if (elapsed() < 60 * (minutes + 1)) continue;
    minutes++;
    const { rss, heapUsed, external } = process.memoryUsage();
    const megabytes = [rss, heapUsed, external].map((bytes) => (bytes / mebibyte).toFixed(1));
    report(
      `${minutes} min: ${count} rounds, ${statements} steps, MiB resident, heap, external: ${megabytes.join(", ")}`,
    );
  }
  return { rounds: count, statements, ...medians(samples, elapsed()) };
}

/** Resident memory after a warm-up of a fifth of the time. */
function medians(samples: readonly { readonly time: number; readonly rss: number }[], total: number) {
  const [from, quarter] = [total * 0.2, total * 0.2];
  const median = (low: number, high: number): number => {
    const part = samples.filter(({ time }) => time >= low && time <= high).map(({ rss }) => rss);
    return part.sort((a, b) => a - b)[part.length >> 1] ?? NaN;
  };
  const [first, last] = [median(from, from + quarter), median(total - quarter, total)];
  return { first, last };
}

/** How far resident memory may end above where it was, in bytes. */
const allowance = 24 * mebibyte;

if (import.meta.filename === process.argv[1]) {
  const { values } = parseArgs({
    options: { minutes: { type: "string", default: "60" }, device: { type: "string", default: "cpu" } },
  });
  const found = await searchLeaks(values.device as DeviceName, 60 * Number(values.minutes), console.log);
  const { first, last } = found;
  const resident = [first, last].map((bytes) => (bytes / mebibyte).toFixed(1)).join(" and ");
  console.log(
    `${found.rounds} rounds of ${found.statements} steps; MiB resident in the first and last quarter: ${resident}`,
  );
  const flat = last <= first + allowance;
  console.log(flat ? "no leak" : "resident memory has grown");
  process.exitCode = flat ? 0 : 1;
}
