// Makes the folder that checks a GPU on a machine without network, compiler and Node: a launcher, Node itself, and an archive of
// the addon for Ampere and Hopper, the compiled JavaScript, the programs of native/test/gpu and golden data. Node is compressed with xz,
// which most machines have, or Python in its place; the archive with Brotli, which Node has and which spans its copies of kernels.

import { spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createBrotliCompress } from "node:zlib";
import { compileWithCMake, root } from "./compile.mjs";
import { findTools } from "./tools.cjs";

/** The folder must not be larger: it travels over slow lines. */
const limit = 60e6; // bytes

/** Where the CUDA addon for packing is built; object files stay for the next time. */
const buildFolder = join(root, "build-gpu-check");

/** What the programs of native/test/gpu are linked with. */
const linked = { ceilings: [], kernels: createRequire(import.meta.url)("../native/sources.cjs").checked };

/** The packages that the packed JavaScript imports. */
const packages = ["commander", "chai", "fast-png", "zod"];

/**
 * Unpacks for this one run, where temporary files go, since the folder may lie where everything is carried along, and starts Node
 * on the check. Without golden data of its own it takes those of the repository that it lies in.
 */
const launcher = `#!/bin/sh
# Checks this machine's NVIDIA GPU with langevin; ./gpu-check --help tells the options. Needs tar, and xz or python3; nothing else.
set -e
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if command -v xz > /dev/null; then
  xz -dc < "$here/node.xz" > "$unpacked/node"
else
  python3 -c 'import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)' < "$here/node.xz" > "$unpacked/node"
fi
chmod +x "$unpacked/node"
"$unpacked/node" -e 'const zlib = require("zlib")
  const params = { [zlib.constants.BROTLI_DECODER_PARAM_LARGE_WINDOW]: 1 }
  process.stdin.pipe(zlib.createBrotliDecompress({ params })).pipe(process.stdout)' \
  < "$here/archive.tar.br" | tar -xf - -C "$unpacked"
repository=$here
while [ ! -d "$unpacked/test/golden" ] && [ "$repository" != / ]; do
  repository=$(dirname -- "$repository")
  [ ! -d "$repository/test/golden" ] || { mkdir "$unpacked/test" && ln -s "$repository/test/golden" "$unpacked/test/golden"; }
done
status=0
"$unpacked/node" "$unpacked/dist/test/gpu-check/main.js" "$@" || status=$?
exit $status
`;

/** Runs a program; throws an error with its words where it fails. */
function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: "utf8", ...options });
  if (status !== 0)
    throw new Error(`${command} ${args[0]} failed: ${(stderr || stdout || error?.message || "").trim().slice(-2000)}`);
}

/** Copies what ES modules import of a package and, of those that it depends on, all that are installed. */
function copyPackage(name, modules, from = root) {
  const source = [from, root].map((folder) => join(folder, "node_modules", name)).find((path) => existsSync(path));
  if (source === undefined) throw new Error(`the package ${name} is not installed`);
  const target = join(modules, name);
  if (existsSync(target)) return;
  const isWanted = (path) => !/\.([mc]?ts|cjs|map|md)$/.test(path);
  cpSync(source, target, { recursive: true, dereference: true, filter: isWanted });
  const { dependencies = {} } = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
  for (const dependency of Object.keys(dependencies)) copyPackage(dependency, modules, source);
}

/** The GPU's machine may have an older C++ runtime. */
const ownRuntime = ["-static-libstdc++", "-static-libgcc"];

/** The addon with the CPU's kernels and CUDA's for Ampere and Hopper, from which newer GPUs compile theirs: Turing's are too much. */
async function buildAddon() {
  mkdirSync(buildFolder, { recursive: true });
  const log = join(buildFolder, "cmake.log");
  rmSync(log, { force: true });
  rmSync(join(buildFolder, "CMakeCache.txt"), { force: true }); // or options of an earlier time would stay
  const { ok, addon } = await compileWithCMake(buildFolder, "ON", { arch: "80,90", link: ownRuntime, log });
  if (!ok) throw new Error(`CMake did not compile the addon with CUDA (${log})`);
  return addon;
}

