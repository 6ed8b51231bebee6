// Compiles the addon without CUDA for the packed tarball, for package managers that block install scripts.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { compileWithCMake, root } from "./compile.mjs";

const target = join(root, "prebuilds", `${process.platform}-${process.arch}`, "langevin.node");
const folder = mkdtempSync(join(tmpdir(), "langevin-prebuild-"));
try {
  const { ok, addon } = await compileWithCMake(folder, "OFF", { log: join(folder, "log"), show: true });
  if (!ok) throw new Error("CMake did not compile the addon");
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(addon, target);
  // Symbols for debuggers are half of the file.
  const stripped = spawnSync("strip", [process.platform === "darwin" ? "-x" : "--strip-unneeded", target]);
  if (stripped.status !== 0) throw new Error("strip failed");
} finally {
  rmSync(folder, { recursive: true });
}
