// Runs a block of tests once on every device that works here, and counts the memory that is in use there.

import { existsSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { DeviceName } from "langevin";
import { defaultDevice, setDefaultDevice } from "langevin";
import { openDevice } from "../../ts/device/devices.ts";
import { addonCandidates, packageRoot } from "../../ts/device/native/addon.ts";

/** False only where no addon was built: one that was built badly must fail tests, not skip them. */
export const cpuIsBuilt = addonCandidates(packageRoot()).some(({ path }) => existsSync(path));

/** Whether `npm run test:cuda-host` names an addon whose CUDA kernels run on the host. */
export const cudaOnHost = process.env.LANGEVIN_CUDA_ADDON !== undefined;

/** `cuda` alone where its kernels run on the host. */
const devices: readonly DeviceName[] = cudaOnHost ? ["cuda"] : ["ts", "cpu"];

/** Makes `device` the default one for the tests of the enclosing block. */
export function useDevice(device: DeviceName): void {
  let earlier: DeviceName | undefined; // where the block is skipped
  before(() => {
    earlier = defaultDevice();
    setDefaultDevice(device);
  });
  after(() => {
    if (earlier) setDefaultDevice(earlier);
  });
}

/** A block of tests for each device, in which it is the default one. */
export function onEveryDevice(title: string, tests: (device: DeviceName) => void): void {
  for (const device of devices)
    describe(`${title} on ${device}`, () => {
      if (device === "cpu" && !cpuIsBuilt) {
        it.skip("skipped: the native addon is not built");
        return;
      }
      useDevice(device);
      tests(device);
    });
}

/**
 * On `cuda`, samples by graphs in the enclosing block, which have eager's bits: the kernel that runs a whole loop for small
 * networks rounds its products otherwise.
 */
export function sampleByGraphs(): void {
  let earlier: string | undefined;
  before(() => {
    earlier = process.env.LANGEVIN_PERSISTENT;
    process.env.LANGEVIN_PERSISTENT = "off";
  });
  after(() => {
    if (earlier === undefined) delete process.env.LANGEVIN_PERSISTENT;
    else process.env.LANGEVIN_PERSISTENT = earlier;
  });
}

/** What is in use on a device. */
export interface LiveMemory {
  readonly buffers: number;
  readonly bytes: number;
}

/** What is in use once everything is done and finished reads have let go. */
export async function liveMemory(device: DeviceName = defaultDevice()): Promise<LiveMemory> {
  const executor = openDevice(device);
  await executor.synchronize();
  await eventLoopTurn();
  const { liveBuffers, liveBytes } = executor.memory();
  return { buffers: liveBuffers, bytes: liveBytes };
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/**
 * The same, counting only what is still referenced: the state to start from when memory is to come back exactly,
 * lest a collection frees what an earlier test left behind. A collection that ends a marking already under way keeps what
 * died since that began, and finalizers may run a turn late: hence what three collections in a row leave unchanged.
 */
export async function referencedMemory(device: DeviceName = defaultDevice()): Promise<LiveMemory> {
  let memory = await collected(device);
  for (let unchanged = 0; unchanged < 3;) {
    const now = await collected(device);
    unchanged = now.buffers === memory.buffers ? unchanged + 1 : 0;
    memory = now;
  }
  return memory;
}

/** The same, as soon as no more than `buffers` are in use, at the latest after a hundred collections. */
export async function collectedDownTo(buffers: number, device: DeviceName = defaultDevice()): Promise<LiveMemory> {
  let memory = await collected(device);
  for (let tries = 0; tries < 100 && memory.buffers > buffers; tries++) memory = await collected(device);
  return memory;
}

/** What is in use after one collection; finalizers of what it found may leave more to be found. */
async function collected(device: DeviceName): Promise<LiveMemory> {
  collect();
  await eventLoopTurn();
  return liveMemory(device);
}

/** Lets timers, native callbacks and finalizers run. */
export async function eventLoopTurn(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1));
}
