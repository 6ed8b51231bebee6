// `langevin doctor`, as real processes on machines that have everything or lack something, and the commands it advises.

import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type { DoctorFacts } from "../../ts/cli/doctor-facts.ts";
import { report } from "../../ts/cli/doctor-report.ts";
import { howToBuild } from "../../ts/cli/next-command.ts";
import { loadAddon, packageRoot } from "../../ts/device/native/addon.ts";
import { inFolder } from "../device/native-programs.ts";
import { cpuIsBuilt } from "../tensor/devices.ts";

const root = packageRoot();

/** Runs the command with these variables; libraries of the test's own environment do not reach it. */
function doctor(home: string, environment: NodeJS.ProcessEnv, ...args: string[]) {
  const own = Object.entries(process.env).filter(([name]) => !/^(LANGEVIN_|CUDA|CXX)/.test(name));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(home, "bin", "langevin.mjs"), "doctor", ...args],
    {
      encoding: "utf8",
      env: { ...Object.fromEntries(own), ...environment },
    },
  );
  return { status, stdout, stderr };
}

function ask(home: string, environment: NodeJS.ProcessEnv = {}): DoctorFacts {
  const { status, stdout, stderr } = doctor(home, environment, "--json");
  expect({ status, stderr }).to.deep.equal({ status: 0, stderr: "" });
  return JSON.parse(stdout) as DoctorFacts;
}

/** A clone in which nothing was compiled, with a folder of programs. */
function inBareClone(use: (home: string, bin: string) => void): void {
  inFolder((folder) => {
    const home = realpathSync(folder);
    for (const name of ["bin", "ts", "scripts", "package.json", "tsconfig.json"])
      cpSync(join(root, name), join(home, name), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(home, "node_modules"));
    mkdirSync(join(home, "programs"));
    use(home, join(home, "programs"));
  });
}

/** A program that answers as written. */
function program(bin: string, name: string, body: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(bin, name), 0o755);
}

