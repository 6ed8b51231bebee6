// What `npm run gpu-check` runs: the check itself from its sources, or with --pack DIR the folder that runs it elsewhere.

import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { root } from "./compile.mjs";
import { packGpuCheck } from "./gpu-check-pack.mjs";

const usageError = 2;
const args = process.argv.slice(2);
if (args[0] !== "--pack") {
  const main = join(root, "test", "gpu-check", "main.ts");
  const { status } = spawnSync(process.execPath, ["--import", "tsx", main, ...args], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} else if (args.length !== 2) {
  console.error("gpu-check: --pack takes the folder to make and nothing else: npm run gpu-check -- --pack DIR");
  process.exitCode = usageError;
} else {
  try {
    const { folder, bytes } = await packGpuCheck(resolve(args[1]));
    console.log(
      `gpu-check: ${folder} has ${(bytes / 1e6).toFixed(1)} MB. Carry it to a machine with a GPU and run ./gpu-check there.`,
    );
  } catch (error) {
    console.error(`gpu-check: the folder was not made: ${error.message}`);
    process.exitCode = 1;
  }
}
