// Prints as JSON what is wrong with CUDA kernels as nvcc compiles them, beside docs/cuda-kernels.md; without nvcc only what the
// page is. With --planted, what is found in the page's own rows after mistakes were put into them: for the test of the check.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compileKernels, findNvcc } from "./cuda-compile.mjs";
import { root } from "./compile.mjs";
import { missingInstructions, problemsOf, readPage, rowsOf } from "./cuda-table.mjs";

const page = readPage(readFileSync(join(root, "docs", "cuda-kernels.md"), "utf8"));

/** The page's rows: one spills, one has fewer warps, one bears another name. */
function withMistakes() {
  const rows = readPage(readFileSync(join(root, "docs", "cuda-kernels.md"), "utf8")).rows;
  rows[0].targets[80].spills = 8;
  rows.find((row) => Number.isFinite(row.targets[90].warps)).targets[90].warps -= 8;
  rows.at(-1).kernel = "renamed";
  return rows;
}

async function compiled(nvcc) {
  const results = await compileKernels(nvcc);
  const { problems: missing, looked } = missingInstructions(results);
  return {
    release: nvcc.release,
    kernels: results.reduce((count, { kernels }) => count + kernels.length, 0),
    warnings: results.flatMap(({ warnings }) => warnings),
    problems: problemsOf(rowsOf(results), page.rows),
    lookedAt: looked,
    missing,
  };
}

const nvcc = process.argv[2] === "--planted" ? undefined : findNvcc();
const findings =
  process.argv[2] === "--planted"
    ? { problems: problemsOf(withMistakes(), page.rows) }
    : nvcc
      ? await compiled(nvcc)
      : {};
console.log(JSON.stringify({ pageRelease: page.release, ...findings }));
