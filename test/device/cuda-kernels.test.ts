// The suite of CUDA kernels, run on the host: as compiled by default, under address and undefined-behaviour sanitizers, and
// under the thread sanitizer.

import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect } from "chai";

import type { CudaHostBuild } from "./native-programs.ts";
import {
  compile,
  compileMeanwhile,
  cudaHost,
  cudaHostBuilds,
  hasCompiler,
  newFolder,
  sourcesIn,
} from "./native-programs.ts";

/** The files of native/cuda/kernels that native/test/cuda checks. */
const kernels = [
  "attention",
  "attention_tensor",
  "chain",
  "conv",
  "cumulative",
  "epilogue",
  "gemm",
  "group_norm",
  "layer_norm",
  "loss",
  "matmul",
  "persistent",
  "quantile",
  "reduce",
  "rounded",
  "softmax",
].map((name) => `native/cuda/kernels/${name}.cu`);

const sources = [
  ...cudaHost,
  ...sourcesIn("native/cuda/persistent", ".cpp"),
  ...kernels,
  ...sourcesIn("native/test/cuda", ".cpp"),
];

/** How many random shapes to draw beside the chosen ones: sanitizers make each of them slow. */
const rounds: Record<CudaHostBuild, number> = { plain: 12, address: 2, thread: 1 };

describe("CUDA kernels on the host", function () {
  this.timeout(900_000);
  let folder: string;
  let removeFolder: (() => void) | undefined;

  before(function () {
    if (!hasCompiler()) this.skip();
    [folder, removeFolder] = newFolder();
  });
  after(() => removeFolder?.());

  /** Compiles every source by itself, as many at a time as there are processors, and links them. */
  async function build(name: CudaHostBuild): Promise<string> {
    const objects = sources.map((source) => join(folder, `${name}-${source.replaceAll("/", "_")}.o`));
    const left = [...sources.entries()];
    const work = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop())
        await compileMeanwhile([next[1]], objects[next[0]], ["-x", "c++", "-c", ...cudaHostBuilds[name]]);
    };
    await Promise.all(Array.from({ length: availableParallelism() }, work));
    const program = join(folder, name);
    compile(objects, program, cudaHostBuilds[name]);
    return program;
  }

  for (const name of Object.keys(cudaHostBuilds) as CudaHostBuild[])
    it(`give what they should under several schedules (build: ${name})`, async () => {
      const program = await build(name);
      const env = { ...process.env, TSAN_OPTIONS: "halt_on_error=1" };
      const { stdout } = await promisify(execFile)(program, [String(rounds[name])], { env, maxBuffer: 1 << 26 });
      expect(stdout).to.match(/^\d{3,} checks, 0 failed$/m);
    });
});
