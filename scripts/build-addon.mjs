// Builds the native addon: picks the way to compile it, tries what came out, puts it in place, and leaves a record.
//
// Everything happens in a new folder, build/work-*, and is moved into place when it is complete: a build that fails, is
// stopped or runs beside another one leaves an addon that works as it was. Nothing is downloaded.

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, relative } from "node:path";
import { performance } from "node:perf_hooks";
import { compileWithCMake, compileWithGyp, root, usedToolkit } from "./compile.mjs";
import { findTools } from "./tools.cjs";

const build = join(root, "build");
const day = 24 * 3600 * 1000; // ms

export const say = (text) => console.log(`langevin: ${text}`);

/** What a build's output says of its failure: the first line that speaks of an error, and its paragraph if it opens one. */
function firstError(output) {
  const lines = output.split("\n").map((line) => line.trim());
  const at = lines.findIndex((line) => /\berror\b|not found/i.test(line) && !/^\[\d+\/\d+\]/.test(line));
  if (at < 0) return "the build failed";
  if (!lines[at].endsWith(":")) return lines[at];
  const end = lines.indexOf("", at);
  return lines.slice(at, end < 0 ? undefined : end).join(" ");
}

/** The compiled addon must also load: in a process of its own, since a crash there must not end this one. */
function loadProblem(addon) {
  if (!existsSync(addon)) return "the build left no addon";
  const script = `const a = require(${JSON.stringify(addon)}); a.kernels(); a.cuda();`;
  const result = spawnSync(process.execPath, ["-e", script], { encoding: "utf8" });
  return result.status === 0 ? undefined : `the addon does not load: ${firstError(result.stderr)}`;
}

/** Moves a folder to a place where another one, or another build's, may be. */
function replaceFolder(from, to, work) {
  for (;;)
    try {
      return renameSync(from, to);
    } catch (error) {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
      const old = mkdtempSync(join(work, "old-"));
      try {
        renameSync(to, join(old, "folder"));
      } catch (moved) {
        if (moved.code !== "ENOENT") throw moved; // another build took it away
      }
    }
}

/** One build, in a work folder of its own. */
class Build {
  attempts = [];
  /** The last addon that loads, with the way it was compiled and the folder that holds its object files. */
  product;

  constructor(work, { arch, show }) {
    this.work = work;
    this.arch = arch;
    this.show = show;
  }

  /** Tries one way and notes what came of it; returns whether there is an addon now. */
  async attempt(how, cuda, compile) {
    const name = `${how}${cuda ? "-cuda" : ""}`;
    const folder = join(this.work, name);
    const log = join(this.work, "logs", `${name}.log`);
    mkdirSync(folder);
    const start = performance.now();
    const result = await compile(folder, { log, show: this.show });
    const withCuda = cuda && usedToolkit(folder);
    const why = result.ok ? loadProblem(result.addon) : firstError(result.output);
    const seconds = Math.round((performance.now() - start) / 100) / 10;
    const ok = why === undefined;
    const logs = existsSync(log) ? { log: join("build", "logs", `${name}.log`) } : {};
    this.attempts.push({ how, cuda: withCuda, ok, seconds, ...(ok ? {} : { why }), ...logs });
    const tool = `${how === "cmake" ? "CMake" : "node-gyp"}${withCuda ? " and CUDA" : ""}`;
    if (ok) say(`compiled the native addon with ${tool} in ${seconds} s.`);
    else say(`${tool} did not compile the native addon: ${why}`);
    if (ok) this.product = { how, cuda: withCuda, addon: result.addon, folder };
    return ok;
  }

  skip(how, why) {
    this.attempts.push({ how, cuda: false, ok: false, seconds: 0, why });
    say(`${how === "cmake" ? "CMake" : "node-gyp"} was not tried: ${why}.`);
    return false;
  }

