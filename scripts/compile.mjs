// The two ways to compile the native addon, each into a folder of its own: CMake, with or without CUDA, and node-gyp.

import { spawn } from "node:child_process";
import { cpSync, createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The package's folder. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const require = createRequire(join(root, "package.json"));
const cores = String(availableParallelism());

/** A file of an installed package, or undefined. */
function resolve(path) {
  try {
    return require.resolve(path);
  } catch {
    return undefined;
  }
}

/** The environment of a build. npm's own settings of node-gyp outrank its options, and could make it download headers. */
function buildEnvironment() {
  const outranking = /^npm_config_(nodedir|target|disturl|dist_url|tarball)$/i;
  const kept = Object.entries(process.env).filter(([name, value]) => !outranking.test(name) && value !== "");
  return { ...Object.fromEntries(kept), npm_config_loglevel: "error" };
}

/** Signals that ask a build to stop. */
const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Thrown when a signal ended a build. */
export class Interrupted extends Error {
  constructor(signal) {
    super(`stopped by ${signal}`);
    this.signal = signal;
  }
}

/**
 * Runs node on a script; everything it prints is added to the log file, and shown where `show` is set. Its processes
 * form a group, so that a signal that stops this one leaves no compiler behind.
 */
async function runNode(script, args, { cwd = root, log, show = false }) {
  mkdirSync(dirname(log), { recursive: true });
  const file = createWriteStream(log, { flags: "a" });
  const child = spawn(process.execPath, [script, ...args], {
    cwd,
    env: buildEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
      file.write(text);
      if (show) process.stdout.write(text);
    });
  let stoppedBy;
  const stop = (signal) => {
    stoppedBy = signal;
    process.kill(-child.pid, "SIGTERM");
  };
  for (const signal of stopSignals) process.once(signal, stop);
  try {
    const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
    if (stoppedBy !== undefined) throw new Interrupted(stoppedBy);
    return { ok: code === 0, output };
  } finally {
    for (const signal of stopSignals) process.off(signal, stop);
    await new Promise((resolve) => file.end(resolve));
  }
}

/**
 * Compiles into `folder` with CMake; `cuda` is AUTO, ON or OFF, or HOST for the CUDA part alone with a stand-in for the
 * runtime, which tests use; `arch` says for which GPUs: "auto", "all" or a list such as "80,90"; `link` are flags for the linker.
 * The addon is `addon` of the result.
 */
export async function compileWithCMake(folder, cuda, { arch = "auto", link = [], ...options }) {
  const script = resolve("cmake-js/bin/cmake-js");
  if (script === undefined) return { ok: false, output: "error: cmake-js is not installed" };
  const args = [
    ...[cuda === "HOST" ? "compile" : "build", "--out", folder, "--parallel", cores, "--log-level", "error"],
    `--CDLANGEVIN_NODE=${process.execPath}`,
    ...(link.length > 0 ? [`--CDCMAKE_MODULE_LINKER_FLAGS=${link.join(" ")}`] : []),
    ...(cuda === "HOST"
      ? ["--CDLANGEVIN_CUDA_HOST=ON"]
      : [`--CDLANGEVIN_CUDA=${cuda}`, `--CDLANGEVIN_CUDA_ARCH=${arch}`]),
  ];
  return { ...(await runNode(script, args, options)), addon: join(folder, "Release", "langevin.node") };
}

/** Whether CMake found a CUDA toolkit when it compiled into `folder`. */
export function usedToolkit(folder) {
  const cache = join(folder, "CMakeCache.txt");
  return existsSync(cache) && /^CUDAToolkit_NVCC_EXECUTABLE:.*=\//m.test(readFileSync(cache, "utf8"));
}

/** Defaults for all targets that node-gyp expects among Node's headers. */
const commonGypi = `{
  "target_defaults": {
    "default_configuration": "Release",
    "configurations": { "Debug": {}, "Release": { "defines": ["NDEBUG"] } }
  }
}
`;

/** Headers for node-gyp: Node's own where they were installed with it, else those of node-api-headers, in `folder`. */
function headerFolder(folder) {
  const prefix = dirname(dirname(process.execPath));
  if (existsSync(join(prefix, "include", "node", "common.gypi"))) return prefix;
  const headers = resolve("node-api-headers");
  if (headers === undefined) return undefined;
  cpSync(join(dirname(headers), "include"), join(folder, "include", "node"), { recursive: true });
  writeFileSync(join(folder, "include", "node", "common.gypi"), commonGypi);
  return folder;
}

/** Compiles a copy of the sources in `folder` with node-gyp, whose folder for the outcome is always called build. */
export async function compileWithGyp(folder, options) {
  const script = resolve("node-gyp/bin/node-gyp.js");
  if (script === undefined) return { ok: false, output: "error: node-gyp is not installed" };
  for (const name of ["binding.gyp", "native"]) cpSync(join(root, name), join(folder, name), { recursive: true });
  const headers = headerFolder(join(folder, "node-headers"));
  if (headers === undefined) return { ok: false, output: "error: there are no headers of Node" };
  const run = (args) => runNode(script, args, { ...options, cwd: folder });
  const configured = await run(["configure", `--nodedir=${headers}`, "--", `-Dnode=${process.execPath}`]);
  if (!configured.ok) return configured;
  const built = await run(["build", `--nodedir=${headers}`, "--jobs", cores]);
  return { ...built, addon: join(folder, "build", "Release", "langevin.node") };
}
