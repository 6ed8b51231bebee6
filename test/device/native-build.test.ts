// The two builds of the addon and the scripts that run them, on machines that have everything and on machines that lack
// something.

import { spawn, spawnSync } from "node:child_process";
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
import { brokenToolkit, cmakePrograms, compilers, programsWithout } from "./machines.ts";
import { hasCompiler, inFolder, newFolder } from "./native-programs.ts";

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

function inPackage(use: (folder: string) => void): void {
  inFolder((folder) => {
    copyPackage(folder);
    use(folder);
  });
}

interface Machine {
  readonly path?: string;
  readonly node?: string;
  /** The user to run as; default: the test's. */
  readonly uid?: number;
}

interface Run {
  readonly status: number | null;
  readonly output: string;
}

/** npm may tell install scripts where headers are; they must be found without it. */
function environment(path = process.env.PATH): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_config_nodedir|cxx)$/i.test(name));
  return { ...Object.fromEntries(kept), PATH: path };
}

/** Runs one of the package's scripts. */
function run(
  folder: string,
  script: string,
  args: string[],
  { path, node = process.execPath, uid }: Machine = {},
): Run {
  const options = { cwd: folder, encoding: "utf8", env: environment(path), uid } as const;
  const { status, stdout, stderr } = spawnSync(node, [join("scripts", script), ...args], options);
  return { status, output: stdout + stderr };
}

interface Installation {
  readonly output: string;
  readonly record: BuildRecord;
  readonly addon: AddonAnswer | undefined;
}

/** What the addon answers in a fresh process. */
interface AddonAnswer {
  readonly kernels: string[];
  readonly cuda: { built: boolean; problem?: string; devices: unknown[] };
}

/** What the addon in place answers; undefined where there is none. */
function askAddon(folder: string): AddonAnswer | undefined {
  const file = join(folder, "build", "Release", "langevin.node");
  if (!existsSync(file)) return undefined;
  const script = `const a = require(${JSON.stringify(file)});
    console.log(JSON.stringify({ kernels: a.kernels().map((k) => k.name), cuda: a.cuda() }));`;
  return JSON.parse(spawnSync(process.execPath, ["-e", script], { encoding: "utf8" }).stdout) as AddonAnswer;
}

function install(folder: string, machine: Machine = {}): Installation {
  const { status, output } = run(folder, "install.mjs", [], machine);
  expect(status, output).to.equal(0);
  expect(readdirSync(join(folder, "build")).filter((name) => name.startsWith("work-"))).to.deep.equal([]);
  return { output, record: readBuildRecord(folder)!, addon: askAddon(folder) };
}

const works = (program: string) => spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

/**
 * Programs of a machine with CMake that compiles no CUDA, whatever toolkit is installed (CMake finds one that is not on PATH), and
 * without Python. Where only one source is broken, all kernels for GPUs would otherwise be compiled first.
 */
function programsWithCMakeAlone(folder: string): string {
  const toolkit = brokenToolkit(join(folder, "toolkit"));
  return `${toolkit}:${programsWithout(join(folder, "bin"), /^(nvcc|python3?)$/)}`;
}

