// Programs beside the addon: those that gpu-check brings (prebuilt in a packed folder, else compiled with nvcc), and NVIDIA's
// tools where they are installed.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { packageRoot } from "../../ts/device/native/addon.ts";

/** Nothing that is started here may take longer. */
const patience = 180_000; // ms

/** How a program ended, and all that it said. */
export interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export function runProgram(command: string, args: readonly string[]): Said {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    timeout: patience,
    maxBuffer: 1 << 28,
  });
  return { status, stdout: stdout ?? "", stderr: stderr ?? "" };
}

/** Whether a tool is installed. */
export function hasTool(name: string): boolean {
  return spawnSync(name, ["--version"], { stdio: "ignore", timeout: patience }).status === 0;
}

/** Files of native/cuda/kernels that programs of native/test/gpu are linked with where they are compiled on the spot. */
const linked: Readonly<Record<string, readonly string[]>> = {
  ceilings: [],
  kernels: ["conv", "epilogue", "gemm", "matmul", "rounded"],
};

/** A program of native/test/gpu, or why there is none. */
export function ownProgram(name: string): { readonly path: string } | { readonly absent: string } {
  const prebuilt = join(packageRoot(), "programs", name);
  if (existsSync(prebuilt)) return { path: prebuilt };
  const source = join(packageRoot(), "native", "test", "gpu", `${name}.cu`);
  if (!existsSync(source)) return { absent: `this folder was packed without the program ${name}` };
  if (!hasTool("nvcc")) return { absent: "there is no nvcc to compile its program with" };
  const folder = join(packageRoot(), "build", "gpu-check");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  const kernels = linked[name].map((file) => join(packageRoot(), "native", "cuda", "kernels", `${file}.cu`));
  const flags = ["-std=c++17", "-O3", "--fmad=false", "-DLANGEVIN_CUDA=1", "-arch=native"];
  const { status, stderr } = runProgram("nvcc", [...flags, source, ...kernels, "-o", path]);
  return status === 0 ? { path } : { absent: `nvcc did not compile ${source}: ${stderr.trim().split("\n")[0]}` };
}
