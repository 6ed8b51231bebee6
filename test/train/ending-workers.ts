// Program: trains on the main thread while workers that train and sample are terminated at random moments; prints what became of all.

import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import type { DeviceName } from "langevin";
import { manualSeed, sample, setDefaultDevice, train } from "langevin";
import { pictures, schedule, smallRun } from "./small-net.ts";
import { stateOf } from "./state.ts";

/** What a worker is in the middle of when it ends. */
const occupations = ["training", "training with pauses", "training step by step", "sampling"] as const;
interface Job {
  readonly device: DeviceName;
  readonly occupation: (typeof occupations)[number];
}

function digest(texts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(text);
  return hash.digest("hex");
}

/** Trains a model made from the seed, and returns a hash of its reports and state. */
async function trained(seed: number, iterations: number): Promise<string> {
  manualSeed(seed);
  const { model, adam, step } = smallRun();
  const losses: string[] = [];
  for await (const { loss } of train({ iterations, seed, schedule, data: pictures.batches(5), step }))
    losses.push(String(loss));
  return digest([...losses, ...stateOf(model, adam)]);
}

/** Does its job for ever, and says so again and again. */
async function work({ device, occupation }: Job): Promise<void> {
  setDefaultDevice(device);
  manualSeed(1);
  const { model, step } = smallRun();
  const busy = (): void => parentPort!.postMessage("busy");
  const endless = { iterations: 1_000_000_000, schedule, data: pictures.batches(5), step };
  if (occupation === "sampling")
    await sample({
      model,
      schedule,
      count: 1_000_000_000,
      batch: 2,
      size: [4, 4, 1],
      previewEvery: 15,
      onPreview: busy,
    });
  const more = { training: {}, "training with pauses": { pauseEvery: 5 }, "training step by step": { eager: true } };
  for await (const { iteration } of train({ ...endless, ...more[occupation as keyof typeof more] }))
    if (iteration % 5 === 0) busy();
}

/** Starts a worker and terminates it `milliseconds` after it got busy; true if it was, and ended when told. */
async function end(job: Job, milliseconds: number): Promise<boolean> {
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  await Promise.race([new Promise((resolve) => worker.once("message", resolve)), failed]);
  await delay(milliseconds);
  return (await worker.terminate()) === 1;
}

async function main(): Promise<void> {
  const device = process.argv[2] as DeviceName;
  setDefaultDevice(device);
  const alone = await trained(3, 300);
  let ended = false;
  const outcomes: boolean[] = [];
  const training = (async () => {
    let runs = 0;
    let same = true;
    for (; !ended; runs++) same &&= (await trained(3, 300)) === alone;
    return { runs, same };
  })();
  await Promise.all(
    [0, 1].map(async (lane) => {
      for (let i = 0; i < Number(process.argv[3]); i++) {
        const occupation = occupations[(2 * i + lane) % occupations.length];
        // 0 to 30 ms, in an order that looks random.
        outcomes.push(await end({ device, occupation }, ((2 * i + lane) * 7919) % 31));
      }
    }),
  );
  ended = true;
  const { runs, same } = await training;
  console.log(JSON.stringify({ outcomes, trainedMeanwhile: runs > 0, same }));
}

await (isMainThread ? main() : work(workerData as Job));
