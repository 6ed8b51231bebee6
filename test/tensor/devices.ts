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

const devices: readonly DeviceName[] = ["ts", "cpu"];

/** Makes `device` the default one for the tests of the enclosing block. */
export function useDevice(device: DeviceName): void {
  let earlier: DeviceName;
  before(() => {
    earlier = defaultDevice();
    setDefaultDevice(device);
  });
  after(() => {
    setDefaultDevice(earlier);
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
 * lest a collection frees what an earlier test left behind.
 */
export async function referencedMemory(device: DeviceName = defaultDevice()): Promise<LiveMemory> {
  let [earlier, now] = [await collected(device), await collected(device)];
  while (now.buffers !== earlier.buffers) [earlier, now] = [now, await collected(device)];
  return now;
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
