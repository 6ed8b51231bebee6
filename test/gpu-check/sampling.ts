// Pictures that are drawn on a device, with how its programs were carried out.

import type { DeviceName, Module, SampleOptions } from "langevin";
import { manualSeed, sample, setDefaultDevice } from "langevin";
import { openDevice } from "../../ts/device/devices.ts";
import type { Executor } from "../../ts/device/executor.ts";

/** Runs `action` and tells of each program that it loads on the executor how that is carried out, in words. */
export async function withWays<T>(
  executor: Executor,
  action: () => Promise<T>,
): Promise<{ readonly result: T; readonly ways: readonly string[] }> {
  const ways: string[] = [];
  const load = executor.load.bind(executor);
  executor.load = (program) => {
    const id = load(program);
    ways.push(executor.describe?.(id) ?? "");
    return id;
  };
  try {
    return { result: await action(), ways };
  } finally {
    executor.load = load;
  }
}

/** Samples on a device with a network that is made there. */
export async function drawPictures(
  device: DeviceName,
  network: () => SampleOptions["model"] & Module,
  options: Omit<SampleOptions, "model">,
): Promise<{ readonly values: readonly number[]; readonly ways: readonly string[] }> {
  setDefaultDevice(device);
  const { result, ways } = await withWays(openDevice(device), async () => {
    const model = network();
    const pictures = await sample({ model, ...options });
    const values = [...(await pictures.data())];
    pictures.dispose();
    model.dispose();
    return values;
  });
  return { values: result, ways };
}

/** The network with weights that follow from a seed. */
export function seeded<N>(network: () => N, seed: number): () => N {
  return () => {
    manualSeed(seed);
    return network();
  };
}

/** Runs `action` with a variable of the environment set. */
export async function withEnvironment<T>(name: string, value: string, action: () => Promise<T>): Promise<T> {
  const earlier = process.env[name];
  process.env[name] = value;
  try {
    return await action();
  } finally {
    if (earlier === undefined) delete process.env[name];
    else process.env[name] = earlier;
  }
}

/** The largest absolute value. */
export function largest(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/** The largest difference, NaN where one is. */
export function distance(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) throw new Error(`${a.length} values and ${b.length}`);
  return largest(a.map((x, i) => x - b[i]));
}

/** The largest difference relative to the largest value expected. */
export function relativeDistance(got: readonly number[], expected: readonly number[]): number {
  return distance(got, expected) / largest(expected);
}
