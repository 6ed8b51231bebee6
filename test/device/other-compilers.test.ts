// The native sources with other compilers than this machine's own: a cross compiler for arm64, whose programs then run
// under an emulator, and Clang. Warnings are errors.

import { execFile, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect } from "chai";

import { packageRoot } from "../../ts/device/native/addon.ts";
import type { InstructionSet } from "./instruction-sets.ts";
import { instructionSets } from "./instruction-sets.ts";
import { flags, newFolder } from "./native-programs.ts";

const root = packageRoot();
const require = createRequire(import.meta.url);

/** The lists that the builds use. */
const { addon, kernels } = require(join(root, "native", "sources.cjs")) as Record<"addon" | "kernels", string[]>;

/** What the file of the Node-API surface includes. */
const headers = ["node-addon-api", "node-api-headers"].flatMap((name) => [
  "-isystem",
  (require(name) as { include_dir: string }).include_dir.replace(/^"|"$/g, ""),
]);

const works = (program: string) => spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

/** Runs a program in the package's folder; throws with its words where it fails. */
async function run(program: string, args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(program, args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 })).stdout;
}

/** Compiles each source by itself, as many at a time as there are processors; returns the object files. */
async function compileEach(compiler: string, sources: readonly string[], options: readonly string[], folder: string) {
  const objects = sources.map((source) => join(folder, `${source.replaceAll("/", "_")}.o`));
  const left = [...sources.entries()];
  const work = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop())
      await run(compiler, [...flags, ...headers, ...options, "-c", next[1], "-o", objects[next[0]]]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return objects;
}

const napi = ["-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS"];

describe("other compilers", function () {
  this.timeout(900_000);

  describe("for arm64", () => {
    const [compiler, archiver, emulator] = ["aarch64-linux-gnu-g++", "aarch64-linux-gnu-ar", "qemu-aarch64"];
    let removeFolder: () => void;
    let folder: string;
    let kernelObjects: string[];
    let core: string;

    before(async function () {
      this.timeout(900_000);
      if (!works(compiler)) {
        console.log(`      (no ${compiler}: install g++-aarch64-linux-gnu)`);
        this.skip();
      }
      [folder, removeFolder] = newFolder();
    });
    after(() => removeFolder?.());

    it("takes all sources of the addon, with no flag or intrinsic of x86", async () => {
      kernelObjects = await compileEach(compiler, kernels, ["-O2", "-DLANGEVIN_ISA=baseline"], folder);
      const objects = await compileEach(compiler, addon, ["-O2", ...napi], folder);
      core = join(folder, "core.a");
      await run(archiver, ["rcs", core, ...objects.filter((object) => !object.endsWith("native_addon.cpp.o"))]);
    });

    /** Links a check with the kernels and what it needs of the core, and runs it under the emulator. */
    async function emulate(program: string, objects: readonly string[], ...args: string[]): Promise<string> {
      const executable = join(folder, program);
      const source = `native/test/${program}.cpp`;
      await run(compiler, [...flags, "-O2", "-static", "-pthread", source, ...objects, "-o", executable]);
      return run(emulator, [executable, ...args]);
    }

    describe("under emulation", () => {
      before(function () {
        if (works(emulator)) return;
        console.log(`      (no ${emulator}: install qemu-user)`);
        this.skip();
      });

      it("has the same noise for every input", async () => {
        expect(await emulate("noise_bits", [])).to.equal("114c3b6621c7072b 0\n");
      });

      it("passes the checks of products, pooling and embedding", async () => {
        const output = await emulate("kernels_check", [...kernelObjects, core], "3");
        expect(output).to.match(/^baseline: \d{3,} checks, 0 failed$/m);
      });

      it("passes the checks of element-wise kernels", async () => {
        expect(await emulate("elementwise_check", [...kernelObjects, core])).to.match(/^checksum \w+$/m);
      });
    });
  });

  describe("Clang", () => {
    before(function () {
      if (works("clang++")) return;
      console.log("      (no clang++: install clang)");
      this.skip();
    });

    // What its optimiser warns of (loops that it cannot vectorise) shows in one instruction set as in the others.
    const optimised = "avx2";
    const here = process.arch === "x64" ? instructionSets : instructionSets.slice(0, 1);
    for (const set of here)
      it(`takes the kernels of ${set.isa}`, () => compileKernels(set, set.isa === optimised || here.length === 1));

    async function compileKernels({ isa, flags: own }: InstructionSet, optimise: boolean): Promise<void> {
      const options = [optimise ? "-O2" : "-fsyntax-only", `-DLANGEVIN_ISA=${isa}`, ...own];
      const [folder, remove] = newFolder();
      await compileEach("clang++", kernels, options, folder).finally(remove);
    }

    it("takes the rest of the addon", async () => {
      const [folder, remove] = newFolder();
      await compileEach("clang++", addon, ["-fsyntax-only", ...napi], folder).finally(remove);
    });
  });
});
