// The parts of gpu-check that other programs do: the GPU's ceilings, kernels under compute-sanitizer, and ncu's look at a step.

import { fileURLToPath } from "node:url";
import { unetTraining, usualUNet } from "../../bench/tasks.ts";
import { findTool, lastWords, ownProgram, runProgram } from "./programs.ts";
import type { Ceilings, Part, Session } from "./session.ts";
import { WrongAnswer } from "./session.ts";
import { tinyTraining } from "./timings.ts";

/** Characters of what a tool says that are told. */
const longest = 4000;

const onHost = "kernels run on the host";

/** What the GPU is, and the most that it does. */
export const ceilings: Part = {
  name: "ceilings",
  title: "The device and its ceilings",
  isElsewhere: true,
  async run(session) {
    if (session.reduced) return session.leaveOut("ceilings", onHost);
    const program = await ownProgram("ceilings", session.deadline);
    if ("absent" in program) return session.leaveOut("ceilings", program.absent);
    const said = await runProgram(program.path, [], session.deadline);
    const measured = said.status === 0 ? ceilingsIn(said.stdout) : undefined;
    if (measured === undefined) return session.leaveOut("ceilings", lastWords(said));
    session.ceilings = measured;
    session.say(
      `${measured.device}, ${measured.multiprocessors} multiprocessors: copies ${measured.copyGbps.toFixed(0)} GB/s, ` +
        `${measured.float32Tflops.toFixed(1)} TFLOP/s in float32, products ${measured.tf32Tflops.toFixed(0)} TFLOP/s in tf32 and ` +
        `${measured.bf16Tflops.toFixed(0)} in bf16, a kernel of a graph every ${measured.launchUs.toFixed(2)} us`,
    );
  },
};

/** What the program of ceilings printed; undefined where it is something else. */
function ceilingsIn(text: string): Ceilings | undefined {
  try {
    return JSON.parse(text) as Ceilings;
  } catch {
    return undefined;
  }
}

const sanitizers = ["memcheck", "racecheck", "initcheck", "synccheck"] as const;
/** What compute-sanitizer exits with where it found something; with anything else it did not get to its end. */
const foundSomething = 9;
/** None of the tools may take longer, or there would be no time for the others. */
const patience = 150_000; // ms
/** What the program of kernels exits with where a result is wrong or a kernel fails. */
const wrongResult = 1;

/** A standalone program of kernels, alone and under each of compute-sanitizer's tools. */
export const sanitized: Part = {
  name: "sanitizer",
  title: "Kernels under compute-sanitizer",
  isElsewhere: true,
  async run(session) {
    const every = sanitizers.join(", ");
    if (session.reduced) return session.leaveOut(every, onHost);
    const program = await ownProgram("kernels", session.deadline);
    if ("absent" in program) return session.leaveOut(every, program.absent);
    await session.attempt("the program of kernels", async () => {
      const alone = await runProgram(program.path, [], session.deadline);
      if (alone.status === wrongResult) throw new WrongAnswer(`the program of kernels: ${alone.stdout}${alone.stderr}`);
      if (alone.status !== 0) return session.leaveOut("the program of kernels", lastWords(alone));
      session.say(`alone: ${alone.stdout.trim()}`);
    });
    await underSanitizers(session, program.path);
  },
};

/** A program under each of compute-sanitizer's tools. */
export async function underSanitizers(session: Session, program: string): Promise<void> {
  const command = findTool("compute-sanitizer");
  if (command === undefined) return session.leaveOut(sanitizers.join(", "), "compute-sanitizer is not installed");
  for (const tool of sanitizers)
    await session.attempt(tool, async () => {
      const args = ["--tool", tool, "--error-exitcode", String(foundSomething), program];
      const said = await runProgram(command, args, Math.min(session.deadline, Date.now() + patience));
      if (said.status === foundSomething)
        throw new WrongAnswer(
          `compute-sanitizer --tool ${tool} found:\n${(said.stdout + said.stderr).slice(0, longest)}`,
        );
      if (said.status === 0) session.say(`${tool}: nothing found`);
      else session.leaveOut(tool, lastWords(said));
    });
}

/** What ncu is asked for each kernel. */
const metrics = {
  time: "gpu__time_duration.sum",
  products: "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
  memory: "dram__throughput.avg.pct_of_peak_sustained_elapsed",
} as const;