/** Builds the programs of native/test/gpu for the GPUs of the addon; they take the addon's object files. */
function buildPrograms(nvcc, folder) {
  const sources = join(root, "native", "test", "gpu");
  const cache = readFileSync(join(buildFolder, "CMakeCache.txt"), "utf8");
  const architectures = /^CMAKE_CUDA_ARCHITECTURES:\w+=(.*)$/m.exec(cache)[1].split(";");
  const targets = architectures.map((given) => {
    const number = given.replace("-real", "");
    return `-gencode=arch=compute_${number},code=${given.endsWith("-real") ? "sm_" : "[sm_"}${number}${given.endsWith("-real") ? "" : `,compute_${number}]`}`;
  });
  const objects = join(buildFolder, "CMakeFiles", "langevin.dir");
  mkdirSync(folder);
  const flags = [
    "-std=c++17",
    "-O3",
    "--fmad=false",
    "-DLANGEVIN_CUDA=1",
    "-cudart=static",
    ...targets,
    `-Xcompiler=${ownRuntime.join(",")}`,
  ];
  for (const [name, files] of Object.entries(linked)) {
    const others = files.map((file) => join(objects, `${file}.o`));
    run(nvcc, [...flags, join(sources, `${name}.cu`), ...others, "-o", join(folder, name)]);
  }
}

/** Everything that goes into the archive. */
async function fill(folder, { golden }) {
  const { nvcc } = findTools();
  if (nvcc === undefined) throw new Error("no CUDA toolkit with nvcc was found");
  const addons = join(folder, "prebuilds", `${process.platform}-${process.arch}`);
  mkdirSync(addons, { recursive: true });
  copyFileSync(await buildAddon(), join(addons, "langevin.node"));
  run("strip", ["--strip-unneeded", join(addons, "langevin.node")]);
  buildPrograms(nvcc.command, join(folder, "programs"));
  run(process.execPath, [
    join(root, "node_modules", "typescript", "bin", "tsc"),
    "-p",
    "tsconfig.gpu-check.json",
    "--outDir",
    join(folder, "dist"),
  ]);
  for (const name of packages) copyPackage(name, join(folder, "node_modules"));
  if (golden) cpSync(join(root, "test", "golden"), join(folder, "test", "golden"), { recursive: true });
  cpSync(join(root, "data"), join(folder, "data"), { recursive: true });
  const { name, version, type, exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version, type, exports }));
}

/** Node without symbols for debuggers. */
function compressNode(work, target) {
  const node = join(work, "node");
  copyFileSync(process.execPath, node);
  run("strip", ["--strip-unneeded", node]);
  run("xz", ["-9", node]);
  copyFileSync(`${node}.xz`, target);
  return statSync(target).size;
}

/** Everything in a folder. Its window of 64 MB spans the kernels, which are in the addon and in a program, for several GPUs. */
async function compressFolder(folder, target) {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 9,
    [constants.BROTLI_PARAM_LGWIN]: 26,
    [constants.BROTLI_PARAM_LARGE_WINDOW]: 1,
  };
  const tar = spawn("tar", ["-cf", "-", "-C", folder, "."], { stdio: ["ignore", "pipe", "inherit"] });
  await pipeline(tar.stdout, createBrotliCompress({ params }), createWriteStream(target));
  return statSync(target).size;
}

/** Makes `folder`, which must not be there or be empty, with golden data or without. Returns how large it is. */
export async function packGpuCheck(folder, { golden }) {
  if (existsSync(folder) && readdirSync(folder).length > 0) throw new Error(`${folder} is there and not empty`);
  mkdirSync(join(root, "build"), { recursive: true });
  const work = mkdtempSync(join(root, "build", "work-"));
  try {
    const content = join(work, "content");
    mkdirSync(content);
    await fill(content, { golden });
    mkdirSync(folder, { recursive: true });
    const node = compressNode(work, join(folder, "node.xz"));
    const archive = await compressFolder(content, join(folder, "archive.tar.br"));
    writeFileSync(join(folder, "gpu-check"), launcher, { mode: 0o755 });
    const bytes = node + archive + launcher.length;
    const parts = `Node ${(node / 1e6).toFixed(1)} MB, all else ${(archive / 1e6).toFixed(1)} MB`;
    if (bytes > limit)
      throw new Error(`it has ${(bytes / 1e6).toFixed(1)} MB (${parts}), expected at most ${limit / 1e6} MB`);
    return { folder, bytes };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
