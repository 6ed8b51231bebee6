// The command line of the example programs: --iterations, --lr, --model, --seed, --out, --device and --sample-only.

import { parseArgs } from "node:util";
import { LangevinError, defaultDevice, setDefaultDevice } from "langevin";

/** What a program does when an option is left out; `iterations` and `lr` only where it trains, `model` where it loads one. */
interface Defaults {
  iterations?: number;
  lr?: number;
  model?: string;
  seed: number;
  out: string;
}

/** What may only be given: the device (the library chooses one otherwise), and not to train but to load weights. */
interface Extras {
  device: "cuda" | "cpu" | "ts" | undefined;
  sampleOnly: boolean;
}

/** Reads the command line over these defaults. A mistake ends the program with plain words and exit code 2. */
export function exampleOptions<D extends Defaults>(defaults: D, args = process.argv.slice(2)): D & Extras {
  const given = parse(args);
  const { iterations, lr, model, seed, device } = given;
  for (const [name, does] of Object.entries({ iterations: "train", lr: "train", model: "load a model" } as const))
    if (given[name as keyof typeof given] !== undefined && defaults[name as keyof Defaults] === undefined)
      console.error(`Note: this program does not ${does}, so --${name} changes nothing.`);
  const known = {
    ...(defaults.iterations !== undefined &&
      iterations !== undefined && { iterations: integer("iterations", iterations, 1) }),
    ...(defaults.lr !== undefined && lr !== undefined && { lr: positive("lr", lr) }),
    ...(defaults.model !== undefined && model && { model }),
  };
  return {
    ...defaults,
    ...known,
    seed: seed === undefined ? defaults.seed : integer("seed", seed, 0),
    out: given.out || defaults.out,
    device: device === undefined ? undefined : deviceName(device),
    sampleOnly: given["sample-only"] ?? false,
  };
}

/** Makes the device that was asked for (by option, else by LANGEVIN_DEVICE, else the fastest) the default; returns its name. */
export function useDevice(asked: Extras["device"]): string {
  try {
    return asked ? setDefaultDevice(asked) : defaultDevice();
  } catch (error) {
    if (error instanceof LangevinError) refuse(error.message);
    throw error;
  }
}

function parse(args: string[]) {
  const text = { type: "string" } as const;
  const options = { iterations: text, lr: text, model: text, seed: text, out: text, device: text } as const;
  try {
    return parseArgs({ args, options: { ...options, "sample-only": { type: "boolean" } } }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function integer(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least)
    refuse(`--${name} is "${text}", expected an integer of at least ${least}.`);
  return value;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value <= 0)
    refuse(`--${name} is "${text}", expected a number above 0.`);
  return value;
}

function deviceName(text: string): Extras["device"] {
  if (text === "cuda" || text === "cpu" || text === "ts") return text;
  return refuse(`--device is "${text}", expected cuda, cpu or ts.`);
}

function refuse(problem: string): never {
  console.error(problem);
  process.exit(2);
}
