// Starts the packed example programs, and the build of the addon, as child processes and lives exactly as long as they.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { BuildWishes } from "../device/native/addon.ts";
import { packageRoot } from "../device/native/addon.ts";
import { ArgumentError } from "../errors/index.ts";

/** Whether this file was compiled: then so are the examples, and otherwise all of it runs through tsx. */
const compiled = import.meta.url.endsWith(".js");

/** Signals that ask a program to stop. */
const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs the example `name` with these arguments on the terminal of this process, passing signals on. Resolves with its
 * exit code; when a signal ended it, the same signal ends this process.
 */
export async function startProgram(name: string, args: readonly string[]): Promise<number> {
  const root = packageRoot();
  const file = compiled ? join(root, "dist", "examples", `${name}.js`) : join(root, "examples", `${name}.ts`);
  if (!existsSync(file))
    throw new ArgumentError({ op: "langevin", problem: `${file} is missing.`, advice: "Reinstall the package." });
  const { code, signal } = compiled
    ? await runChild([file, ...args], process.env)
    : await runChild(["--import", import.meta.resolve("tsx"), file, ...args], {
        ...process.env,
        TSX_TSCONFIG_PATH: join(root, "tsconfig.json"), // tsx would look in the current folder
      });
  if (signal !== null) {
    process.kill(process.pid, signal);
    await new Promise((resolve) => setTimeout(resolve, 1000)); // the signal arrives before this ends
  }
  return code ?? 1;
}

/** Compiles the native addon on the terminal of this process; the exit code tells whether that made one as wished. */
export async function buildAddon({ cuda, arch }: BuildWishes): Promise<number> {
  const { code } = await runChild([join(packageRoot(), "scripts", "build.mjs"), cuda, arch], process.env);
  return code ?? 1;
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

async function runChild(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ending> {
  const child = spawn(process.execPath, args, { stdio: "inherit", env });
  const pass = (signal: NodeJS.Signals): void => {
    // Control-C on a terminal reaches the whole process group by itself.
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  };
  for (const signal of stopSignals) process.on(signal, pass);
  try {
    return await new Promise<Ending>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve({ code, signal }));
    });
  } finally {
    for (const signal of stopSignals) process.off(signal, pass);
  }
}
