// The process in which langevin runs one task: sets it up, warms up, and then runs and times it round by round.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { stdin } from "node:process";
import { createInterface } from "node:readline";
import { defaultDevice, setDefaultDevice } from "langevin";
import { beginPeakMemory, machineCpuSeconds, ownCpuSeconds, peakMemory } from "./machine.ts";
import type { Ended, Job, Ready, Round, RoundTimes } from "./protocol.ts";
import { setUp } from "./workloads/index.ts";
import type { Workload } from "./workloads/workload.ts";

/** Seconds of a call in one run. */
async function timeRun(workload: Workload): Promise<number> {
  await workload.prepare?.();
  const start = performance.now();
  await workload.run();
  return (performance.now() - start) / 1000 / workload.calls;
}

/** Runs for a while: at least once. */
async function timeRuns(workload: Workload, { seconds, most }: Round): Promise<RoundTimes> {
  const [start, own, machine] = [performance.now(), ownCpuSeconds(), machineCpuSeconds()];
  const elapsed = (): number => (performance.now() - start) / 1000;
  const times: number[] = [];
  do times.push(await timeRun(workload));
  while (times.length < most && elapsed() < seconds);
  const all = machine === undefined ? null : machineCpuSeconds()! - machine;
  return { times, elapsed: elapsed(), own: ownCpuSeconds() - own, machine: all };
}

const say = (answer: Ready | RoundTimes | Ended): void => console.log(JSON.stringify(answer));

const job = JSON.parse(process.argv[2]) as Job;
setDefaultDevice(job.device);
const workload = setUp(job.task);
const before = beginPeakMemory();
await timeRuns(workload, { seconds: job.warmSeconds, most: Infinity });
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "..", "package.json"), "utf8")) as Ready;
const threads = defaultDevice() === "ts" ? 1 : job.threads;
say({ version, variant: workload.variant, threads, cost: workload.cost });
for await (const line of createInterface({ input: stdin })) say(await timeRuns(workload, JSON.parse(line) as Round));
await workload.close();
say({ memory: Math.max(0, peakMemory() - before) });
