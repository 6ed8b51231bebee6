// Compiles the C++ test programs of native/test and runs them.

import { execFile, execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

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

/** The files of a folder of the package whose names end so. */
export const sourcesIn = (folder: string, ending: string): string[] =>
  readdirSync(join(packageRoot(), folder))
    .filter((name) => name.endsWith(ending))
    .map((name) => `${folder}/${name}`);

/** What runs CUDA kernels on the host, for programs that include native/cuda/gpu.h. */
export const cudaHost: readonly string[] = ["switch", "machine", "warp", "language"].map(
  (name) => `native/cuda/host/${name}.cpp`,
);

/** The ways in which CUDA kernels are built to be tested on the host: as they are, and under sanitizers. */
export const cudaHostBuilds = {
  plain: ["-O2"],
  address: ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
  thread: ["-O1", "-g", "-fsanitize=thread"],
} as const;

/** A name of `cudaHostBuilds`. */
export type CudaHostBuild = keyof typeof cudaHostBuilds;

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

/** As `compile`, while other work goes on. */
export async function compileMeanwhile(
  sources: readonly string[],
  output: string,
  options: readonly string[],
): Promise<void> {
  const args = [...flags, ...options, ...sources, "-o", output, "-pthread"];
  await promisify(execFile)(compiler, args, { cwd: packageRoot(), maxBuffer: 1 << 26 });
}

/** Compiles sources (relative to the package) to `output`. Throws with the compiler's words where that fails. */
export function compile(sources: readonly string[], output: string, options: readonly string[]): void {
  execFileSync(compiler, [...flags, ...options, ...sources, "-o", output, "-pthread"], {
    cwd: packageRoot(),
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
  });
}
