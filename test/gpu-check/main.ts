// npm run gpu-check [-- OPTIONS]: whether device cuda gives right answers on this machine's GPU, and how fast it is.
//
// Ends with 0 where all is right, with 1 where an answer is wrong or ops have no kernel, with 3 where there is no GPU, and with 4
// where there is one that cannot be used.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { DeviceError } from "../../ts/errors/index.ts";
import { loadCudaAddon } from "../../ts/device/native/addon.ts";
import { openDevice } from "../../ts/device/devices.ts";
import type { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { goldenSuites, lossParity } from "./models.ts";
import { noiseHashes, opsAgainstCpu } from "./ops.ts";
import { precisionChecks } from "./precision.ts";
import { ceilings, profile, sanitized } from "./programs-on-gpu.ts";
import { consoleReport, savedReport } from "./report.ts";
import { persistentSampler } from "./sampler.ts";
import type { Part } from "./session.ts";
import { Ended, Session } from "./session.ts";
import { tableOf } from "./table.ts";
import { timings } from "./timings.ts";

const exitCodes = { right: 0, wrong: 1, usage: 2, noGpu: 3, unusable: 4 } as const;

const parts: readonly Part[] = [
  ceilings,
  noiseHashes,
  opsAgainstCpu,
  precisionChecks,
  persistentSampler,
  goldenSuites,
  lossParity,
  timings,
  sanitized,
  profile,
];
const partNames = parts.map(({ name }) => name);

interface Options {
  readonly only: readonly string[];
  readonly skip: readonly string[];
  readonly keepGoing?: boolean;
  readonly minutes: number;
  readonly seed: number;
  readonly save?: string | true;
  readonly hostAddon?: string;
}

function parse(args: readonly string[]): Options {
  return new Command("gpu-check")
    .description(
      "Checks device cuda on this machine's GPU: right answers first, then speed.\n" +
        "Ends with 0 where all is right, 1 where something is wrong, 3 where there is no GPU, 4 where it cannot be used.\n" +
        `Its parts, in this order: ${partNames.join(", ")}.`,
    )
    .addOption(
      new Option("--only <parts>", "do these, as in ceilings,times").argParser(listOfParts).default(partNames, "all"),
    )
    .addOption(new Option("--skip <parts>", "do all but these").argParser(listOfParts).default([], "none"))
    .option("--keep-going", "go on behind a wrong answer, and tell all of them")
    .option("--minutes <number>", "begin nothing after so many, and stop programs", positiveNumber, 9)
    .option("--save [folder]", "write what is found to a file as it comes (default: bench/results, else here)")
    .option("--seed <number>", "of shapes and values; default: the time", wholeNumber, Math.floor(Date.now() / 1000))
    .addOption(new Option("--host-addon <path>", "for tests: an addon whose kernels run on the host").hideHelp())
    .exitOverride()
    .parse(args, { from: "user" })
    .opts<Options>();
}

function listOfParts(text: string): string[] {
  const names = text.split(",");
  for (const name of names)
    if (!partNames.includes(name))
      throw new InvalidArgumentError(`There is no part "${name}". The parts are ${partNames.join(", ")}.`);
  return names;
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError("Expected a number above 0.");
  return value;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value >= 2 ** 31) throw new InvalidArgumentError("Expected a whole number below 2^31.");
  return value;
}

/** Why no GPU can be used, in plain words; undefined where one can. */
function whyNoGpu(): string | undefined {
  try {
    const { built, devices, problem } = loadCudaAddon().cuda();
    if (devices.length === 0) return problem ?? "none was found";
    return built ? undefined : "the addon was compiled without CUDA";
  } catch (error) {
    if (error instanceof DeviceError) return error.message;
    throw error;
  }
}

/** Whether the system has a GPU all the same: its driver's program lists one, or there is its device file. */
function gpuIsThere(): boolean {
  const { status, stdout } = spawnSync("nvidia-smi", ["-L"], { encoding: "utf8", timeout: 10_000 });
  return (status === 0 && /^GPU \d/m.test(stdout)) || existsSync("/dev/nvidia0");
}

/** Runs parts, up to the first wrong answer unless the session keeps going. */
async function runParts(chosen: readonly Part[], session: Session, keepGoing: boolean): Promise<void> {
  for (const part of chosen) {
    session.say(`\n${part.title}`);
    if (session.contextIsBroken && !part.isElsewhere) {
      session.leaveOut(part.name, "the CUDA context is broken");
      continue;
    }
    try {
      await session.attempt(part.name, () => part.run(session));
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
      if (!keepGoing) return;
    }
  }
}

/** Tells all that was found. */
function conclude(session: Session): number {
  const { rows, leftOut, wrong, cuda } = session;
  session.say(`\n${tableOf(rows)}\n`);
  if (leftOut.length > 0) session.say(`Not run: ${leftOut.join("; ")}.`);
  if (cuda.missing.length > 0)
    session.say(`Ops without CUDA kernels: ${cuda.missing.map(({ name }) => name).join(", ")}.`);
  for (const problem of wrong) session.say(`WRONG: ${problem.split("\n")[0]}`); // all of it was told when it was found
  if (wrong.length === 0)
    session.say(cuda.missing.length > 0 ? "What ran is right, but not every op runs." : "All is right.");
  return wrong.length > 0 || cuda.missing.length > 0 ? exitCodes.wrong : exitCodes.right;
}

async function main(): Promise<number> {
  const options = parse(process.argv.slice(2));
  const { keepGoing = false } = options;
  const start = Date.now();
  if (options.hostAddon) process.env.LANGEVIN_CUDA_ADDON = resolve(options.hostAddon);
  const absent = whyNoGpu()?.replace(/\.$/, "");
  if (absent !== undefined) {
    const isThere = gpuIsThere();
    console.log(isThere ? `There is a GPU that cannot be used: ${absent}.` : `There is no GPU to check: ${absent}.`);
    return isThere ? exitCodes.unusable : exitCodes.noGpu;
  }
  const device = loadCudaAddon().cuda().devices[0].name;
  const saved = options.save === undefined ? undefined : savedReport(options.save, device);
  const session = new Session({
    cuda: openDevice("cuda") as CudaExecutor,
    cpu: openDevice("cpu"),
    seed: options.seed,
    reduced: options.hostAddon !== undefined,
    deadline: start + 60_000 * options.minutes,
    keepGoing,
    report: saved ?? consoleReport,
  });
  session.say(`gpu-check on ${device}, seed ${options.seed}`);
  const chosen = parts.filter(({ name }) => options.only.includes(name) && !options.skip.includes(name));
  await runParts(chosen, session, keepGoing);
  const status = conclude(session);
  if (saved) console.log(`Wrote ${saved.path}.`);
  return status;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? exitCodes.right : exitCodes.usage;
}
