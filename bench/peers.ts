// Which libraries can be measured here, and how their processes are started.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Launch } from "./competitor.ts";

const folder = import.meta.dirname;

/** Libraries to measure, and why others are not among them. */
export interface Field {
  readonly launches: readonly Launch[];
  readonly absent: readonly string[];
}

/** langevin itself. */
export function langevin(threads: number): Launch {
  return {
    peer: "langevin",
    command: process.execPath,
    args: ["--import", "tsx", join(folder, "worker.ts")],
    env: { LANGEVIN_THREADS: `${threads}` },
  };
}

/** The others. */
export function peers(): Field {
  const python = findTorch();
  const torch = python === undefined ? [] : torchLaunches(python);
  const runtime = existsSync(join(folder, "peers", "node_modules", "onnxruntime-node"));
  const onnx = {
    peer: "onnxruntime-node",
    command: process.execPath,
    args: [join(folder, "peers", "onnxruntime-peer.mjs")],
  };
  const absent = [
    ...(torch.length > 0 ? [] : [torchAbsent]),
    ...(runtime ? [] : ["onnxruntime-node is not installed (npm ci --ignore-scripts --prefix bench/peers)"]),
  ];
  return { launches: [...torch, ...(runtime ? [onnx] : [])], absent };
}

/** What is said where there is no PyTorch. */
export const torchAbsent = "no python3 here has torch (on Debian: apt-get install python3-torch libopenblas0-openmp)";

/** PyTorch as it comes, and at its best; variables that may choose other kernels for its BLAS are not handed on. */
function torchLaunches(python: string): Launch[] {
  const script = join(folder, "peers", "torch_peer.py");
  const env = { OPENBLAS_CORETYPE: undefined, OPENBLAS_L2_SIZE: undefined };
  return [
    { peer: "torch", command: python, args: [script], env },
    { peer: "torch-tuned", command: python, args: [script, "--tuned"], env },
  ];
}

/** A python3 that has torch. */
export function findTorch(): string | undefined {
  return ["python3", "/usr/bin/python3"].find(
    (python) => spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status === 0,
  );
}
