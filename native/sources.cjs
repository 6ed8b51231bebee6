// The one list of native sources, found by globbing: `node native/sources.cjs addon|kernels|cuda` prints a group's paths.
"use strict";

const { readdirSync } = require("node:fs");
const { join } = require("node:path");

const groups = {
  // Compiled once.
  addon: { folders: ["", "core", "cpu", "noise", "cuda"], ending: ".cpp" },
  // Compiled once for each instruction set.
  kernels: { folders: ["cpu/kernels"], ending: ".cpp" },
  // Compiled by nvcc where there is one.
  cuda: { folders: ["cuda", "cuda/kernels"], ending: ".cu" },
};

function list({ folders, ending }) {
  return folders.flatMap((folder) =>
    readdirSync(join(__dirname, folder))
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => ["native", folder, name].filter((part) => part !== "").join("/")),
  );
}

module.exports = Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, list(group)]));

if (require.main === module) console.log(module.exports[process.argv[2]].join("\n"));
