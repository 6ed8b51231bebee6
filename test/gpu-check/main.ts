// npm run gpu-check [-- OPTIONS]: whether device cuda gives right answers on this machine's GPU, and how fast it is.
//
// Ends with 0 where all is right, with 1 at the first wrong answer or where ops have no kernel, with 3 where there is no GPU.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { markdownTable } from "../../bench/report.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import { loadCudaAddon, packageRoot } from "../../ts/device/native/addon.ts";
import { openDevice } from "../../ts/device/devices.ts";
import type { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { goldenSuites, lossParity } from "./models.ts";
import { noiseHashes, opsAgainstCpu } from "./ops.ts";
import { ceilings, profile, sanitized } from "./programs-on-gpu.ts";
import type { Part, Row, Session } from "./session.ts";
import { WrongAnswer, missingKernelIn } from "./session.ts";
import { timings } from "./timings.ts";

const exitCodes = { right: 0, wrong: 1, usage: 2, noGpu: 3 } as const;
/** The check is to take no longer. */
const minutes = 10;

const parts: readonly Part[] = [
  ceilings,
  noiseHashes,
  opsAgainstCpu,
  goldenSuites,
  lossParity,
  sanitized,
  timings,
  profile,
];

interface Options {
  readonly seed: number;
  readonly save?: string | true;
  readonly hostAddon?: string;
}

function parse(args: readonly string[]): Options {
  return new Command("gpu-check")
    .description(
      "Checks device cuda on this machine's GPU: right answers first, then speed. Takes ten minutes at most.",
    )
    .option("--save [folder]", "write what it found as markdown (default: bench/results, else here)")
    .option("--seed <number>", "of shapes and values; default: the time", wholeNumber, Math.floor(Date.now() / 1000))
    .addOption(new Option("--host-addon <path>", "for tests: an addon whose kernels run on the host").hideHelp())
    .exitOverride()
    .parse(args, { from: "user" })
    .opts<Options>();
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value >= 2 ** 31) throw new InvalidArgumentError("Expected a whole number below 2^31.");
  return value;
}

/** Why there is no GPU to check, in plain words; undefined where there is one. */
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

const showTime = (seconds: number): string =>
  seconds < 1e-3
    ? `${(1e6 * seconds).toPrecision(3)} us`
    : seconds < 1
      ? `${(1e3 * seconds).toPrecision(3)} ms`
      : `${seconds.toPrecision(3)} s`;

/** The table at the end. */
function tableOf(rows: readonly Row[]): string {
  const cells = rows.map(({ workload, limit, ours, error }) => [
    workload,
    limit === undefined ? "" : showTime(limit),
    showTime(ours),
    limit === undefined ? "" : `${(ours / limit).toPrecision(3)}x`,
    error === undefined ? "" : error.toExponential(1),
  ]);
  return markdownTable([["workload", "limit", "ours", "multiple", "error"], ...cells], [1, 2, 3, 4]);
}

/** Runs all parts up to the first wrong answer, which is returned. */
async function runParts(session: Session): Promise<WrongAnswer | undefined> {
  for (const { title, run } of parts) {
    session.say(`\n${title}`);
    try {
      await run(session);
    } catch (error) {
      const missing = missingKernelIn((error as Error).message);
      if (missing !== undefined) session.leaveOut(title, `${missing} has no CUDA kernel`);
      else if (error instanceof WrongAnswer) return error;
      else if (error instanceof DeviceError) return new WrongAnswer(error.message, { cause: error });
      else throw error;
    }
  }
  return undefined;
}

function save(folder: string | true, device: string, text: string): string {
  const results = join(packageRoot(), "bench", "results");
  const target = folder === true ? (existsSync(results) ? results : ".") : folder;
  mkdirSync(target, { recursive: true });
  const name = device.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const path = resolve(target, `${new Date().toISOString().slice(0, 10)}-gpu-check-${name}.md`);
  writeFileSync(path, text);
  return path;
}

async function main(): Promise<number> {
  const options = parse(process.argv.slice(2));
  if (options.hostAddon) process.env.LANGEVIN_CUDA_ADDON = resolve(options.hostAddon);
  const absent = whyNoGpu();
  if (absent !== undefined) {
    console.log(`There is no GPU to check: ${absent.replace(/\.$/, "")}.`);
    return exitCodes.noGpu;
  }
  const lines: string[] = [];
  const leftOut: string[] = [];
  const cuda = openDevice("cuda") as CudaExecutor;
  const session: Session = {
    cuda,
    cpu: openDevice("cpu"),
    seed: options.seed,
    reduced: options.hostAddon !== undefined,
    deadline: Date.now() + 60_000 * minutes,
    say: (text) => {
      console.log(text);
      lines.push(text);
    },
    leaveOut: (what, why) => {
      console.log(`not run: ${what} (${why})`);
      leftOut.push(`${what} (${why})`);
    },
    rows: [],
  };
  const device = loadCudaAddon().cuda().devices[0].name;
  session.say(`gpu-check on ${device}, seed ${options.seed}`);
  const wrong = await runParts(session);
  session.say(`\n${tableOf(session.rows)}\n`);
  if (leftOut.length > 0) session.say(`Not run: ${leftOut.join("; ")}.`);
  if (cuda.missing.length > 0)
    session.say(`Ops without CUDA kernels: ${cuda.missing.map(({ name }) => name).join(", ")}.`);
  if (wrong) session.say(`WRONG: ${wrong.message}`);
  else session.say(cuda.missing.length > 0 ? "What ran is right, but not every op runs." : "All is right.");
  if (options.save !== undefined) console.log(`Wrote ${save(options.save, device, `${lines.join("\n")}\n`)}.`);
  return wrong || cuda.missing.length > 0 ? exitCodes.wrong : exitCodes.right;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? exitCodes.right : exitCodes.usage;
}
