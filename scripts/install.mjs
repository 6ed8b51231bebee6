// Compiles the native addon: with CMake (and CUDA where a toolkit is found), else with node-gyp, else not at all.
// It never fails the installation and downloads nothing; build/record.json says afterwards what happened.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, relative } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const build = join(root, "build");
const addon = join(build, "Release", "langevin.node");
const logs = join(build, "logs");
const require = createRequire(join(root, "package.json"));
const cores = availableParallelism();

const say = (text) => console.log(`langevin: ${text}`);

/** Whether a program answers to `--version`. */
function works(program) {
  return spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;
}

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

/** Runs node on a script; everything it prints goes to the log file. */
function runNode(log, script, args) {
  const result = spawnSync(process.execPath, [script, ...args], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: buildEnvironment(),
  });
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error ? `${result.error.message}\n` : ""}`;
  mkdirSync(logs, { recursive: true });
  writeFileSync(log, output);
  return { ok: result.status === 0, output };
}

/** What a build's output says of its failure: the first line that speaks of an error, and the next where it needs it. */
function firstError(output) {
  const lines = output.split("\n").map((line) => line.trim());
  const at = lines.findIndex((line) => /\berror\b|not found/i.test(line) && !/^\[\d+\/\d+\]/.test(line));
  if (at < 0) return "the build failed";
  return lines[at].endsWith(":") ? `${lines[at]} ${lines[at + 1] ?? ""}` : lines[at];
}

/** The compiled addon must also load: in a process of its own, since a crash there must not end this one. */
function loadProblem() {
  if (!existsSync(addon)) return "the build left no addon";
  const script = `const a = require(${JSON.stringify(addon)}); a.kernels(); a.cuda();`;
  const result = spawnSync(process.execPath, ["-e", script], { encoding: "utf8" });
  return result.status === 0 ? undefined : `the addon does not load: ${firstError(result.stderr)}`;
}

function removeProducts() {
  if (!existsSync(build)) return;
  for (const name of readdirSync(build))
    if (name !== "logs") rmSync(join(build, name), { recursive: true, force: true });
}

function buildWithCMake(log, cuda) {
  const script = resolve("cmake-js/bin/cmake-js");
  if (script === undefined) return { ok: false, output: "error: cmake-js is not installed" };
  return runNode(log, script, [
    ...["build", "--out", "build", "--parallel", String(cores), "--log-level", "error"],
    `--CDLANGEVIN_NODE=${process.execPath}`,
    `--CDLANGEVIN_CUDA=${cuda ? "AUTO" : "OFF"}`,
  ]);
}

/** Defaults for all targets that node-gyp expects among Node's headers. */
const commonGypi = `{
  "target_defaults": {
    "default_configuration": "Release",
    "configurations": { "Debug": {}, "Release": { "defines": ["NDEBUG"] } }
  }
}
`;

/** Headers for node-gyp: Node's own where they were installed with it, else those of node-api-headers. */
function headerFolder() {
  const prefix = dirname(dirname(process.execPath));
  if (existsSync(join(prefix, "include", "node", "common.gypi"))) return prefix;
  const headers = resolve("node-api-headers");
  if (headers === undefined) return undefined;
  const folder = join(build, "node-headers");
  cpSync(join(dirname(headers), "include"), join(folder, "include", "node"), { recursive: true });
  writeFileSync(join(folder, "include", "node", "common.gypi"), commonGypi);
  return folder;
}

function buildWithGyp(log) {
  const script = resolve("node-gyp/bin/node-gyp.js");
  if (script === undefined) return { ok: false, output: "error: node-gyp is not installed" };
  // `configure` and `build`: `rebuild` would delete the folder and the headers in it.
  const folder = headerFolder();
  if (folder === undefined) return { ok: false, output: "error: there are no headers of Node" };
  const options = [`--nodedir=${folder}`, "--jobs", String(cores)];
  const configured = runNode(log, script, ["configure", ...options, "--", `-Dnode=${process.execPath}`]);
  if (!configured.ok) return configured;
  return runNode(log, script, ["build", ...options]);
}

/** Whether the last CMake build found a CUDA toolkit. */
function usedToolkit() {
  const cache = join(build, "CMakeCache.txt");
  return existsSync(cache) && /^CUDAToolkit_NVCC_EXECUTABLE:.*=\//m.test(readFileSync(cache, "utf8"));
}

const attempts = [];

/** Tries one way and notes what came of it; returns whether there is an addon now. */
function attempt(how, cuda, compile) {
  const log = join(logs, `${how}${cuda ? "-cuda" : ""}.log`);
  const start = performance.now();
  removeProducts();
  const result = compile(log);
  const withCuda = cuda && usedToolkit();
  const why = result.ok ? loadProblem() : firstError(result.output);
  const seconds = Math.round((performance.now() - start) / 100) / 10;
  const note = { how, cuda: withCuda, ok: why === undefined, seconds };
  attempts.push(why === undefined ? note : { ...note, why, log: existsSync(log) ? relative(root, log) : undefined });
  const name = `${how === "cmake" ? "CMake" : "node-gyp"}${withCuda ? " and CUDA" : ""}`;
  if (why === undefined) say(`compiled the native addon with ${name} in ${seconds} s.`);
  else say(`${name} did not compile the native addon: ${why}`);
  return why === undefined;
}

function skip(how, why) {
  attempts.push({ how, cuda: false, ok: false, seconds: 0, why });
  return false;
}

function tryCMake() {
  if (process.argv.includes("--without-cmake")) return skip("cmake", "not wanted");
  if (!works("cmake")) return skip("cmake", "CMake was not found");
  if (process.argv.includes("--without-cuda")) return attempt("cmake", false, (log) => buildWithCMake(log, false));
  if (attempt("cmake", true, (log) => buildWithCMake(log, true))) return true;
  return usedToolkit() && attempt("cmake", false, (log) => buildWithCMake(log, false));
}

function tryGyp() {
  if (!works("python3") && !works("python")) return skip("gyp", "Python 3 was not found");
  if (!works("make")) return skip("gyp", "make was not found");
  return attempt("gyp", false, buildWithGyp);
}

function compile() {
  const compilers = [process.env.CXX, "c++", "g++", "clang++"].filter(Boolean);
  if (!compilers.some(works)) {
    removeProducts();
    skip("cmake", "no C++ compiler was found");
    return skip("gyp", "no C++ compiler was found");
  }
  return tryCMake() || tryGyp();
}

function main() {
  rmSync(logs, { recursive: true, force: true });
  const ok = compile();
  const last = attempts.at(-1);
  const record = {
    date: new Date().toISOString(),
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    attempts,
    built: ok ? `${last.how}${last.cuda ? "+cuda" : ""}` : null,
  };
  mkdirSync(build, { recursive: true });
  writeFileSync(join(build, "record.json"), `${JSON.stringify(record, null, 2)}\n`);
  if (ok) return;
  for (const { how, why, seconds } of attempts) if (seconds === 0) say(`${how} was not tried: ${why}.`);
  say("no native addon: everything works, but slower, on plain TypeScript. Later: npx langevin build");
}

try {
  main();
} catch (error) {
  // An installation must not fail because of what only makes it faster.
  say(`the native addon was not compiled: ${error instanceof Error ? error.message : String(error)}`);
}
