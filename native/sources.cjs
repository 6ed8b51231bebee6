// The one list of native sources, found by globbing: `node native/sources.cjs GROUP` prints a group's paths.
"use strict";

const { existsSync, readdirSync } = require("node:fs");
const { join } = require("node:path");

const groups = {
  // Compiled once.
  addon: [
    ["", ".cpp"],
    ["core", ".cpp"],
    ["cpu", ".cpp"],
    ["noise", ".cpp"],
    ["cuda/discovery", ".cpp"],
  ],
  // Compiled once for each instruction set.
  kernels: [["cpu/kernels", ".cpp"]],
  // Compiled where there is a CUDA toolkit; .cu by nvcc, or for the host by any C++ compiler.
  cuda: [
    ["cuda", ".cpp"],
    ["cuda/persistent", ".cpp"],
    ["cuda/kernels", ".cu"],
  ],
  // What native/test/gpu/kernels.cu is linked with.
  checked: [
    ["cuda/persistent", ".cpp"],
    ...["attention", "attention_tensor", "conv", "epilogue", "gemm", "matmul", "persistent", "rounded"].map((name) => [
      "cuda/kernels",
      `${name}.cu`,
    ]),
  ],
  // What takes the place of the CUDA runtime in tests.
  host: [["cuda/host", ".cpp"]],
};

function list(group) {
  // What only tests need is not packed.
  const present = group.filter(([folder]) => existsSync(join(__dirname, folder)));
  return present.flatMap(([folder, ending]) =>
    readdirSync(join(__dirname, folder))
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => ["native", folder, name].filter((part) => part !== "").join("/")),
  );
}

module.exports = Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, list(group)]));

if (require.main === module) console.log(module.exports[process.argv[2]].join("\n"));
