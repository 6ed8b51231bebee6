// Builds the addon whose CUDA kernels run on the host, in build-cuda-host/, and runs the tests of device "cuda" through it;
// arguments go to mocha. What is unchanged is not compiled again.

import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { compileWithCMake, root } from "../scripts/compile.mjs";

/** Test files of a folder. Mocha expands no braces. */
const of = (folder, names) => names.split(" ").map((name) => `test/${folder}/${name}.test.ts`);

/** What runs on device "cuda" where LANGEVIN_CUDA_ADDON names an addon for it. */
const files = [
  "test/cuda-host/*.test.ts",
  "test/golden.test.ts",
  "test/ops/*.test.ts",
  "test/nn/**/*.test.ts",
  "test/optim/*.test.ts",
  "test/errors/*.test.ts",
  ...of("device", "native-executor native-replay"),
  ...of("tensor", "arithmetic attention backward capture compositions creation einsum finalizer gradient-chains"),
  ...of("tensor", "groups leak-chains losses matmul random reading reductions repeat resize scope selection"),
  ...of("tensor", "shape shape-properties strict-mode"),
  ...of("plan", "models native-calls random-plans rewrites/large-maps"),
  ...of("diffusion", "gaussian-diffusion noise-schedule preconditioning predictions respacing sigma-training"),
  ...of("diffusion", "schedulers/plans solver/solver"),
  ...of("metrics", "metrics"),
  ...of("data", "image-set"),
  ...of("io", "image"),
  ...of("train", "abort ema event-loop leak plans side-by-side train workers"),
  ...of("pipeline", "pipeline pipeline-folders sample sample-plans sample-solvers"),
];

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
const chosen = given.some((argument) => argument.endsWith(".ts")) ? given : [...files, ...given];
const { status } = spawnSync(process.execPath, [join(root, "node_modules", "mocha", "bin", "mocha.js"), ...chosen], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, LANGEVIN_CUDA_ADDON: addon },
});
process.exitCode = status ?? 1;
