// Compiles the C++ test programs of native/test and runs them.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { packageRoot } from "../../ts/device/native/addon.ts";

const compiler = process.env.CXX ?? "c++";

/** The flags that matter for bits, as in CMakeLists.txt. */
export const flags = [
  "-std=c++17",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fno-trapping-math",
  "-Wall",
  "-Wextra",
  "-Werror",
];

/** Whether there is a C++ compiler on this machine. */
export function hasCompiler(): boolean {
  return spawnSync(compiler, ["--version"], { stdio: "ignore" }).status === 0;
}

/** Makes a folder, and the function that removes it. */
export function newFolder(): [folder: string, remove: () => void] {
  const folder = mkdtempSync(join(tmpdir(), "langevin-test-"));
  return [folder, () => rmSync(folder, { recursive: true, force: true })];
}

/** Makes a folder that is removed after `use`. */
export function inFolder<T>(use: (folder: string) => T): T {
  const [folder, remove] = newFolder();
  try {
    return use(folder);
  } finally {
    remove();
  }
}

/** Compiles sources (relative to the package) to `output`. Throws with the compiler's words where that fails. */
export function compile(sources: readonly string[], output: string, options: readonly string[]): void {
  execFileSync(compiler, [...flags, ...options, ...sources, "-o", output, "-pthread"], {
    cwd: packageRoot(),
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
  });
}
