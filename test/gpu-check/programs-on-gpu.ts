// The parts of gpu-check that other programs do: the GPU's ceilings, kernels under compute-sanitizer, and ncu's look at a step.

import { fileURLToPath } from "node:url";
import { unetTraining, usualUNet } from "../../bench/tasks.ts";
import { hasTool, ownProgram, runProgram } from "./programs.ts";
import type { Ceilings, Part, Session } from "./session.ts";
import { WrongAnswer } from "./session.ts";
import { tinyTraining } from "./timings.ts";

const onHost = "kernels run on the host";

/** What the GPU is, and the most that it does. */
export const ceilings: Part = {
  title: "The device and its ceilings",
  async run(session) {
    if (session.reduced) return session.leaveOut("ceilings", onHost);
    const program = ownProgram("ceilings");
    if ("absent" in program) return session.leaveOut("ceilings", program.absent);
    const { status, stdout, stderr } = runProgram(program.path, []);
    if (status !== 0) throw new WrongAnswer(`the program of ceilings ended with ${status}: ${stderr.trim()}`);
    const measured = JSON.parse(stdout) as Ceilings;
    session.ceilings = measured;
    session.say(
      `${measured.device}, ${measured.multiprocessors} multiprocessors: copies ${measured.copyGbps.toFixed(0)} GB/s, ` +
        `bf16 products ${measured.bf16Tflops.toFixed(0)} TFLOP/s, a kernel of a graph every ${measured.launchUs.toFixed(2)} us`,
    );
  },
};

const sanitizers = ["memcheck", "racecheck", "initcheck", "synccheck"] as const;
/** What compute-sanitizer exits with where it found something. */
const foundSomething = 9;

/** A standalone program of kernels, alone and under each of compute-sanitizer's tools. */
export const sanitized: Part = {
  title: "Kernels under compute-sanitizer",
  async run(session) {
    const every = sanitizers.join(", ");
    if (session.reduced) return session.leaveOut(every, onHost);
    const program = ownProgram("kernels");
    if ("absent" in program) return session.leaveOut(every, program.absent);
    const alone = runProgram(program.path, []);
    if (alone.status !== 0) throw new WrongAnswer(`the program of kernels: ${alone.stdout}${alone.stderr}`);
    session.say(`alone: ${alone.stdout.trim()}`);
    if (!hasTool("compute-sanitizer")) return session.leaveOut(every, "compute-sanitizer is not installed");
    for (const tool of sanitizers) {
      if (Date.now() > session.deadline) {
        session.leaveOut(tool, "the ten minutes are over");
        continue;
      }
      const args = ["--tool", tool, "--error-exitcode", String(foundSomething), program.path];
      const { status, stdout } = runProgram("compute-sanitizer", args);
      if (status !== 0) throw new WrongAnswer(`compute-sanitizer --tool ${tool} found (${status}):\n${stdout}`);
      session.say(`${tool}: nothing found`);
    }
  },
};

/** What ncu is asked for each kernel. */
const metrics = {
  time: "gpu__time_duration.sum",
  products: "sm__throughput.avg.pct_of_peak_sustained_elapsed",
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

/** What the costliest kernels of a training step of W4 wait for. */
export const profile: Part = {
  title: "The five costliest kernels under ncu",
  async run(session: Session) {
    // The same file as this one, beside it: .ts in a clone, .js where it was compiled.
    const child = fileURLToPath(import.meta.url).replace(/programs-on-gpu\.(ts|js)$/, "one-step.$1");
    const task = session.reduced ? tinyTraining : unetTraining(usualUNet, 16);
    const step = [...process.execArgv, child, JSON.stringify(task)];
    if (session.reduced) {
      const { status, stderr } = runProgram(process.execPath, step);
      if (status !== 0) throw new WrongAnswer(`the step for ncu to look at ended with ${status}: ${stderr.trim()}`);
      return session.leaveOut("ncu", onHost);
    }
    if (!hasTool("ncu")) return session.leaveOut("ncu", "it is not installed");
    if (Date.now() > session.deadline) return session.leaveOut("ncu", "the ten minutes are over");
    const args = ["--csv", "--metrics", Object.values(metrics).join(","), process.execPath, ...step];
    const { status, stdout, stderr } = runProgram("ncu", args);
    const kernels = status === 0 ? costliest(stdout, 5) : [];
    // It may need rights that whoever checks a machine does not have.
    if (kernels.length === 0)
      return session.leaveOut("ncu", `it gave no report: ${(stderr || stdout).trim().split("\n").at(-1)}`);
    for (const { name, calls, time, products, memory } of kernels)
      session.say(
        `${(time / 1e3).toFixed(1)} us in ${calls} calls, ${products.toFixed(0)}% of arithmetic, ${memory.toFixed(0)}% of memory: ${name}`,
      );
  },
};
