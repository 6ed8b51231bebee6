// Finds and loads the native addon, and says in plain words why there is none. Nothing is loaded before it is asked for.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { DeviceError } from "../../errors/index.ts";
import type { BufferId, ElementArray, MemoryStats, ProgramId, ReplayEnd } from "../executor.ts";

declare const handle: unique symbol;
/** A device of the addon; only its functions can look inside. */
export type NativeDevice = { readonly [handle]: true };

/** A GPU as the CUDA runtime describes it; `memory` is in bytes. */
export interface CudaDevice {
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  readonly memory: number;
}

/** What the addon can do with CUDA here. */
export interface CudaState {
  /** Whether the addon was compiled with CUDA. */
  readonly built: boolean;
  /** Compute capabilities that kernels were compiled for. Newer GPUs compile them once more, when they are first used. */
  readonly architectures: readonly number[];
  readonly devices: readonly CudaDevice[];
  /** Why there is no device. */
  readonly problem?: string;
}

/** The functions of `native/addon.cpp`. */
export interface Addon {
  /** Kernels in the order of their op codes, with the signatures that they were written for. */
  kernels(): { name: string; signature: string }[];
  /** The instruction set in use: baseline, avx2 or avx512. */
  isa(): string;
  /** The instruction sets that kernels were compiled for, best last. */
  compiledIsas(): string[];
  cuda(): CudaState;
  /** The same for CUDA; none where that was not compiled. */
  cudaKernels(): { name: string; signature: string }[];
  /** Opens a device `cpu`; 0 threads means as many as there are processors for this process. */
  openDevice(threads: number): NativeDevice;
  /** Opens a device `cuda`: the first GPU. */
  openCuda(): NativeDevice;
  threadCount(device: NativeDevice): number;
  allocate(device: NativeDevice, bytes: number): BufferId;
  release(device: NativeDevice, id: BufferId): void;
  /** Takes the first `count` words, which are copied. */
  submit(device: NativeDevice, words: Float64Array, count: number): void;
  /** Takes a program in two arrays, as `CommandEncoder.encodeProgram` leaves them. */
  load(device: NativeDevice, words: Float64Array, count: number, layout: Float64Array): ProgramId;
  /** How the device carries a program out, in words; empty where there is only one way. */
  describe(device: NativeDevice, program: ProgramId): string;
  unload(device: NativeDevice, program: ProgramId): void;
  run(device: NativeDevice, program: ProgramId, values: Float64Array): void;
  /** `reports` must not be transferred to another thread before the promise is settled. */
  replay(
    device: NativeDevice,
    program: ProgramId,
    steps: number,
    values: Float64Array,
    reports: Float64Array | undefined,
    onProgress: ((steps: number) => void) | undefined,
  ): { readonly id: number; readonly ended: Promise<ReplayEnd> };
  /** Ends the replay with this number; without effect when it has ended. */
  stop(replay: number): void;
  write(device: NativeDevice, id: BufferId, byteOffset: number, source: ElementArray): void;
  read(device: NativeDevice, id: BufferId, byteOffset: number, target: ElementArray): Promise<void>;
  readSync(device: NativeDevice, id: BufferId, byteOffset: number, target: ElementArray): void;
  synchronize(device: NativeDevice): Promise<void>;
  memory(device: NativeDevice): MemoryStats;
}

/** One way that a build tried to compile the addon. */
export interface BuildAttempt {
  readonly how: "cmake" | "gyp";
  /** Whether CUDA was compiled, too. */
  readonly cuda: boolean;
  readonly ok: boolean;
  readonly seconds: number;
  /** Why it failed, or was not possible. */
  readonly why?: string;
  /** File with what the compiler said, relative to the package. */
  readonly log?: string;
}

