// Compiles the addon without CUDA for the packed tarball, for package managers that block install scripts.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { compileWithCMake, root } from "./compile.mjs";

const target = join(root, "prebuilds", `${process.platform}-${process.arch}`, "langevin.node");
mkdirSync(join(root, "build"), { recursive: true });
const work = mkdtempSync(join(root, "build", "work-"));
try {
  const options = { log: join(work, "log"), show: true };
  const { ok, addon } = await compileWithCMake(join(work, "cmake"), "OFF", options);
  if (!ok) throw new Error("CMake did not compile the addon");
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(addon, target);
  // Symbols for debuggers are half of the file.
  const stripped = spawnSync("strip", [process.platform === "darwin" ? "-x" : "--strip-unneeded", target]);
  if (stripped.status !== 0) throw new Error("strip failed");
} finally {
  rmSync(work, { recursive: true });
}
