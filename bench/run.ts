// npm run bench [-- OPTIONS]: times langevin, and on request others, on the workloads of docs/performance.md.

import { appendFile, mkdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { CommanderError } from "commander";
import { LangevinError, defaultDevice, setDefaultDevice } from "langevin";
import type { Launch } from "./competitor.ts";
import type { Limits } from "./floor/limits.ts";
import { measureLimits } from "./floor/limits.ts";
import { growthTable, measureGrowth, writeGrowthChart } from "./growth.ts";
import { describeMachine } from "./machine.ts";
import type { Outcome } from "./measure.ts";
import { measure } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { parseOptions } from "./options.ts";
import { langevin, peers } from "./peers.ts";
import type { Line } from "./report.ts";
import { linesOf, remarksOn, tableOf } from "./report.ts";
import { tasksOf } from "./tasks.ts";

/** Exit code of a command line that makes no sense. */
const usageError = 2;

const results = join(import.meta.dirname, "results");

/** What is measured against what. */
interface Setting {
  readonly options: BenchOptions;
  readonly device: "cuda" | "cpu" | "ts";
  readonly rivals: readonly Launch[];
  readonly limits: ReadonlyMap<number, Limits> | undefined;
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  const machine = describeMachine();
  const device = options.device ? setDefaultDevice(options.device) : defaultDevice();
  const field = options.peers ? peers() : { launches: [], absent: [] };
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  for (const reason of field.absent) say(`Not measured: ${reason}.`);
  const setting = { options, device, rivals: field.launches, limits: limitsFor(options, say) };
  const text = options.growth ? await growth(setting, say) : await comparison(setting, say);
  if (!options.json) console.log(`${machine}.\n\n${text}`);
  if (options.save) say(`Added to ${await save(device, `${machine}.\n\n${text}`)}.`);
}

function limitsFor({ floor, threads }: BenchOptions, say: (text: string) => void): Map<number, Limits> | undefined {
  if (!floor) return undefined;
  try {
    return measureLimits(threads);
  } catch (error) {
    say(`The machine's limits were not measured: ${(error as Error).message}.`);
    return undefined;
  }
}

/** All workloads, with each number of threads. */
async function comparison({ options, device, rivals, limits }: Setting, say: (text: string) => void): Promise<string> {
  const lines: Line[] = [];
  const tell = heard(options, limits, say);
  for (const task of tasksOf(options.only, options.sizes))
    for (const threads of device === "ts" ? options.threads.slice(0, 1) : options.threads)
      lines.push(...tell(await measure({ task, device, threads }, [langevin(threads), ...rivals], options)));
  return [tableOf(lines), ...remarksOn(lines, limits)].join("\n\n");
}

async function growth({ options, device, rivals, limits }: Setting, say: (text: string) => void): Promise<string> {
  const [threads] = options.threads;
  const tell = heard(options, limits, say);
  const lines: Line[] = [];
  const best = rivals.filter(({ peer }) => peer === "torch-tuned");
  const points = await measureGrowth(
    options.sizes,
    { device, threads },
    [langevin(threads), ...best],
    options,
    (outcome) => void lines.push(...tell(outcome)),
  );
  say(`Wrote ${relative(process.cwd(), await writeGrowthChart(points))}.`);
  return [growthTable(points), ...remarksOn(lines, limits)].join("\n\n");
}

/** Tells of results as they come: as JSON on standard output, or else what is going on, on standard error. */
function heard({ json }: BenchOptions, limits: ReadonlyMap<number, Limits> | undefined, say: (text: string) => void) {
  return (outcome: Outcome): Line[] => {
    const lines = linesOf(outcome, limits);
    for (const line of lines)
      if (json) console.log(JSON.stringify(line));
      else
        say(`${line.workload} ${line.metric}, ${line.threads} threads, ${line.peer}: ${line.median} (min ${line.min})`);
    for (const reason of outcome.absent) say(`Not measured: ${reason}.`);
    return lines;
  };
}

/** Adds a text to the day's file of this device. */
async function save(device: string, text: string): Promise<string> {
  const now = new Date().toISOString();
  await mkdir(results, { recursive: true });
  const path = join(results, `${now.slice(0, 10)}-${device}.md`);
  const command = ["npm run bench --", ...process.argv.slice(2)].join(" ");
  await appendFile(path, `# ${now.slice(0, 16).replace("T", ", ")} UTC: \`${command}\`\n\n${text}\n\n`);
  return relative(process.cwd(), path);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof CommanderError) && !(error instanceof LangevinError)) throw error;
  if (error instanceof LangevinError) console.error(error.message);
  process.exitCode = error instanceof CommanderError && error.exitCode === 0 ? 0 : usageError;
}
