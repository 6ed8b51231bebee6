// What `npm run gpu-check` runs: the check itself from its sources, or with --pack DIR the folder that runs it elsewhere.

import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { root } from "./compile.mjs";
import { packGpuCheck } from "./gpu-check-pack.mjs";

const usageError = 2;
const args = process.argv.slice(2);
const [folder, without, ...others] = args.slice(1);
if (args[0] !== "--pack") {
  const main = join(root, "test", "gpu-check", "main.ts");
  const { status } = spawnSync(process.execPath, ["--import", "tsx", main, ...args], { stdio: "inherit" });
  if (args.includes("--help"))
    console.log(
      "\nOr --pack DIR [--without-golden]: makes a folder that checks a GPU on a machine with nothing installed.",
    );
  process.exitCode = status ?? 1;
} else if (folder === undefined || ![undefined, "--without-golden"].includes(without) || others.length > 0) {
  console.error("gpu-check: to pack, say npm run gpu-check -- --pack DIR [--without-golden], and nothing else");
  process.exitCode = usageError;
} else {
  try {
    const { bytes } = await packGpuCheck(resolve(folder), { golden: without === undefined });
    console.log(
      `gpu-check: ${resolve(folder)} has ${(bytes / 1e6).toFixed(1)} MB. Carry it to a machine with a GPU and run ./gpu-check there.`,
    );
  } catch (error) {
    console.error(`gpu-check: the folder was not made: ${error.message}`);
    process.exitCode = 1;
  }
}
