// Counts the calls into the native addon that a device makes.

import type { Addon } from "../../ts/device/native/addon.ts";
import { native } from "../device/native-devices.ts";
import { referencedMemory } from "../tensor/devices.ts";

/** How often each function of the addon was called. */
export type Calls = Readonly<Partial<Record<keyof Addon, number>>>;

/** The calls of this thread while `fn` runs, and until its promise is settled. Not to be nested. */
export async function countCalls(fn: () => unknown): Promise<Calls> {
  await referencedMemory(); // what died earlier is released before
  const addon = native.addon() as unknown as Record<string, (...given: never[]) => unknown>;
  const own = { ...addon };
  const calls: Record<string, number> = {};
  for (const [name, call] of Object.entries(own))
    addon[name] = (...given: never[]) => {
      calls[name] = (calls[name] ?? 0) + 1;
      return call(...given);
    };
  try {
    await fn();
    return calls;
  } finally {
    Object.assign(addon, own);
  }
}
