// The programs of this machine that a build of the native addon uses, as the build itself finds them.

import { createRequire } from "node:module";
import { join } from "node:path";

/** A program of this machine that works. */
export interface Tool {
  /** As it was called; a path where it is not on PATH. */
  readonly command: string;
  /** What it says of itself. */
  readonly version: string;
}

/** What a build of the addon uses; undefined where there is none that works. `nvcc` stands for the CUDA toolkit. */
export interface BuildTools {
  readonly compiler?: Tool;
  readonly cmake?: Tool;
  readonly make?: Tool;
  readonly python?: Tool;
  readonly nvcc?: Tool;
}

/** Searches as the build of the package at `root` does. */
export function findTools(root: string): BuildTools {
  const require = createRequire(import.meta.url);
  return (require(join(root, "scripts", "tools.cjs")) as { findTools: () => BuildTools }).findTools();
}
