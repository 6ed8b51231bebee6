// npm run golden -- [DIR] [--only PATH] [--device ts|cpu] [--dtype float32|float64] [--plan]:
// every case of a folder in the golden layout.

import { relative, resolve } from "node:path";
import { Command, Option } from "commander";
import { defaultDevice } from "langevin";
import type { DeviceName } from "langevin";
import { findSidecars, readDataSet } from "./golden-suite/data-set.ts";
import { enterSetting, runCase } from "./golden-suite/suite.ts";

interface Options {
  readonly only?: string;
  readonly device?: DeviceName;
  readonly dtype: "float32" | "float64";
  readonly plan?: boolean;
}

const program = new Command("npm run golden --")
  .argument("[dir]", "folder of data sets", resolve(import.meta.dirname, "golden"))
  .option("--only <path>", "only the files whose path contains this")
  .addOption(new Option("--device <name>", "default: the fastest that works").choices(["cuda", "cpu", "ts"]))
  .addOption(new Option("--dtype <name>", "float64 only on ts").choices(["float32", "float64"]).default("float32"))
  .option("--plan", "as plans, which must have eager's bits")
  .parse();

const { only, device = defaultDevice(), dtype, plan } = program.opts<Options>();
const dir = resolve(program.processedArgs[0] as string);
const eager = enterSetting(device, dtype);
const setting = plan ? enterSetting(device, dtype, { eager }) : eager;
const total = { passed: 0, failed: 0, skipped: 0 };

for (const path of findSidecars(dir)) {
  const name = relative(dir, path) || path;
  if (only !== undefined && !path.includes(only)) continue;
  const data = readDataSet(path);
  const count = { passed: 0, failed: 0, skipped: 0 };
  const start = performance.now();
  for (const given of data.cases) {
    const outcome = await runCase(data, given, setting);
    count[outcome.status]++;
    total[outcome.status]++;
    if (outcome.status === "failed") console.log(`  ${name} ${given.name}: ${outcome.problem}`);
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped (${seconds} s)`);
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