/** What a build (`scripts/build-addon.mjs`) leaves in `build/record.json`. */
export interface BuildRecord {
  readonly date: string;
  readonly node: string;
  readonly platform: string;
  readonly arch: string;
  /** Whether CUDA was wanted; "auto" means where there is a toolkit. */
  readonly asked: CudaWish;
  readonly attempts: readonly BuildAttempt[];
  /** The addon in place, which is an older one where this build failed; null where there is none. */
  readonly addon: { readonly how: "cmake" | "gyp"; readonly cuda: boolean; readonly date: string } | null;
}

/** Whether a build is to compile the CUDA part: where there is a toolkit, or else fail, or not at all. */
export type CudaWish = "auto" | "on" | "off";

/** What the addon is to be compiled for. */
export interface BuildWishes {
  readonly cuda: CudaWish;
  /** For which GPUs: "auto" (those that are here), "all", or a list such as "80,90". */
  readonly arch: string;
}

/** A loaded addon and where it came from. */
export interface LoadedAddon {
  readonly addon: Addon;
  readonly path: string;
  /** Built on this machine, or shipped in the package. */
  readonly origin: "built" | "prebuilt";
}

/** The folder of this package, whether the code runs from `ts/` or from `dist/ts/`. */
export function packageRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const manifest = join(folder, "package.json");
    if (existsSync(manifest) && (JSON.parse(readFileSync(manifest, "utf8")) as { name?: string }).name === "langevin")
      return folder;
    if (folder === dirname(folder))
      throw new DeviceError({ op: "loadAddon", problem: "the package's own folder was not found." });
  }
}

/** Files that may hold the addon, in the order in which they are tried. */
export function addonCandidates(root: string): { path: string; origin: "built" | "prebuilt" }[] {
  return [
    { path: join(root, "build", "Release", "langevin.node"), origin: "built" },
    { path: join(root, "prebuilds", `${process.platform}-${process.arch}`, "langevin.node"), origin: "prebuilt" },
  ];
}

/** The record of the last build on this machine, if there was one. */
export function readBuildRecord(root: string): BuildRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(root, "build", "record.json"), "utf8")) as BuildRecord;
  } catch {
    return undefined; // never written, or cut short: what it explains must not become an error of its own
  }
}

/** Loads the addon of the package at `root`. Throws a DeviceError that says what was tried. */
export function loadAddonFrom(root: string): LoadedAddon {
  const require = createRequire(import.meta.url);
  const problems: string[] = [];
  let cause: unknown;
  for (const { path, origin } of addonCandidates(root)) {
    if (!existsSync(path)) continue;
    try {
      return { addon: require(path) as Addon, path, origin };
    } catch (error) {
      cause = error;
      problems.push(`${path} does not load: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (problems.length === 0) problems.push(whyNothingIsBuilt(readBuildRecord(root)));
  throw new DeviceError({
    op: "loadAddon",
    problem: `the native addon is missing: ${problems.join("; ")}.`,
    advice: 'Compile it with "npx langevin build" (needs a C++ compiler and CMake or Python 3), or use device "ts".',
    cause,
  });
}

function whyNothingIsBuilt(record: BuildRecord | undefined): string {
  if (record === undefined) return "it was never compiled here (the package manager may have skipped install scripts)";
  const reasons = record.attempts.filter((a) => !a.ok).map((a) => `${a.how}${a.cuda ? " with CUDA" : ""}: ${a.why}`);
  return reasons.length === 0 ? "its file is gone" : `its build failed (${reasons.join("; ")})`;
}

let loaded: LoadedAddon | undefined;

/** Loads this package's addon once. */
export function loadAddon(): LoadedAddon {
  return (loaded ??= loadAddonFrom(packageRoot()));
}

/**
 * The addon whose CUDA part is used: this package's, unless a test names another one, whose kernels run on the host, in
 * LANGEVIN_CUDA_ADDON.
 */
export function loadCudaAddon(): Addon {
  const path = process.env.LANGEVIN_CUDA_ADDON;
  return path ? (createRequire(import.meta.url)(path) as Addon) : loadAddon().addon;
}
