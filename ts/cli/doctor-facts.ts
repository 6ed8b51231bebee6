// What `langevin doctor` knows of this machine: which devices work, the addon, its tools, GPUs, processors, memory.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";
import { defaultDevice, openDevice } from "../device/devices.ts";
import type { DeviceName } from "../device/executor.ts";
import { deviceNames } from "../device/executor.ts";
import type { BuildRecord, LoadedAddon } from "../device/native/addon.ts";
import { loadAddon, packageRoot, readBuildRecord } from "../device/native/addon.ts";
import { DeviceError } from "../errors/index.ts";
import { ones } from "../tensor/creation.ts";
import { scope } from "../tensor/scope.ts";
import type { BuildTools } from "./build-tools.ts";
import { findTools } from "./build-tools.ts";
import { howToBuild } from "./next-command.ts";

/** Whether a device computes here. */
export interface DeviceFacts {
  readonly name: DeviceName;
  readonly works: boolean;
  /** Why it does not work. */
  readonly problem?: string;
  /** The commands that mend it, in their order; none where nothing is known to. */
  readonly next: readonly string[];
  /** Threads that its kernels use, where it works. */
  readonly threads?: number;
}

/** The native addon that was loaded. */
export interface AddonFacts {
  readonly path: string;
  /** Built on this machine, or shipped in the package. */
  readonly origin: "built" | "prebuilt";
  /** By what it was built on this machine. */
  readonly how?: "cmake" | "gyp";
  /** When it was built on this machine, as an ISO date. */
  readonly date?: string;
  /** Whether it was compiled with CUDA. */
  readonly cuda: boolean;
  /** The compute capabilities that its CUDA kernels were compiled for. */
  readonly cudaArchitectures: readonly string[];
  /** The instruction sets that its kernels were compiled for. */
  readonly instructionSets: readonly string[];
  /** The one in use; null where LANGEVIN_ISA asks for one that is not there. */
  readonly instructionSet: string | null;
}

/** A GPU; memory in bytes. */
export interface GpuFacts {
  readonly name: string;
  readonly computeCapability: string;
  readonly memory: number;
}

/** What `langevin doctor --json` prints. */
export interface DoctorFacts {
  /** Version of this package. */
  readonly version: string;
  /** The package's folder, against which the logs of builds are given. */
  readonly folder: string;
  /** Version of Node, `v20.19.0`. */
  readonly node: string;
  /** System and architecture, `linux-x64`. */
  readonly platform: string;
  /** All devices, the fastest first. */
  readonly devices: readonly DeviceFacts[];
  /** The device of tensors that name none; null where the one that was asked for does not work. */
  readonly defaultDevice: DeviceName | null;
  /** Why there is no default device. */
  readonly problem?: string;
  /** Null where none loads. */
  readonly addon: AddonFacts | null;
  /** The last build on this machine; null where there was none. */
  readonly lastBuild: BuildRecord | null;
  /** What a build of the addon would use; nvcc is the CUDA toolkit. */
  readonly tools: BuildTools;
  readonly cuda: {
    /** Version of the NVIDIA driver; null where none is found. */
    readonly driver: string | null;
    readonly gpus: readonly GpuFacts[];
    /** Why no GPU can be used, in plain words. */
    readonly problem?: string;
  };
  readonly processor: {
    readonly model: string;
    /** Processors that this process may run on. */
    readonly count: number;
  };
  /** In bytes. */
  readonly memory: {
    readonly total: number;
    readonly available: number;
    /** What the system (a container's control group) allows this process, where that is less than there is. */
    readonly limit: number | null;
  };
  /** Environment variables that this library heeds, as far as they are set. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Gathers everything; what is missing is a fact, not an error. */
export function gatherFacts(): DoctorFacts {
  const root = packageRoot();
  const lastBuild = readBuildRecord(root) ?? null;
  const tools = findTools(root);
  const loaded = attempt(loadAddon);
  const choice = attempt(defaultDevice);
  return {
    version: (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version,
    folder: root,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    devices: deviceNames.map((name) => tryDevice(name, name === "cpu" ? howToBuild(tools, root) : [])),
    defaultDevice: choice.value ?? null,
    problem: choice.problem,
    addon: loaded.value ? describeAddon(loaded.value, lastBuild) : null,
    lastBuild,
    tools,
    cuda: findGpus(loaded.value),
    processor: { model: cpus()[0]?.model.trim() ?? "unknown", count: availableParallelism() },
    memory: findMemory(),
    environment: Object.fromEntries(
      Object.entries(process.env).filter((entry): entry is [string, string] => /^LANGEVIN_/.test(entry[0])),
    ),
  };
}

interface Attempt<T> {
  readonly value?: T;
  readonly problem?: string;
}

function attempt<T>(action: () => T): Attempt<T> {
  try {
    return { value: action() };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Opens a device and has it compute a small sum. A missing executor has `mending` commands; other errors say it all. */
function tryDevice(name: DeviceName, mending: readonly string[]): DeviceFacts {
  try {
    const { threads } = openDevice(name);
    const sum = scope(() => ones([4], { device: name }).sum().item());
    if (sum !== 4) return { name, works: false, problem: `1 + 1 + 1 + 1 is ${sum} on it.`, next: [] };
    return { name, works: true, next: [], threads };
  } catch (error) {
    if (error instanceof DeviceError) return { name, works: false, problem: error.problem, next: mending };
    return { name, works: false, problem: error instanceof Error ? error.message : String(error), next: [] };
  }
}

function describeAddon({ addon, path, origin }: LoadedAddon, record: BuildRecord | null): AddonFacts {
  const built = origin === "built" && record?.addon ? { how: record.addon.how, date: record.addon.date } : {};
  return {
    path,
    origin,
    ...built,
    cuda: addon.cuda().built,
    cudaArchitectures: addon.cuda().architectures.map((capability) => capability.toFixed(1)),
    instructionSets: addon.compiledIsas(),
    instructionSet: attempt(() => addon.isa()).value ?? null,
  };
}

/** What the addon sees, where it was compiled with CUDA, and what the driver's own program says. */
function findGpus(loaded: LoadedAddon | undefined): DoctorFacts["cuda"] {
  const asked = askDriver();
  const state = loaded?.addon.cuda();
  if (!state?.built) return asked;
  const gpus = state.devices.map(({ name, major, minor, memory }) => ({
    name,
    computeCapability: `${major}.${minor}`,
    memory,
  }));
  return { driver: asked.driver, gpus, problem: state.problem };
}

function askDriver(): DoctorFacts["cuda"] {
  const query = ["--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits"];
  const { status, stdout, error } = spawnSync("nvidia-smi", query, { encoding: "utf8", timeout: 10_000 });
  if (error) return { driver: null, gpus: [], problem: "no NVIDIA driver was found" };
  if (status !== 0) return { driver: null, gpus: [], problem: `nvidia-smi says: ${stdout.trim().split("\n")[0]}` };
  const rows = stdout
    .trim()
    .split("\n")
    .map((line) => line.split(", "));
  const gpus = rows.map(([name, computeCapability, mebibytes]) => ({
    name,
    computeCapability,
    memory: Number(mebibytes) * 2 ** 20,
  }));
  return { driver: rows[0][3], gpus };
}

function findMemory(): DoctorFacts["memory"] {
  const total = totalmem();
  const limit = process.constrainedMemory();
  return { total, available: process.availableMemory(), limit: limit > 0 && limit < total ? limit : null };
}
