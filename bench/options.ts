// The command line of `npm run bench`.

import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Effort } from "./measure.ts";
import type { Sizes } from "./tasks.ts";
import { groups, usualUNet } from "./tasks.ts";

/** What is to be measured, and how it is told. */
export interface BenchOptions extends Effort {
  readonly only: readonly string[];
  /** Undefined: the library's default device. */
  readonly device: "cuda" | "cpu" | "ts" | undefined;
  readonly threads: readonly number[];
  readonly sizes: Sizes;
  readonly peers: boolean;
  readonly floor: boolean;
  readonly json: boolean;
  readonly save: boolean;
  readonly growth: boolean;
}

interface Given extends Omit<BenchOptions, "sizes">, Sizes {}

/** Reads the command line (without `node` and the script). Throws CommanderError, having told what is wrong. */
export function parseOptions(
  args: readonly string[],
  writeError: (text: string) => void = (text) => void process.stderr.write(text),
): BenchOptions {
  const command = new Command("npm run bench --")
    .description("Times langevin on diffusion's workloads, and other libraries on the same work in the same run.")
    .addOption(new Option("--only <groups>", `some of ${groups.join(",")}`).argParser(groupList).default(groups))
    .addOption(new Option("--device <name>", "default: the fastest that works here").choices(["cuda", "cpu", "ts"]))
    .option("--threads <counts>", 'numbers such as "1,2", or "all"', threadCounts, [availableParallelism()])
    .option("--peers", "measure PyTorch and onnxruntime-node, too", false)
    .option("--floor", "measure the machine's limits, and compare with them", false)
    .option("--json", "print lines of JSON instead of a table", false)
    .option("--save", "add the table to bench/results/<date>-<device>.md", false)
    .option("--growth", "instead: how the cost of W4 grows with batch, side and channels", false)
    .option("--repeats <count>", "runs of each library at least", positiveInteger, 7)
    .option("--seconds <number>", "seconds of each library at least", seconds, 3)
    .option("--batch <count>", "images in W4's batches (default: 16, and 1 for forwards as well)", positiveInteger)
    .option("--size <pixels>", "side of W4's images", positiveInteger, usualUNet.size)
    .option("--base <channels>", "channels of W4's U-Net at full size", positiveInteger, usualUNet.base)
    .option("--mults <list>", "its channels at each level over those", integerList, usualUNet.mults)
    .configureOutput({ writeErr: writeError })
    .exitOverride()
    .parse(args, { from: "user" });
  const { batch, size, base, mults, ...rest } = command.opts<Given>();
  return { ...rest, device: rest.device, sizes: { batch, size, base, mults } };
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError("Expected an integer of at least 1.");
  return value;
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0) || value === Infinity)
    throw new InvalidArgumentError("Expected a number of at least 0.");
  return value;
}

const integerList = (text: string): number[] => text.split(",").map(positiveInteger);

/** "all" is every number from one to all processors' that doubles the one before, and all. */
function threadCounts(text: string): number[] {
  if (text !== "all") return integerList(text);
  const most = availableParallelism();
  const counts: number[] = [];
  for (let count = 1; count < most; count *= 2) counts.push(count);
  return [...counts, most];
}

function groupList(text: string): string[] {
  const names = text.split(",");
  const unknown = names.filter((name) => !groups.some((group) => group === name));
  if (unknown.length > 0)
    throw new InvalidArgumentError(`${unknown.join(", ")} is no workload. Known are ${groups.join(", ")}.`);
  return names;
}
