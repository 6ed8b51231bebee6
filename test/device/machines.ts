// Machines that lack something, made of this one: folders to put on PATH, without some programs or with broken ones.

import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Names of C++ and C compilers. */
export const compilers = /^(c\+\+|cc|g\+\+|gcc|clang)|-(g\+\+|gcc|c\+\+|clang)/;

/** Names of CMake's programs. */
export const cmakePrograms = /^c(make|pack|test)/;

/** Makes `folder` with links to all programs on PATH except some, and returns it. */
export function programsWithout(folder: string, hidden: RegExp): string {
  mkdirSync(folder);
  for (const source of (process.env.PATH ?? "").split(":"))
    if (existsSync(source))
      for (const name of readdirSync(source))
        if (!hidden.test(name) && !existsSync(join(folder, name)))
          try {
            symlinkSync(join(source, name), join(folder, name));
          } catch {
            // Another link of that name dangles already.
          }
  return folder;
}

/** Makes a CUDA toolkit at `folder` that CMake finds and that compiles nothing, and returns its folder of programs. */
export function brokenToolkit(folder: string): string {
  for (const name of ["bin", "include", "lib64"]) mkdirSync(join(folder, name), { recursive: true });
  const nvcc = join(folder, "bin", "nvcc");
  writeFileSync(nvcc, `#!/bin/sh\n[ "$1" = --version ] && echo "release 12.0, V12.0.1" && exit 0\nexit 1\n`);
  chmodSync(nvcc, 0o755);
  writeFileSync(join(folder, "include", "cuda_runtime.h"), "");
  writeFileSync(join(folder, "include", "cuda.h"), "#define CUDA_VERSION 12000\n");
  writeFileSync(join(folder, "lib64", "libcudart.so"), "");
  return join(folder, "bin");
}
