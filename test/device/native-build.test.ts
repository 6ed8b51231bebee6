// The two builds of the addon and the install script, on machines that have everything and on machines that lack something.

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { expect } from "chai";

import type { BuildRecord } from "../../ts/device/native/addon.ts";
import { packageRoot, readBuildRecord } from "../../ts/device/native/addon.ts";
import { hasCompiler, inFolder } from "./native-programs.ts";

const root = packageRoot();

/** A copy of what the build needs, with one kernel: enough to see whether the builds work. */
function copyPackage(folder: string): void {
  for (const name of ["package.json", "CMakeLists.txt", "binding.gyp", "scripts", "native"])
    cpSync(join(root, name), join(folder, name), {
      recursive: true,
      filter: (path) => !/kernels\/[^/]*\.cpp$/.test(path) || path.endsWith("fill.cpp"),
    });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
}

/** A folder with links to all programs on PATH except some. */
function programsWithout(folder: string, hidden: RegExp): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const source of (process.env.PATH ?? "").split(":"))
    if (existsSync(source))
      for (const name of readdirSync(source))
        if (!hidden.test(name) && !existsSync(join(bin, name)))
          try {
            symlinkSync(join(source, name), join(bin, name));
          } catch {
            // Another link of that name dangles already.
          }
  return bin;
}

interface Installation {
  readonly output: string;
  readonly record: BuildRecord;
  /** What the addon answers in a fresh process; undefined where there is none. */
  readonly addon: { kernels: string[]; cuda: { built: boolean; problem?: string; devices: unknown[] } } | undefined;
}

interface Machine {
  readonly path?: string;
  readonly node?: string;
}

function install(folder: string, { path = process.env.PATH, node = process.execPath }: Machine = {}): Installation {
  const env: NodeJS.ProcessEnv = { ...process.env, PATH: path };
  // npm may tell install scripts where headers are; they must be found without it.
  for (const name of Object.keys(env)) if (/^(npm_config_nodedir|cxx)$/i.test(name)) delete env[name];
  const result = spawnSync(node, [join("scripts", "install.mjs")], {
    cwd: folder,
    encoding: "utf8",
    env,
  });
  expect(result.status, result.stderr).to.equal(0);
  const file = join(folder, "build", "Release", "langevin.node");
  const script = `const a = require(${JSON.stringify(file)});
    console.log(JSON.stringify({ kernels: a.kernels().map((k) => k.name), cuda: a.cuda() }));`;
  const loaded = existsSync(file) ? spawnSync(process.execPath, ["-e", script], { encoding: "utf8" }) : undefined;
  return {
    output: result.stdout,
    record: JSON.parse(readFileSync(join(folder, "build", "record.json"), "utf8")) as BuildRecord,
    addon: loaded && (JSON.parse(loaded.stdout) as Installation["addon"]),
  };
}

function inPackage(use: (folder: string) => void): void {
  inFolder((folder) => {
    copyPackage(folder);
    use(folder);
  });
}

const works = (program: string) => spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

