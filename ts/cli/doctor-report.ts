// Prints what `langevin doctor` found, in plain words.

import { join } from "node:path";
import type { BuildAttempt } from "../device/native/addon.ts";
import type { Tool } from "./build-tools.ts";
import type { DeviceFacts, DoctorFacts } from "./doctor-facts.ts";

/** The facts as lines of text. */
export function report(facts: DoctorFacts): string {
  const sections: [string, string[]][] = [
    ["Devices", facts.devices.map((device) => describeDevice(device, facts))],
    ["Native addon", [...describeAddon(facts), ...describeBuild(facts)]],
    ["To build it", describeTools(facts)],
    ["NVIDIA", describeCuda(facts)],
    ["Machine", describeMachine(facts)],
    ["Environment", Object.entries(facts.environment).map(([name, value]) => `${name}=${value}`)],
    ["Next", facts.devices.flatMap(({ next }) => next)],
  ];
  const text = sections
    .filter(([, lines]) => lines.length > 0)
    .map(([title, lines]) => `\n${title}\n${lines.map((line) => `  ${line}\n`).join("")}`);
  const problem = facts.problem === undefined ? "" : `\nNo device: ${facts.problem}\n`;
  return `langevin ${facts.version} on Node ${facts.node}, ${facts.platform}\n${text.join("")}${problem}`;
}

function describeDevice({ name, works, problem, threads }: DeviceFacts, facts: DoctorFacts): string {
  const label = name.padEnd(4);
  if (!works) return `${label}  does not work: ${problem}`;
  const role = name === facts.defaultDevice ? "works, and is the default" : "works";
  if (name === "ts") return `${label}  ${role}: plain TypeScript, far slower than compiled kernels`;
  if (name === "cuda") return `${label}  ${role}: ${describeKernels(facts)}`;
  return `${label}  ${role}: ${facts.addon?.instructionSet} kernels, ${count(threads ?? 1, "thread")}`;
}

/** The first GPU, and whether machine code for it is there: that of the same major version, and of no newer minor one. */
function describeKernels({ addon, cuda }: DoctorFacts): string {
  const [{ name, computeCapability }] = cuda.gpus;
  const [major, minor] = computeCapability.split(".").map(Number);
  const fits = (addon?.cudaArchitectures ?? []).some((compiled) => {
    const [ofMajor, upTo] = compiled.split(".").map(Number);
    return ofMajor === major && upTo <= minor;
  });
  if (fits) return `${name}, kernels compiled for it`;
  return `${name}, for which kernels are compiled when they are first used; langevin build, run here, does it beforehand`;
}

function describeAddon({ addon }: DoctorFacts): string[] {
  if (addon === null) return ["there is none that loads"];
  const built = `built here${addon.how ? ` by ${toolName(addon.how)} on ${showDate(addon.date)}` : ""}`;
  const origin = addon.origin === "built" ? built : "came compiled in the package";
  return [
    `${origin}, ${addon.cuda ? "with" : "without"} CUDA: ${addon.path}`,
    ...(addon.cudaArchitectures.length === 0
      ? []
      : [`CUDA kernels compiled for compute capability ${addon.cudaArchitectures.join(", ")}`]),
    `compiled for ${addon.instructionSets.join(", ")}; in use: ${addon.instructionSet ?? "none"}`,
  ];
}

function describeBuild({ lastBuild, folder }: DoctorFacts): string[] {
  if (lastBuild === null) return [];
  const lines = lastBuild.attempts.map(({ how, cuda, ok, seconds, why, log }) => {
    const outcome = ok ? `took ${seconds} s` : log === undefined ? `was not tried: ${why}` : `failed: ${why}`;
    return `${toolName(how)}${cuda ? " with CUDA" : ""} ${outcome}${log === undefined ? "" : ` (log: ${join(folder, log)})`}`;
  });
  return [`last build on ${showDate(lastBuild.date)}:`, ...lines.map((line) => `  ${line}`)];
}

const toolName = (how: BuildAttempt["how"]): string => (how === "cmake" ? "CMake" : "node-gyp");

function describeTools({ tools }: DoctorFacts): string[] {
  const show = (label: string, tool: Tool | undefined): string =>
    `${label.padEnd(12)}  ${tool ? `${tool.version} (${tool.command})` : "not found"}`;
  return [
    show("C++ compiler", tools.compiler),
    show("CMake", tools.cmake),
    show("make", tools.make),
    show("Python 3", tools.python),
    show("CUDA toolkit", tools.nvcc),
  ];
}

function describeCuda({ cuda }: DoctorFacts): string[] {
  const gpus = cuda.gpus.map(
    ({ name, computeCapability, memory }) => `${name}, compute capability ${computeCapability}, ${showBytes(memory)}`,
  );
  const driver = cuda.driver === null ? [] : [`driver ${cuda.driver}`];
  return [...driver, ...gpus, ...(cuda.problem === undefined ? [] : [`no GPU can be used: ${cuda.problem}`])];
}

function describeMachine({ processor, memory }: DoctorFacts): string[] {
  const limit = memory.limit === null ? "" : `, of which this process may use ${showBytes(memory.limit)}`;
  return [
    `${processor.model}, ${count(processor.count, "processor")}`,
    `${showBytes(memory.total)} of memory${limit}; ${showBytes(memory.available)} are free`,
  ];
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
const showBytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const showDate = (date = ""): string => date.slice(0, 16).replace("T", " ");
