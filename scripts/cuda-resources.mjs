// npm run cuda:resources: compiles all CUDA kernels for all targets, writes what they take to docs/cuda-kernels.md, and tells what
// is another than it was. Fails where a kernel spills.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { compileKernels, findNvcc } from "./cuda-compile.mjs";
import { root } from "./compile.mjs";
import { missingInstructions, pageOf, problemsOf, readPage, rowsOf } from "./cuda-table.mjs";

const nvcc = findNvcc();
if (nvcc === undefined) {
  console.error("cuda:resources: no CUDA toolkit with nvcc was found.");
  process.exit(1);
}
const start = performance.now();
const results = await compileKernels(nvcc);
const rows = rowsOf(results);
const page = join(root, "docs", "cuda-kernels.md");
const changes = problemsOf(rows, readPage(readFileSync(page, "utf8")).rows);
writeFileSync(page, pageOf(rows, nvcc.release));
const { problems } = missingInstructions(results);
for (const problem of [...results.flatMap(({ warnings }) => warnings), ...problems, ...changes]) console.error(problem);
if (changes.some((change) => change.includes(" spills "))) process.exitCode = 1;
const kernels = results.reduce((count, result) => count + result.kernels.length, 0);
console.log(`${kernels} kernels in ${((performance.now() - start) / 1000).toFixed(0)} s: docs/cuda-kernels.md`);
