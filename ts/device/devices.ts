// Opens executors by name, once each, and chooses the default one.

import { ArgumentError, DeviceError } from "../errors/index.ts";
import type { DeviceName, Executor, MemoryStats } from "./executor.ts";
import { deviceNames } from "./executor.ts";
import { openCpuExecutor } from "./native/cpu-executor.ts";
import { openCudaExecutor } from "./native/cuda-executor.ts";
import { TsExecutor } from "./ts/executor.ts";

const opened = new Map<DeviceName, Executor>();
let chosen: DeviceName | undefined;

function create(name: DeviceName): Executor {
  switch (name) {
    case "ts":
      return new TsExecutor();
    case "cpu":
      return openCpuExecutor();
    case "cuda":
      return openCudaExecutor();
  }
}

/** The executor of that name; throws DeviceError when it does not work here. */
export function openDevice(name: DeviceName): Executor {
  let executor = opened.get(name);
  if (!executor) {
    executor = create(parseDeviceName("device", name));
    opened.set(name, executor);
  }
  return executor;
}

/** Checks a device name that came from outside. */
export function parseDeviceName(op: string, name: string): DeviceName {
  const known = deviceNames.find((candidate) => candidate === name);
  if (!known)
    throw new ArgumentError({ op, problem: `"${name}" is no device.`, advice: `Choose ${deviceNames.join(", ")}.` });
  return known;
}

/**
 * The device that tensors are made on when none is named: the one given to `setDefaultDevice`, else the environment
 * variable LANGEVIN_DEVICE, else the fastest that works here. A name that was asked for and does not work throws.
 */
export function defaultExecutor(): Executor {
  if (chosen) return openDevice(chosen);
  const asked = process.env.LANGEVIN_DEVICE;
  if (asked) return openDevice((chosen = parseDeviceName("LANGEVIN_DEVICE", asked)));
  for (const name of deviceNames)
    try {
      // No kernel has run on a GPU yet: nobody gets it who did not ask for it.
      if (name === "cuda") continue;
      const executor = openDevice(name);
      chosen = name;
      return executor;
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
    }
  throw new DeviceError({ op: "default device", problem: "no executor works here." });
}

/** Name of the default device: the fastest that works here unless one was asked for. */
export function defaultDevice(): DeviceName {
  return defaultExecutor().name;
}

/** Sets the device for tensors that name none, and returns its name. Throws when it does not work here. */
export function setDefaultDevice(name: DeviceName): DeviceName {
  chosen = openDevice(name).name;
  return chosen;
}

/**
 * Memory that tensors hold on a device (default: the default one), and what its allocator keeps for reuse. A loop that
 * leaks shows as growing `liveBuffers`.
 */
export function memoryStats(device: DeviceName = defaultDevice()): MemoryStats {
  return openDevice(device).memory();
}
