// Compiles the addon without CUDA for the packed tarball, for package managers that block install scripts.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const build = join(root, "build-prebuilt");
const target = join(root, "prebuilds", `${process.platform}-${process.arch}`, "langevin.node");

/** Runs a program; its failure is this script's. */
function run(program, args) {
  const result = spawnSync(program, args, { cwd: root, stdio: "inherit" });
  if (result.status !== 0) throw new Error(`${program} ${args[0]} failed`);
}

const cmake = createRequire(join(root, "package.json")).resolve("cmake-js/bin/cmake-js");
rmSync(build, { recursive: true, force: true });
run(process.execPath, [
  ...[cmake, "build", "--out", build, "--parallel", String(availableParallelism()), "--log-level", "error"],
  ...[`--CDLANGEVIN_NODE=${process.execPath}`, "--CDLANGEVIN_CUDA=OFF"],
]);
mkdirSync(dirname(target), { recursive: true });
copyFileSync(join(build, "Release", "langevin.node"), target);
// Symbols for debuggers are half of the file.
run("strip", [process.platform === "darwin" ? "-x" : "--strip-unneeded", target]);
rmSync(build, { recursive: true });
