// npm run cuda:resources: compiles all CUDA kernels for all targets and writes what they take to docs/cuda-kernels.md.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { compileKernels, findNvcc } from "./cuda-compile.mjs";
import { root } from "./compile.mjs";
import { missingInstructions, pageOf, rowsOf } from "./cuda-table.mjs";

const nvcc = findNvcc();
if (nvcc === undefined) {
  console.error("cuda:resources: no CUDA toolkit with nvcc was found.");
  process.exit(1);
}
const start = performance.now();
const results = await compileKernels(nvcc);
const rows = rowsOf(results);
writeFileSync(join(root, "docs", "cuda-kernels.md"), pageOf(rows, nvcc.release));
const { problems } = missingInstructions(results);
for (const problem of [...results.flatMap(({ warnings }) => warnings), ...problems]) console.error(problem);
const kernels = results.reduce((count, result) => count + result.kernels.length, 0);
console.log(`${kernels} kernels in ${((performance.now() - start) / 1000).toFixed(0)} s: docs/cuda-kernels.md`);