/** A kernel in ncu's report: nanoseconds, and percent of what the GPU can do. */
export interface ProfiledKernel {
  readonly name: string;
  readonly calls: number;
  readonly time: number;
  readonly products: number;
  readonly memory: number;
}

/** The kernels of a report that `ncu --csv` printed, costliest first; percentages are means weighted by time. */
export function costliest(report: string, count: number): ProfiledKernel[] {
  const lines = report.split("\n").filter((line) => line.startsWith('"'));
  const rows = lines.map((line) => line.replace(/^"|"\r?$/g, "").split('","'));
  const [head, ...body] = rows;
  const column = (name: string): number => head?.indexOf(name) ?? -1;
  const [id, kernel, metric, value, unit] = ["ID", "Kernel Name", "Metric Name", "Metric Value", "Metric Unit"].map(
    column,
  );
  const launches = new Map<string, { name: string; time: number; products: number; memory: number }>();
  for (const row of body) {
    const launch = launches.get(row[id]) ?? { name: row[kernel], time: 0, products: 0, memory: 0 };
    const key = (["time", "products", "memory"] as const).find((name) => metrics[name] === row[metric]);
    if (key) launch[key] = Number(row[value].replaceAll(",", "")) * (key === "time" ? nanoseconds(row[unit]) : 1);
    launches.set(row[id], launch);
  }
  const kernels = new Map<string, { calls: number; time: number; products: number; memory: number }>();
  for (const { name, time, products, memory } of launches.values()) {
    const sum = kernels.get(name) ?? { calls: 0, time: 0, products: 0, memory: 0 };
    sum.calls++;
    sum.time += time;
    sum.products += time * products;
    sum.memory += time * memory;
    kernels.set(name, sum);
  }
  return [...kernels]
    .map(([name, { calls, time, products, memory }]) => {
      return { name, calls, time, products: products / time, memory: memory / time };
    })
    .sort((a, b) => b.time - a.time)
    .slice(0, count);
}

function nanoseconds(unit: string): number {
  const units: Readonly<Record<string, number>> = { ns: 1, nsecond: 1, us: 1e3, usecond: 1e3, ms: 1e6, msecond: 1e6 };
  if (!(unit in units)) throw new Error(`ncu tells time in "${unit}", expected ${Object.keys(units).join(", ")}`);
  return units[unit];
}

/** What the costliest kernels of a training step of W4 in bf16 wait for. */
export const profile: Part = {
  name: "ncu",
  title: "The five costliest kernels under ncu",
  isElsewhere: true,
  async run(session) {
    // The same file as this one, beside it: .ts in a clone, .js where it was compiled.
    const child = fileURLToPath(import.meta.url).replace(/programs-on-gpu\.(ts|js)$/, "one-step.$1");
    const task = session.reduced ? tinyTraining : unetTraining(usualUNet, 16);
    const step = [...process.execArgv, child, JSON.stringify(task), JSON.stringify({ precision: "bf16" })];
    if (session.reduced) {
      const said = await runProgram(process.execPath, step, session.deadline);
      if (said.status !== 0) throw new WrongAnswer(`the step for ncu to look at: ${lastWords(said)}`);
      return session.leaveOut("ncu", onHost);
    }
    const command = findTool("ncu");
    if (command === undefined) return session.leaveOut("ncu", "it is not installed");
    // The clocks are left as they are, and caches as the step finds them.
    const manner = ["--csv", "--clock-control", "none", "--cache-control", "none"];
    const args = [...manner, "--metrics", Object.values(metrics).join(","), process.execPath, ...step];
    const said = await runProgram(command, args, session.deadline);
    // It may need rights that whoever checks a machine does not have.
    const kernels = said.status === 0 ? readableReport(said.stdout) : [];
    if (kernels.length === 0) return session.leaveOut("ncu", `it gave no report: ${lastWords(said)}`);
    for (const { name, calls, time, products, memory } of kernels)
      session.say(
        `${(time / 1e3).toFixed(1)} us in ${calls} calls, ${products.toFixed(0)}% of tensor cores, ${memory.toFixed(0)}% of memory: ${name}`,
      );
  },
};

/** The costliest kernels; none where the report is not what `costliest` expects. */
function readableReport(report: string): ProfiledKernel[] {
  try {
    return costliest(report, 5);
  } catch {
    return [];
  }
}
