// What a build of the native addon needs, as this machine has it: for the build itself, and for `langevin doctor`.
"use strict";

const { spawnSync } = require("node:child_process");
const { existsSync, readdirSync } = require("node:fs");
const { join } = require("node:path");

/** Nobody waits longer than this for a program to tell its version. */
const patience = 10_000; // ms

/** What a program answers to `--version`; undefined where it is missing or broken. The command may have arguments. */
function versionOf(command) {
  const [program, ...args] = command.split(" ");
  const result = spawnSync(program, [...args, "--version"], { encoding: "utf8", timeout: patience });
  if (result.status !== 0) return undefined;
  const lines = result.stdout.split("\n").map((line) => line.trim());
  // nvcc says it in its fourth line.
  return lines.find((line) => /, release \d/.test(line)) ?? lines.find((line) => line !== "") ?? "";
}

/** The first of these commands that works, with its version. */
function firstWorking(commands) {
  for (const command of commands) {
    const version = versionOf(command);
    if (version !== undefined) return { command, version };
  }
  return undefined;
}

/** Where CUDA toolkits put nvcc, in CMake's order. */
function nvccCandidates() {
  const { CUDACXX, CUDA_PATH } = process.env;
  const versioned = existsSync("/usr/local")
    ? readdirSync("/usr/local")
        .filter((name) => name.startsWith("cuda-"))
        .sort()
        .reverse()
    : [];
  const folders = [CUDA_PATH, "/usr/local/cuda", ...versioned.map((name) => join("/usr/local", name))];
  const installed = folders.filter(Boolean).map((folder) => join(folder, "bin", "nvcc"));
  return [CUDACXX, "nvcc", ...installed.filter((path) => existsSync(path))].filter(Boolean);
}

/** The tools of a build; each is `{ command, version }`, or undefined where there is none that works. */
function findTools() {
  const { CXX } = process.env;
  return {
    compiler: firstWorking([CXX, "c++", "g++", "clang++"].filter(Boolean)),
    cmake: firstWorking(["cmake"]),
    make: firstWorking(["make"]),
    python: firstWorking(["python3", "python"]),
    nvcc: firstWorking(nvccCandidates()),
  };
}

module.exports = { findTools };
