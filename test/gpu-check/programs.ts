// Programs beside the addon: those that gpu-check brings (prebuilt in a packed folder, else compiled with nvcc), and NVIDIA's
// tools where they are installed.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { packageRoot } from "../../ts/device/native/addon.ts";

/** How long a tool may take to tell its version. */
const patience = 30_000; // ms

/** How a program ended, and all that it said. */
export interface Said {
  /** Null where it was stopped because its time was over, ended by a signal, or did not start. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, or with all that it started until the deadline (as `Date.now` tells it). */
export async function runProgram(command: string, args: readonly string[], deadline: number): Promise<Said> {
  // A group of its own, since tools start the program that they look at, which would go on without them.
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const)
    child[stream].setEncoding("utf8").on("data", (text: string) => (said[stream] += text));
  const time = Math.min(Math.max(0, deadline - Date.now()), 2 ** 31 - 1);
  const stop = setTimeout(() => {
    said.stderr += `\nstopped after ${Math.round(time / 1000)} s`;
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, time);
  try {
    const status = await new Promise<number | null>((resolve) => {
      child.once("close", resolve).once("error", (error) => {
        said.stderr += error.message;
        resolve(null);
      });
    });
    return { status, ...said };
  } finally {
    clearTimeout(stop);
  }
}

/** The last lines that a program said, in one. */
export function lastWords({ status, stdout, stderr }: Said): string {
  const lines = [stdout, stderr].flatMap((text) => text.trim().split("\n").slice(-3));
  return [`status ${status ?? "unknown"}`, ...lines.filter((line) => line !== "")].join(" / ");
}

/** Where NVIDIA's installers put tools that are not on PATH; the newest of Nsight Compute last. */
function installedFolders(): string[] {
  const nsight = "/opt/nvidia/nsight-compute";
  const versions = existsSync(nsight)
    ? readdirSync(nsight).sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
    : [];
  return ["/usr/local/cuda/bin", ...versions.map((version) => join(nsight, version))];
}

/** The command that starts a tool; undefined where it is not installed. */
export function findTool(name: string): string | undefined {
  const candidates = [
    name,
    ...installedFolders()
      .map((folder) => join(folder, name))
      .reverse(),
  ];
  return candidates.find(
    (command) => spawnSync(command, ["--version"], { stdio: "ignore", timeout: patience }).status === 0,
  );
}

/** Sources that a program of native/test/gpu is linked with where it is compiled on the spot. */
function linkedWith(name: string): string[] {
  if (name !== "kernels") return [];
  const require = createRequire(join(packageRoot(), "package.json"));
  const { checked } = require("./native/sources.cjs") as { readonly checked: readonly string[] };
  return checked.map((file) => join(packageRoot(), file));
}

/** A program of native/test/gpu, or why there is none. */
export async function ownProgram(
  name: string,
  deadline: number,
): Promise<{ readonly path: string } | { readonly absent: string }> {
  const prebuilt = join(packageRoot(), "programs", name);
  if (existsSync(prebuilt)) return { path: prebuilt };
  const source = join(packageRoot(), "native", "test", "gpu", `${name}.cu`);
  if (!existsSync(source)) return { absent: `this folder was packed without the program ${name}` };
  const nvcc = findTool("nvcc");
  if (nvcc === undefined) return { absent: "there is no nvcc to compile its program with" };
  const folder = join(packageRoot(), "build", "gpu-check");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  const flags = ["-std=c++17", "-O3", "--fmad=false", "-DLANGEVIN_CUDA=1", "-arch=native"];
  const said = await runProgram(nvcc, [...flags, source, ...linkedWith(name), "-o", path], deadline);
  return said.status === 0 ? { path } : { absent: `nvcc did not compile ${source}: ${lastWords(said)}` };
}
