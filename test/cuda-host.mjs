// Builds the addon whose CUDA kernels run on the host, in build-cuda-host/, and runs the tests of device "cuda" through it;
// arguments go to mocha. What is unchanged is not compiled again.

import { spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { compileWithCMake, root } from "../scripts/compile.mjs";

/** Test files of a folder. Mocha expands no braces. */
const of = (folder, names) => names.split(" ").map((name) => `test/${folder}/${name}.test.ts`);

/**
 * What runs on device "cuda" where LANGEVIN_CUDA_ADDON names an addon for it. Each list is a process of its own, and all run
 * side by side: kernels take one core, and garbage collections, which many tests wait for, take long after many others.
 */
const lists = [
  ["test/cuda-host/*.test.ts", "test/golden.test.ts", "test/ops/*.test.ts", "test/nn/**/*.test.ts"],
  [
    ...of("device", "native-executor native-replay"),
    ...of("tensor", "arithmetic attention backward capture compositions creation einsum finalizer gradient-chains"),
    ...of("tensor", "groups leak-chains losses matmul random reading reductions repeat resize scope selection"),
    ...of("tensor", "shape shape-properties strict-mode"),
    ...of("plan", "models native-calls random-plans rewrites/large-maps"),
    "test/optim/*.test.ts",
    ...of("diffusion", "gaussian-diffusion noise-schedule preconditioning predictions respacing sigma-training"),
    ...of("diffusion", "schedulers/plans solver/solver"),
    "test/metrics/metrics.test.ts",
    "test/data/image-set.test.ts",
    "test/io/image.test.ts",
    "test/errors/*.test.ts",
    ...of("train", "abort ema event-loop leak plans side-by-side train workers"),
    ...of("pipeline", "pipeline pipeline-folders sample sample-plans sample-solvers"),
  ],
];

/** Runs mocha with these arguments; what it writes comes out once it has ended, if it is not to come at once. */
function runMocha(args, addon, atOnce) {
  const child = spawn(process.execPath, [join(root, "node_modules", "mocha", "bin", "mocha.js"), ...args], {
    cwd: root,
    stdio: atOnce ? "inherit" : ["ignore", "pipe", "inherit"],
    env: { ...process.env, LANGEVIN_CUDA_ADDON: addon },
  });
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => (output += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => {
      process.stdout.write(output);
      resolve({ status: status ?? 1, output });
    });
  });
}

/** The counts of test/closing-line.cjs; none where a process broke off. */
function countsOf(output) {
  const found = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/m.exec(output);
  return found ? found.slice(1).map((count) => Number(count ?? 0)) : [0, 1, 0];
}

const folder = join(root, "build-cuda-host");
const log = join(folder, "cmake.log");
mkdirSync(folder, { recursive: true });
rmSync(log, { force: true });
const { ok, addon, output } = await compileWithCMake(folder, "HOST", { log });
if (!ok) {
  console.error(`${output}\ncuda-host: the addon was not built (${log}).`);
  process.exit(1);
}
const given = process.argv.slice(2);
if (given.some((argument) => argument.endsWith(".ts"))) {
  process.exitCode = (await runMocha(given, addon, true)).status;
} else {
  const start = Date.now();
  const ends = await Promise.all(lists.map((files) => runMocha([...files, ...given], addon, false)));
  const [passed, failed, skipped] = ends
    .map(({ output }) => countsOf(output))
    .reduce((sums, counts) => sums.map((sum, i) => sum + counts[i]));
  const minutes = ((Date.now() - start) / 60_000).toFixed(1);
  console.log(`device cuda on the host, in ${minutes} minutes:`);
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  process.exitCode = Math.max(...ends.map(({ status }) => status));
}
