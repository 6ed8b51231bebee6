// The exact commands that get the native addon compiled on this machine: its system's packages, then the build.

import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { BuildTools } from "./build-tools.ts";

/** How the systems' package managers install a C++ compiler with make, and CMake. Keys are IDs of /etc/os-release. */
const installers: Readonly<Record<string, { command: string; compiler: string; cmake: string }>> = {
  debian: { command: "apt-get install", compiler: "g++ make", cmake: "cmake" },
  fedora: { command: "dnf install", compiler: "gcc-c++ make", cmake: "cmake" },
  rhel: { command: "dnf install", compiler: "gcc-c++ make", cmake: "cmake" },
  suse: { command: "zypper install", compiler: "gcc-c++ make", cmake: "cmake" },
  arch: { command: "pacman -S", compiler: "gcc make", cmake: "cmake" },
  alpine: { command: "apk add", compiler: "g++ make", cmake: "cmake" },
};

/** The machine as far as commands depend on it; tests put their own in place. */
export interface System {
  readonly platform: NodeJS.Platform;
  /** Content of /etc/os-release; empty where there is none. */
  readonly release: string;
  readonly root: boolean;
}

function thisSystem(): System {
  let release = "";
  try {
    release = readFileSync("/etc/os-release", "utf8");
  } catch {
    // Not Linux, or a bare container.
  }
  return { platform: process.platform, release, root: process.getuid?.() === 0 };
}

/** Commands that compile the addon of the package at `root`, after installing what is missing of the tools for it. */
export function howToBuild(tools: BuildTools, root: string, system: System = thisSystem()): string[] {
  if (system.platform === "win32") return ["wsl --install"];
  // In a clone npx would first run the project's own install script.
  const installed = basename(dirname(root)) === "node_modules";
  return [...howToInstall(tools, system), installed ? "npx langevin build" : "node bin/langevin.mjs build"];
}

function howToInstall(tools: BuildTools, system: System): string[] {
  const compiler = tools.compiler === undefined || tools.make === undefined;
  const cmake = tools.cmake === undefined && (tools.python === undefined || compiler);
  if (system.platform === "darwin")
    return [...(compiler ? ["xcode-select --install"] : []), ...(cmake ? ["brew install cmake"] : [])];
  const installer = installerOf(system.release);
  if (installer === undefined || !(compiler || cmake)) return [];
  const packages = [...(compiler ? [installer.compiler] : []), ...(cmake ? [installer.cmake] : [])].join(" ");
  return [`${system.root ? "" : "sudo "}${installer.command} ${packages}`];
}

/** By the system's ID, or one that it says it is like: Ubuntu is like Debian. */
function installerOf(release: string): (typeof installers)[string] | undefined {
  const ids = [/^ID=(.*)$/m, /^ID_LIKE=(.*)$/m].flatMap((field) =>
    (field.exec(release)?.[1] ?? "").replaceAll('"', "").split(" "),
  );
  const known = ids.find((id) => Object.hasOwn(installers, id));
  return known === undefined ? undefined : installers[known];
}
