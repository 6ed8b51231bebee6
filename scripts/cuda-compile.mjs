// Compiles CUDA kernels for single targets to learn what the compiler says of them: registers, spills, shared memory,
// warnings, and which instructions they have. Results are kept by the content of what was compiled.

import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { root } from "./compile.mjs";
import { findTools } from "./tools.cjs";

/** The targets of CMakeLists.txt: Turing, Ampere, Hopper. */
export const targets = [75, 80, 90];

const kernelFolder = join(root, "native", "cuda", "kernels");
const cacheFolder = join(root, "build", "cuda-resources");
/** As in CMakeLists.txt. */
const flags = ["-std=c++17", "-O3", "--fmad=false", "-DLANGEVIN_CUDA=1"];
/** Grows when what is read out of the compiler's words changes. */
const format = 2;

/** Files with kernels, relative to the package. */
export const kernelSources = () =>
  readdirSync(kernelFolder)
    .filter((name) => name.endsWith(".cu"))
    .sort()
    .map((name) => relative(root, join(kernelFolder, name)));

/** nvcc and its release as in "13.0"; undefined where there is none. */
export function findNvcc() {
  const { nvcc } = findTools();
  const release = nvcc && /release (\d+\.\d+)/.exec(nvcc.version)?.[1];
  return release ? { command: nvcc.command, release } : undefined;
}

/** A source and all that it includes in quotes, by their paths. */
function withIncludes(source, found = new Map()) {
  if (found.has(source) || !existsSync(source)) return found;
  const text = readFileSync(source, "utf8");
  found.set(source, text);
  for (const [, name] of text.matchAll(/^\s*#include "([^"]+)"/gm)) withIncludes(resolve(dirname(source), name), found);
  return found;
}

function keyOf(nvcc, source, target) {
  const hash = createHash("sha256").update(JSON.stringify([format, nvcc.release, flags, target]));
  for (const [path, text] of withIncludes(join(root, source))) hash.update(relative(root, path)).update(text);
  return hash.digest("hex").slice(0, 32);
}

/** Instructions that are counted in PTX. */
const instructions = {
  mma: /\bmma\.sync\b/g,
  ldmatrix: /\bldmatrix\.sync\b/g,
  copyAsync: /\bcp\.async\.c[ag]\.shared\b/g,
  loads16: /\bld\.(global|shared)(\.\w+)*\.(v4\.[fbu]32|v2\.[fbu]64)\b/g,
  stores16: /\bst\.(global|shared)(\.\w+)*\.(v4\.[fbu]32|v2\.[fbu]64)\b/g,
};

/** The kernels of a PTX file: threads of a block at most, and how often each instruction occurs. */
function readPtx(text) {
  const kernels = new Map();
  for (const part of text.split(/^(?:\.(?:visible|weak) )?\.entry /m).slice(1)) {
    const body = part.slice(0, part.search(/^}/m));
    const counts = Object.entries(instructions).map(([name, pattern]) => [name, body.match(pattern)?.length ?? 0]);
    const threads = Number(/\.maxntid (\d+)/.exec(body)?.[1] ?? 0);
    kernels.set(/^\w+/.exec(part)[0], { threads, ...Object.fromEntries(counts) });
  }
  return kernels;
}

/** What `ptxas -v` says of each kernel. */
function readPtxas(text) {
  const kernels = new Map();
  for (const part of text.split("Compiling entry function '").slice(1)) {
    const number = (pattern) => Number(pattern.exec(part)?.[1] ?? 0);
    kernels.set(part.slice(0, part.indexOf("'")), {
      registers: number(/Used (\d+) registers/),
      barriers: number(/used (\d+) barriers/),
      shared: number(/(\d+) bytes smem/),
      stack: number(/(\d+) bytes stack frame/),
      spills: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
    });
  }
  return kernels;
}

/** Names as they are written in C++, without the namespaces that all have in common. */
function demangled(names) {
  if (names.length === 0) return [];
  const lines = execFileSync("c++filt", { input: names.join("\n"), encoding: "utf8" })
    .trimEnd()
    .split("\n");
  return lines.map((line) =>
    line
      .replace(/\(anonymous namespace\)::|langevin::cuda::|langevin::|\bgemm::/g, "")
      .replace(/^void /, "")
      .replace(/\(([^()]|\([^()]*\))*\)$/, ""),
  );
}

/** Compiles one source for one target in a folder of its own. */
async function compile(nvcc, source, target, folder) {
  const run = promisify(execFile);
  const ptx = join(folder, "kernels.ptx");
  const options = { cwd: root, maxBuffer: 1 << 28 };
  const toPtx = await run(nvcc.command, [...flags, "-ptx", `-arch=compute_${target}`, source, "-o", ptx], options);
  const ptxas = join(dirname(execFileSync("which", [nvcc.command], { encoding: "utf8" }).trim()), "ptxas");
  const assembled = await run(
    ptxas,
    ["-v", "-O3", `-arch=sm_${target}`, ptx, "-o", join(folder, "kernels.cubin")],
    options,
  );
  const said = assembled.stdout + assembled.stderr;
  const warnings = `${toPtx.stdout}${toPtx.stderr}${said}`.split("\n").filter((line) => /warning/i.test(line));
  const [inPtx, resources] = [readPtx(readFileSync(ptx, "utf8")), readPtxas(said)];
  const mangled = [...resources.keys()];
  const names = demangled(mangled);
  return {
    warnings,
    kernels: mangled.map((name, i) => ({ name: names[i], ...resources.get(name), ...inPtx.get(name) })),
  };
}

async function compileOrRecall(nvcc, source, target) {
  const file = join(cacheFolder, `${keyOf(nvcc, source, target)}.json`);
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8"));
  const folder = mkdtempSync(join(cacheFolder, "work-"));
  try {
    const result = await compile(nvcc, source, target, folder);
    writeFileSync(join(folder, "result.json"), JSON.stringify(result));
    renameSync(join(folder, "result.json"), file);
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * What is known of every kernel for every target: `{ source, target, warnings, kernels }` for each pair, as many at a time as
 * there are processors. Throws the compiler's words where something does not compile.
 */
export async function compileKernels(nvcc, sources = kernelSources()) {
  mkdirSync(cacheFolder, { recursive: true });
  const pairs = sources.flatMap((source) => targets.map((target) => ({ source, target })));
  const left = [...pairs.keys()];
  const results = new Array(pairs.length);
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift())
      results[next] = { ...pairs[next], ...(await compileOrRecall(nvcc, pairs[next].source, pairs[next].target)) };
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return results;
}