describe("langevin doctor", () => {
  it("finds the devices of this machine", () => {
    const facts = ask(root);
    expect(facts.devices.map(({ name, works }) => [name, works])).to.deep.equal([
      ["cuda", false],
      ["cpu", cpuIsBuilt],
      ["ts", true],
    ]);
    expect(facts.defaultDevice).to.equal(cpuIsBuilt ? "cpu" : "ts");
    expect(facts.folder).to.equal(root);
    expect(facts.memory.total).to.be.greaterThan(2 ** 28);
    expect(facts.memory.available).to.be.within(1, facts.memory.total);
    expect(facts.environment).to.deep.equal({});
    expect(facts).to.not.have.property("problem");
    if (cpuIsBuilt) {
      const { path, origin, addon } = loadAddon();
      expect(facts.addon).to.deep.include({ path, origin, instructionSet: addon.isa() });
      expect(facts.addon?.instructionSets).to.include.members(["baseline", addon.isa()]);
    }
  });

  it("says the same in words", () => {
    const { status, stdout } = doctor(root, {});
    expect(status).to.equal(0);
    expect(stdout).to.match(/^langevin [\d.]+ on Node v[\d.]+, \w+-\w+\n\nDevices\n {2}cuda {2}does not work: /);
    expect(stdout)
      .to.match(/ts {4}works/)
      .and.to.match(/\d processors?\n/)
      .and.to.include("GiB of memory");
  });

  it("takes the quota of threads and other settings from the environment", function () {
    if (!cpuIsBuilt) this.skip();
    const facts = ask(root, { LANGEVIN_THREADS: "3", LANGEVIN_ISA: "baseline" });
    expect(facts.environment).to.deep.equal({ LANGEVIN_THREADS: "3", LANGEVIN_ISA: "baseline" });
    expect(facts.devices[1]).to.deep.equal({ name: "cpu", works: true, next: [], threads: 3 });
    expect(facts.addon?.instructionSet).to.equal("baseline");
  });

  it("fails where the device that was asked for does not work, and only there", () => {
    const asked = doctor(root, { LANGEVIN_DEVICE: "cuda" });
    expect(asked.status).to.equal(1);
    expect(asked.stdout).to.match(/^No device: device "cuda": .*\n$/m);
    expect(doctor(root, { LANGEVIN_DEVICE: "gpu" }).stdout).to.include(
      'No device: LANGEVIN_DEVICE: "gpu" is no device.',
    );
    expect(ask(root, { LANGEVIN_DEVICE: "ts" }).defaultDevice).to.equal("ts");
  });

  it("gives the reason where a setting makes no sense", function () {
    if (!cpuIsBuilt) this.skip();
    for (const [name, value, reason] of [
      ["LANGEVIN_THREADS", "0", 'LANGEVIN_THREADS: is "0". Expected'],
      ["LANGEVIN_ISA", "sse", "LANGEVIN_ISA is 'sse'; it may be one of: baseline"],
    ]) {
      const { status, stdout } = doctor(root, { [name]: value });
      expect(status).to.equal(1);
      expect(stdout).to.include(`cpu   does not work: `).and.to.include(reason);
    }
  });

  it("works where nothing is there: no addon, no programs, no GPU", () => {
    inBareClone((home, bin) => {
      const facts = ask(home, { PATH: bin });
      expect(facts.defaultDevice).to.equal("ts");
      expect(facts).to.deep.include({ addon: null, lastBuild: null });
      expect(facts.tools).to.not.have.any.keys("compiler", "cmake", "make", "python");
      expect(facts.cuda).to.deep.equal({ driver: null, gpus: [], problem: "no NVIDIA driver was found" });
      expect(facts.devices[1].problem).to.include("it was never compiled here");
      expect(facts.devices[1].next.at(-1)).to.equal("node bin/langevin.mjs build");
      const { status, stdout } = doctor(home, { PATH: "" });
      expect(status).to.equal(0);
      expect(stdout)
        .to.include("there is none that loads")
        .and.to.include("no GPU can be used: no NVIDIA driver was found");
      expect(stdout).to.match(/\nNext\n(.*\n)* {2}node bin\/langevin.mjs build\n$/);
    });
  });

  it("reads what the build left, and asks programs for their versions", () => {
    inBareClone((home, bin) => {
      program(bin, "c++", "echo; echo 'c++ of this test 1.2'");
      program(bin, "cmake", "exit 3");
      program(bin, "nvcc", "printf 'nvcc: NVIDIA\\nCopyright\\nCuda compilation tools, release 12.9, V12.9.1\\n'");
      mkdirSync(join(home, "build"));
      const attempts = [
        { how: "cmake", cuda: true, ok: false, seconds: 2, why: "error: none", log: "build/logs/x.log" },
      ];
      const lastBuild = { date: "2026-01-02T03:04:05.678Z", asked: "auto", attempts, addon: null };
      writeFileSync(join(home, "build", "record.json"), JSON.stringify(lastBuild));
      const facts = ask(home, { PATH: bin });
      expect(facts.lastBuild).to.deep.equal(lastBuild);
      expect(facts.tools).to.deep.equal({
        compiler: { command: "c++", version: "c++ of this test 1.2" },
        nvcc: { command: "nvcc", version: "Cuda compilation tools, release 12.9, V12.9.1" },
      });
      const text = report(facts);
      expect(text).to.include("last build on 2026-01-02 03:04:");
      expect(text).to.include(`CMake with CUDA failed: error: none (log: ${join(home, "build/logs/x.log")})`);
      expect(text).to.include("CMake         not found");
    });
  });

  it("says whether kernels were compiled for the GPU that is here", () => {
    const facts = ask(root, {});
    const gpu = (computeCapability: string, cudaArchitectures: string[]): string =>
      report({
        ...facts,
        devices: [{ name: "cuda", works: true, next: [], threads: 1 }],
        addon: {
          ...{ path: "a.node", origin: "built", cuda: true },
          instructionSets: [],
          instructionSet: "avx2",
          cudaArchitectures,
        },
        cuda: { driver: "580", gpus: [{ name: "A GPU", computeCapability, memory: 2 ** 30 }] },
      });
    for (const fits of [["8.0"], ["7.5", "8.6", "9.0"]])
      expect(gpu("8.9", fits)).to.include("cuda  works: A GPU, kernels compiled for it\n");
    for (const [capability, compiled] of [
      ["9.0", ["7.5", "8.0"]],
      ["8.0", ["8.6"]],
    ] as const)
      expect(gpu(capability, [...compiled])).to.match(
        /cuda {2}works: A GPU, for which kernels are compiled when they are first used; langevin build/,
      );
    expect(gpu("8.0", ["7.5", "8.0"])).to.include("  CUDA kernels compiled for compute capability 7.5, 8.0\n");
  });

  it("asks the NVIDIA driver's program for GPUs", () => {
    inBareClone((home, bin) => {
      program(bin, "nvidia-smi", "echo 'NVIDIA H200, 9.0, 143771, 580.65.06'; echo 'NVIDIA L4, 8.9, 23034, 580.65.06'");
      const facts = ask(home, { PATH: bin });
      expect(facts.cuda).to.deep.equal({
        driver: "580.65.06",
        gpus: [
          { name: "NVIDIA H200", computeCapability: "9.0", memory: 143771 * 2 ** 20 },
          { name: "NVIDIA L4", computeCapability: "8.9", memory: 23034 * 2 ** 20 },
        ],
      });
      expect(report(facts)).to.include("NVIDIA H200, compute capability 9.0, 140.4 GiB");
      program(bin, "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18");
      expect(ask(home, { PATH: bin }).cuda.problem).to.match(/^nvidia-smi says: Failed to initialize NVML/);
    });
  });
});