describe("the install script", function () {
  this.timeout(600_000);

  describe("with a compiler", () => {
    before(function () {
      if (!hasCompiler()) this.skip();
    });

    it("builds with node-gyp where CMake is missing, for a Node without headers", function () {
      if (!works("python3") || !works("make")) this.skip();
      inPackage((folder) => {
        const node = join(folder, "prefix", "bin", "node");
        mkdirSync(dirname(node), { recursive: true });
        cpSync(process.execPath, node);
        const { record, addon, output } = install(folder, {
          node,
          path: programsWithout(folder, /^c(make|pack|test)/),
        });
        expect(record.built, output).to.equal("gyp");
        expect(record.attempts[0]).to.include({ how: "cmake", ok: false, why: "CMake was not found" });
        expect(existsSync(join(folder, "build", "node-headers", "include", "node", "node_api.h"))).to.be.true;
        expect(addon?.kernels).to.deep.equal(["fill"]);
        expect(addon?.cuda).to.deep.equal({ built: false, devices: [], problem: "the addon was built without CUDA" });
      });
    });

    it("builds with CMake, and without CUDA where nvcc is broken", function () {
      if (!works("cmake")) this.skip();
      inPackage((folder) => {
        const toolkit = join(folder, "toolkit");
        mkdirSync(join(toolkit, "bin"), { recursive: true });
        mkdirSync(join(toolkit, "include"));
        mkdirSync(join(toolkit, "lib64"));
        // Enough to be found, too little to compile.
        writeFileSync(
          join(toolkit, "bin", "nvcc"),
          `#!/bin/sh\n[ "$1" = --version ] && echo "release 12.0, V12.0.1" && exit 0\nexit 1\n`,
        );
        chmodSync(join(toolkit, "bin", "nvcc"), 0o755);
        writeFileSync(join(toolkit, "include", "cuda_runtime.h"), "");
        writeFileSync(join(toolkit, "include", "cuda.h"), "#define CUDA_VERSION 12000\n");
        writeFileSync(join(toolkit, "lib64", "libcudart.so"), "");
        const path = `${join(toolkit, "bin")}:${programsWithout(folder, /^nvcc/)}`;
        const { record, addon, output } = install(folder, { path });
        expect(record.built, output).to.equal("cmake");
        expect(record.attempts.map(({ how, ok }) => [how, ok])).to.deep.equal([
          ["cmake", false],
          ["cmake", true],
        ]);
        expect(addon?.kernels).to.deep.equal(["fill"]);
        expect(addon?.cuda.built).to.be.false;
      });
    });

    it("records the compiler's words when the sources do not compile", function () {
      if (!works("cmake")) this.skip();
      inPackage((folder) => {
        writeFileSync(join(folder, "native", "cpu", "kernels", "fill.cpp"), "this is no C++\n");
        const { record, addon, output } = install(folder, { path: programsWithout(folder, /^(nvcc|python3?)$/) });
        expect(record.built).to.equal(null);
        expect(addon).to.equal(undefined);
        expect(output).to.include("everything works, but slower");
        const attempt = record.attempts[0];
        expect(attempt.why).to.match(/fill\.cpp:1:1: error:/);
        expect(readFileSync(join(folder, attempt.log!), "utf8")).to.include("fill.cpp");
      });
    });
  });

  it("builds nothing without a compiler, and does not fail", () => {
    inPackage((folder) => {
      const bin = programsWithout(folder, /^(c\+\+|cc|g\+\+|gcc|clang)|-(g\+\+|gcc|c\+\+|clang)/);
      const { record, addon, output } = install(folder, { path: bin });
      expect(record.built).to.equal(null);
      expect(addon).to.equal(undefined);
      expect(record.attempts.map(({ why }) => why)).to.deep.equal([
        "no C++ compiler was found",
        "no C++ compiler was found",
      ]);
      expect(output).to.include("everything works, but slower, on plain TypeScript");
    });
  });
});

describe("the addon of this package", () => {
  /** Object files of the kernels by instruction set, from whichever build made them. */
  function kernelObjects(): Map<string, string[]> {
    const objects = new Map<string, string[]>();
    const build = join(root, "build");
    for (const path of existsSync(build) ? (readdirSync(build, { recursive: true }) as string[]) : []) {
      const isa = /kernels_(\w+)(\.dir)?\/.*\.o$/.exec(path)?.[1];
      if (isa !== undefined) objects.set(isa, [...(objects.get(isa) ?? []), join(build, path)]);
    }
    return objects;
  }

  let objects: Map<string, string[]>;
  before(function () {
    objects = kernelObjects();
    if (objects.size === 0 || !works("nm")) this.skip();
  });

  const symbols = (file: string) => {
    const result = spawnSync("nm", ["-C", file], { encoding: "utf8", maxBuffer: 1 << 28 });
    expect(result.status, result.stderr).to.equal(0);
    return result.stdout.split("\n");
  };

  it("has no weak symbols in kernel objects, of which the linker could keep the wrong instruction set's", () => {
    for (const [isa, files] of objects) {
      expect(files.length, isa).to.be.greaterThan(0);
      for (const file of files)
        expect(
          symbols(file).filter((line) => / [WVu] /.test(line)),
          file,
        ).to.deep.equal([]);
    }
  });

  it("runs no code of kernel objects while it loads", () => {
    for (const files of objects.values())
      for (const file of files)
        expect(
          symbols(file).filter((line) => /_GLOBAL__sub_I|__cxx_global_var_init/.test(line)),
          file,
        ).to.deep.equal([]);
  });

  it("was compiled without a warning", function () {
    const logs = join(root, "build", "logs");
    if (!existsSync(logs) || !readBuildRecord(root)?.built) this.skip();
    for (const name of readdirSync(logs))
      expect(readFileSync(join(logs, name), "utf8"), name).to.not.match(/warning:/i);
  });
});