/** A source that no compiler takes. */
function breakSources(folder: string): void {
  writeFileSync(join(folder, "native", "cpu", "kernels", "fill.cpp"), "this is no C++\n");
}

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
        const path = programsWithout(join(folder, "bin"), cmakePrograms);
        const { record, addon, output } = install(folder, { node, path });
        expect(record.addon, output).to.include({ how: "gyp", cuda: false });
        expect(record.attempts[0]).to.include({ how: "cmake", ok: false, why: "CMake was not found" });
        expect(addon?.kernels).to.deep.equal(["fill"]);
        const nothing = { built: false, architectures: [], devices: [] };
        expect(addon?.cuda).to.deep.equal({ ...nothing, problem: "the addon was built without CUDA" });
      });
    });

    it("builds with CMake, and without CUDA where nvcc is broken", function () {
      if (!works("cmake")) this.skip();
      inPackage((folder) => {
        const toolkit = brokenToolkit(join(folder, "toolkit"));
        const path = `${toolkit}:${programsWithout(join(folder, "bin"), /^nvcc/)}`;
        const { record, addon, output } = install(folder, { path });
        expect(record.addon, output).to.include({ how: "cmake", cuda: false });
        expect(record.attempts).to.have.length(2);
        expect(record.attempts[0]).to.include({ how: "cmake", cuda: true, ok: false });
        expect(record.attempts[0].why).to.include("nvcc does not list GPU architectures");
        expect(record.attempts[1]).to.include({ how: "cmake", cuda: false, ok: true });
        expect(output).to.include("CMake and CUDA did not compile the native addon: ");
        expect(addon?.kernels).to.deep.equal(["fill"]);
        expect(addon?.cuda.built).to.be.false;

        const wished = run(folder, "build.mjs", ["on"], { path });
        expect(wished.status, "CUDA was wanted").to.equal(1);
        expect(wished.output).to.include(`the addon of ${record.addon?.date} stays in place`);
        expect(askAddon(folder)).to.deep.equal(addon);
      });
    });

    it("records the compiler's words when the sources do not compile", function () {
      if (!works("cmake")) this.skip();
      inPackage((folder) => {
        breakSources(folder);
        const path = programsWithCMakeAlone(folder);
        const { record, addon, output } = install(folder, { path });
        expect(record.addon).to.equal(null);
        expect(addon).to.equal(undefined);
        expect(output).to.include("everything works, but slower");
        const attempt = record.attempts.find(({ cuda }) => !cuda)!;
        expect(attempt.why).to.match(/fill\.cpp:1:1: error:/);
        expect(readFileSync(join(folder, attempt.log!), "utf8")).to.include("fill.cpp");
        const built = run(folder, "build.mjs", ["off"], { path });
        expect(built.status).to.equal(1);
        expect(built.output, "the compiler's words").to.match(/fill\.cpp:1:1: error:/);
      });
    });

    describe("where there is an addon already", () => {
      let folder: string;
      let remove: () => void;
      let first: Installation;
      before(function () {
        this.timeout(600_000);
        if (!works("cmake")) this.skip();
        [folder, remove] = newFolder();
        copyPackage(folder);
        const { status, output } = run(folder, "build.mjs", ["off"]);
        expect(status, output).to.equal(0);
        expect(output).to.match(/Linking.*langevin: compiled the native addon with CMake in .* the log is/s);
        first = { output, record: readBuildRecord(folder)!, addon: askAddon(folder) };
        expect(first.record.asked).to.equal("off");
        expect(first.addon).to.deep.include({ kernels: ["fill"] });
      });
      after(() => remove?.());

      it("two builds at once do each other no harm", async () => {
        const builds = [1, 2].map(
          () =>
            new Promise<number | null>((resolve) =>
              spawn(process.execPath, [join("scripts", "build.mjs"), "off"], {
                cwd: folder,
                stdio: "ignore",
                env: environment(),
              }).once("close", resolve),
            ),
        );
        expect(await Promise.all(builds)).to.deep.equal([0, 0]);
        expect(askAddon(folder)).to.deep.equal(first.addon);
        expect(readdirSync(join(folder, "build")).sort()).to.deep.equal(["Release", "logs", "record.json"]);
      });

      it("a build that is stopped leaves everything as it was, and no compiler behind", async () => {
        const before = readBuildRecord(folder);
        const child = spawn(process.execPath, [join("scripts", "build.mjs"), "off"], {
          cwd: folder,
          stdio: ["ignore", "pipe", "ignore"],
          env: environment(),
        });
        child.stdout.once("data", () => child.kill("SIGTERM"));
        const signal = await new Promise((resolve) => child.once("close", (_, ending) => resolve(ending)));
        expect(signal).to.equal("SIGTERM");
        expect(spawnSync("pgrep", ["-f", folder]).status, "processes that name the folder").to.not.equal(0);
        expect(readdirSync(join(folder, "build")).sort()).to.deep.equal(["Release", "logs", "record.json"]);
        expect(readBuildRecord(folder)).to.deep.equal(before);
        expect(askAddon(folder)).to.deep.equal(first.addon);
      });

      it("says in plain words that the package's folder cannot be written", function () {
        // Permissions do not bind root.
        const uid = process.getuid?.() === 0 ? 65534 : undefined;
        if (spawnSync(process.execPath, ["--version"], { uid }).status !== 0) this.skip();
        for (const name of [folder, join(folder, "build")]) chmodSync(name, 0o555);
        try {
          const machine = { uid };
          const installed = run(folder, "install.mjs", [], machine);
          const words =
            /^langevin: the native addon was not compiled: the package's folder .* cannot be written \(EACCES\)\.\n$/;
          expect(installed.output).to.match(words);
          expect(installed.status).to.equal(0);
          const built = run(folder, "build.mjs", [], machine);
          expect(built.output).to.match(words);
          expect(built.status).to.equal(1);
        } finally {
          for (const name of [folder, join(folder, "build")]) chmodSync(name, 0o755);
        }
        expect(askAddon(folder)).to.deep.equal(first.addon);
      });

      it("a build that fails leaves the addon, and says so", () => {
        const before = readBuildRecord(folder);
        breakSources(folder);
        const machine = { path: programsWithCMakeAlone(folder) };
        const { status, output } = run(folder, "build.mjs", ["off"], machine);
        expect(status).to.equal(1);
        expect(output).to.include(`the addon of ${before?.addon?.date} stays in place`);
        expect(askAddon(folder)).to.deep.equal(first.addon);
        const { addon, attempts } = readBuildRecord(folder)!;
        expect(addon).to.deep.equal(before?.addon);
        expect(attempts[0].why).to.match(/fill\.cpp:1:1: error:/);
        expect(run(folder, "install.mjs", [], machine).status).to.equal(0);
        expect(askAddon(folder)).to.deep.equal(first.addon);
      });
    });
  });

  it("builds nothing without a compiler, and does not fail", () => {
    inPackage((folder) => {
      const path = programsWithout(join(folder, "bin"), compilers);
      const { record, addon, output } = install(folder, { path });
      expect(record.addon).to.equal(null);
      expect(addon).to.equal(undefined);
      expect(record.attempts.map(({ why }) => why)).to.deep.equal([
        "no C++ compiler was found",
        "no C++ compiler was found",
      ]);
      expect(output).to.include("everything works, but slower");
      expect(run(folder, "build.mjs", [], { path }).status).to.equal(1);
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
    if (!existsSync(logs) || !readBuildRecord(root)?.addon) this.skip();
    for (const name of readdirSync(logs))
      expect(readFileSync(join(logs, name), "utf8"), name).to.not.match(/warning:/i);
  });
});