describe("the commands that get the addon compiled", () => {
  const tool = { command: "x", version: "1" };
  const all = { compiler: tool, cmake: tool, make: tool, python: tool };
  const installed = "/app/node_modules/langevin";
  const ubuntu = { platform: "linux", release: 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', root: false } as const;

  it("are the build alone where its tools are there", () => {
    expect(howToBuild(all, installed, ubuntu)).to.deep.equal(["npx langevin build"]);
    expect(howToBuild({ ...all, cmake: undefined }, installed, ubuntu)).to.deep.equal(["npx langevin build"]);
    expect(howToBuild({ ...all, python: undefined }, installed, ubuntu)).to.deep.equal(["npx langevin build"]);
    expect(howToBuild(all, "/home/me/langevin", ubuntu)).to.deep.equal(["node bin/langevin.mjs build"]);
  });

  it("install what is missing first", () => {
    const packages = (missing: object, system: Parameters<typeof howToBuild>[2]) =>
      howToBuild({ ...all, ...missing }, installed, system).slice(0, -1);
    const nothing = { compiler: undefined, cmake: undefined, make: undefined, python: undefined };
    expect(packages(nothing, ubuntu)).to.deep.equal(["sudo apt-get install g++ make cmake"]);
    expect(packages(nothing, { ...ubuntu, root: true })).to.deep.equal(["apt-get install g++ make cmake"]);
    expect(packages({ compiler: undefined }, ubuntu)).to.deep.equal(["sudo apt-get install g++ make"]);
    expect(packages({ cmake: undefined, python: undefined }, ubuntu)).to.deep.equal(["sudo apt-get install cmake"]);
    const rocky = { ...ubuntu, release: 'ID="rocky"\nID_LIKE="rhel centos fedora"\n' };
    expect(packages(nothing, rocky)).to.deep.equal(["sudo dnf install gcc-c++ make cmake"]);
    const alpine = { ...ubuntu, release: "ID=alpine\n", root: true };
    expect(packages(nothing, alpine)).to.deep.equal(["apk add g++ make cmake"]);
    const mac = { platform: "darwin", release: "", root: false } as const;
    expect(packages(nothing, mac)).to.deep.equal(["xcode-select --install", "brew install cmake"]);
    expect(packages({ cmake: undefined }, mac)).to.deep.equal([]);
    expect(packages(nothing, { ...ubuntu, release: "ID=unheard-of\n" })).to.deep.equal([]);
    expect(howToBuild(all, installed, { ...ubuntu, platform: "win32" })).to.deep.equal(["wsl --install"]);
  });
});
