// The options that `langevin tutorial`, `demo` and `example` hand on to the programs they start, checked on the way.

import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { deviceNames } from "../device/executor.ts";

/** Options as they come out of the parser: only those that were given. */
export interface ProgramOptions {
  readonly iterations?: string;
  readonly lr?: string;
  readonly seed?: string;
  readonly out?: string;
  readonly device?: string;
  readonly model?: string;
  readonly sampleOnly?: boolean;
}

/** Adds the options that all programs share. */
export function addProgramOptions(command: Command): Command {
  return command
    .option("--iterations <count>", "number of training iterations", positiveInteger)
    .option("--lr <rate>", "learning rate", positiveNumber)
    .option("--seed <integer>", "seed of all randomness", seed)
    .option("--out <folder>", "folder for the outputs", folder)
    .option("--device <name>", "cuda, cpu or ts; must work when named", device);
}

/** The options as arguments again. */
export function toArguments(options: ProgramOptions): string[] {
  const { iterations, lr, seed, out, device, model, sampleOnly } = options;
  const named = Object.entries({ iterations, lr, seed, out, device, model });
  const given = named.filter(([, value]) => value !== undefined).map(([name, value]) => `--${name}=${value}`);
  return sampleOnly ? [...given, "--sample-only"] : given;
}

function positiveInteger(text: string): string {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)) || Number(text) < 1)
    throw new InvalidArgumentError("Expected an integer of at least 1.");
  return text;
}

function positiveNumber(text: string): string {
  if (text.trim() === "" || !Number.isFinite(Number(text)) || Number(text) <= 0)
    throw new InvalidArgumentError("Expected a number above 0, such as 1e-4.");
  return text;
}

function seed(text: string): string {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("Expected an integer from 0 to 2^53 - 1.");
  return text;
}

/** Checks the path of a folder. */
export function folder(text: string): string {
  if (text === "") throw new InvalidArgumentError("Expected the path of a folder.");
  return text;
}

function device(text: string): string {
  if (!deviceNames.some((name) => name === text)) throw new InvalidArgumentError("Expected cuda, cpu or ts.");
  return text;
}