  async tryCMake(tools, cuda) {
    if (!tools.cmake) return this.skip("cmake", "CMake was not found");
    const { arch } = this;
    const compile = (setting) => (folder, options) => compileWithCMake(folder, setting, { ...options, arch });
    if (cuda === "off") return this.attempt("cmake", false, compile("OFF"));
    if (cuda === "on") return this.attempt("cmake", true, compile("ON"));
    if (await this.attempt("cmake", true, compile("AUTO"))) return true;
    return this.attempts.at(-1).cuda && this.attempt("cmake", false, compile("OFF"));
  }

  async tryGyp(tools, cuda) {
    if (cuda === "on") return this.skip("gyp", "only CMake compiles the CUDA part");
    if (!tools.python) return this.skip("gyp", "Python 3 was not found");
    if (!tools.make) return this.skip("gyp", "make was not found");
    return this.attempt("gyp", false, compileWithGyp);
  }

  async run(cuda) {
    const tools = findTools();
    const missing =
      process.platform === "win32" ? "it is not built on Windows, but in WSL2" : "no C++ compiler was found";
    if (process.platform === "win32" || !tools.compiler)
      return this.skip("cmake", missing) || this.skip("gyp", missing);
    return (await this.tryCMake(tools, cuda)) || this.tryGyp(tools, cuda);
  }

  /** Moves what was built into place. The addon first, in one step; then what explains it. */
  publish(cuda) {
    const addon = join(build, "Release", "langevin.node");
    const now = new Date().toISOString();
    if (this.product) {
      mkdirSync(join(build, "Release"), { recursive: true });
      renameSync(this.product.addon, addon);
      // A clone keeps the object files, for its tests and for debuggers.
      if (existsSync(join(root, "ts"))) replaceFolder(this.product.folder, join(build, "objects"), this.work);
    }
    const logs = join(this.work, "logs");
    mkdirSync(logs, { recursive: true });
    replaceFolder(logs, join(build, "logs"), this.work);
    const { how, cuda: withCuda } = this.product ?? {};
    const inPlace = this.product ? { how, cuda: withCuda, date: now } : existsSync(addon) ? earlierAddon() : null;
    const { version: node, platform, arch } = process;
    const record = { date: now, node, platform, arch, asked: cuda, attempts: this.attempts, addon: inPlace };
    writeFileSync(join(this.work, "record.json"), `${JSON.stringify(record, null, 2)}\n`);
    renameSync(join(this.work, "record.json"), join(build, "record.json"));
    return record;
  }
}

/** What the last record says of the addon that is in place. */
function earlierAddon() {
  try {
    return JSON.parse(readFileSync(join(build, "record.json"), "utf8")).addon ?? null;
  } catch {
    return null;
  }
}

/** Removes the work folders of builds that were killed long ago. */
function removeAbandoned() {
  for (const name of readdirSync(build)) {
    const folder = join(build, name);
    if (name.startsWith("work-") && Date.now() - statSync(folder).mtimeMs > day) rmSync(folder, { recursive: true });
  }
}

/** A new folder to work in. Throws an error with plain words where the package cannot be written. */
function workFolder() {
  try {
    mkdirSync(build, { recursive: true });
    removeAbandoned();
    return mkdtempSync(join(build, "work-"));
  } catch (error) {
    throw new Error(`the package's folder ${root} cannot be written (${error.code})`, { cause: error });
  }
}

/**
 * Builds the addon. `cuda` is "auto" (where a toolkit is found, without it where that fails), "on" (or fail) or "off";
 * `arch` says for which GPUs ("auto": those that are here, "all", or a list such as "80,90"); `show` prints what the compilers say. Returns the record that it leaves in build/record.json, and whether it built one.
 */
export async function buildAddon({ cuda = "auto", arch = "auto", show = false } = {}) {
  const work = workFolder();
  try {
    const current = new Build(work, { arch, show });
    const built = await current.run(cuda);
    return { built, record: current.publish(cuda) };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Where a log lies, as seen from the current folder. */
export const shownPath = (path) => relative(process.cwd(), join(root, path));
