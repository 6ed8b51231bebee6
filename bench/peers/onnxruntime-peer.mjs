// The process in which onnxruntime runs one task, exported by langevin, round by round (bench/protocol.ts).

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";

const ort = createRequire(import.meta.url)("onnxruntime-node");
const version = createRequire(import.meta.url)("onnxruntime-node/package.json").version;
const { task, threads, warmSeconds } = JSON.parse(process.argv[2]);
const steps = 1000;

/** The file that langevin writes for the task, from a process of its own: its memory is not onnxruntime's. */
async function load() {
  const folder = mkdtempSync(join(tmpdir(), "langevin-bench-"));
  try {
    const file = join(folder, "model.onnx");
    const script = join(import.meta.dirname, "..", "export-onnx.ts");
    const args = ["--import", "tsx", script, JSON.stringify(task), file];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(/^\w*Error: (.*)$/m.exec(stderr)?.[1] ?? stderr);
    return await ort.InferenceSession.create(file, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Numbers that are neither all alike nor denormal; their values do not matter to the time. */
function numbers(length) {
  return Float32Array.from({ length }, (_, i) => Math.sin(i * i));
}

function tensorOf(metadata) {
  const { shape, type } = metadata;
  const length = shape.reduce((product, n) => product * n, 1);
  if (type === "int32")
    return new ort.Tensor(
      "int32",
      Int32Array.from({ length }, (_, i) => (61 * i) % steps),
      shape,
    );
  return new ort.Tensor("float32", numbers(length), shape);
}

/** Coefficients of DDPM's reverse step (Ho et al. 2020, algorithm 2). */
function reverseCoefficients() {
  let before = 1;
  return Array.from({ length: steps }, (_, t) => {
    const beta = 1e-4 + ((0.02 - 1e-4) * t) / (steps - 1);
    const alphaBar = before * (1 - beta);
    const scale = 1 / Math.sqrt(1 - beta);
    const sigma = Math.sqrt(((1 - before) / (1 - alphaBar)) * beta);
    before = alphaBar;
    return { scale, epsilonScale: (scale * beta) / Math.sqrt(1 - alphaBar), sigma };
  });
}

/** All reverse steps, the arithmetic between the network's calls in JavaScript; its noise was drawn before, and costs nothing. */
async function sampleWith(session, feed) {
  const noise = numbers(feed.x.data.length);
  const { dims } = feed.x;
  let x = feed.x.data;
  const coefficients = reverseCoefficients();
  for (let t = steps - 1; t >= 0; t--) {
    const times = new ort.Tensor("int32", new Int32Array(dims[0]).fill(t), [dims[0]]);
    const { output } = await session.run({ x: new ort.Tensor("float32", x, dims), t: times });
    const { scale, epsilonScale, sigma } = coefficients[t];
    const epsilon = output.data;
    x = x.map((value, i) => scale * value - epsilonScale * epsilon[i] + sigma * noise[i]);
  }
}

const machineCpuSeconds = () => {
  try {
    const ticks = readFileSync("/proc/stat", "utf8").split("\n")[0].trim().split(/\s+/).slice(1, 9).map(Number);
    return (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]) / 100;
  } catch {
    return null; // not Linux
  }
};
const ownCpuSeconds = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;

async function timeRuns(run, { seconds, most }) {
  const [start, own, machine] = [performance.now(), ownCpuSeconds(), machineCpuSeconds()];
  const times = [];
  do {
    const begin = performance.now();
    await run();
    times.push((performance.now() - begin) / 1000);
  } while (times.length < most && performance.now() - start < 1000 * seconds);
  const all = machine === null ? null : machineCpuSeconds() - machine;
  return { times, elapsed: (performance.now() - start) / 1000, own: ownCpuSeconds() - own, machine: all };
}

function beginPeakMemory() {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Then the peak is that of the whole process.
  }
  return process.memoryUsage.rss();
}

function peakMemory() {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
  } catch {
    return 1024 * process.resourceUsage().maxRSS;
  }
}

const say = (answer) => console.log(JSON.stringify(answer));

const session = await load();
const feed = Object.fromEntries(session.inputMetadata.map((metadata) => [metadata.name, tensorOf(metadata)]));
const sampling = task.kind === "tutorial-sample";
const run = sampling ? () => sampleWith(session, feed) : () => session.run(feed);
const before = beginPeakMemory();
await timeRuns(run, { seconds: warmSeconds, most: Infinity });
say({ version, variant: sampling ? "graph, steps in JavaScript" : "graph", threads });
for await (const line of createInterface({ input: process.stdin })) say(await timeRuns(run, JSON.parse(line)));
say({ memory: Math.max(0, peakMemory() - before) });
await session.release();
