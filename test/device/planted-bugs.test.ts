// Running CUDA kernels on the host finds bugs: kernels with planted ones, under each build, each caught in the way expected.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import type { CudaHostBuild } from "./native-programs.ts";
import { compileMeanwhile, cudaHost, cudaHostBuilds, hasCompiler, newFolder, sourcesIn } from "./native-programs.ts";

const wrong = /^wrong with seed \d$/m;
const race = /ThreadSanitizer: data race/;
const poison = (kernel: string) => new RegExp(`AddressSanitizer: use-after-poison.*\nWRITE of size 4.*\n.*${kernel}`);
const overflow = /AddressSanitizer: heap-buffer-overflow.*\nWRITE of size 4.*\n.*subtractNeighbours/;
const outsideArray = /sumBlocks.*wrote outside of the shared array partial of 16 bytes/;
const outsideDynamic = /subtractNeighbours.*wrote outside of its 516 bytes of dynamic shared memory/;

const sources = [
  "native/test/planted_bugs.cpp",
  ...sourcesIn("native/cuda/persistent", ".cpp"),
  "native/cuda/kernels/persistent.cu",
  ...cudaHost,
];

/** What a program says that has the bug, in those builds that must find it. */
type Expected = Partial<Record<CudaHostBuild, RegExp>>;
const always = (words: RegExp): Expected => ({ plain: words, address: words, thread: words });

const bugs: Record<string, Expected> = {
  "missing barrier": { plain: wrong, address: wrong, thread: race },
  "divergent barrier": always(
    /sumBlocks.*block \(4,0,0\): divergent barrier.*\n *threads 0 to 77: at __syncthreads in planted_bugs\.cpp:\d+\n *threads 78 to 127: returned/,
  ),
  "divergent shuffle": always(/sumBlocks.*block \(\d,0,0\), thread .*lanes of one warp wait at different operations/),
  "missing warp barrier": { plain: wrong, address: wrong, thread: race },
  "shared overrun": { plain: outsideArray, address: poison("sumBlocks"), thread: outsideArray },
  "dynamic overrun": { plain: outsideDynamic, address: poison("subtractNeighbours"), thread: outsideDynamic },
  "global overrun": { plain: wrong, address: overflow, thread: wrong },
  "global underrun": { plain: wrong, address: overflow, thread: wrong },
  "off by one": always(wrong),
  uninitialised: always(wrong),
  "missed wait": always(wrong),
  "forgotten wait": always(
    /sumRows.*returned without having waited for an asynchronous copy \(planted_bugs\.cpp:\d+\)/,
  ),
  "early overwrite": { plain: wrong, address: wrong, thread: race },
  // Whether two blocks meet is chance; only the sanitizer knows that they might.
  "race between blocks": { thread: race },
  "misaligned copy": always(/sumRows.*from an address that is not aligned to its 16 bytes/),
  "too much shared": always(/addPairs.*a block takes 53248 bytes of shared memory, 0 of them dynamic, and has 49152/),
  "missing round": { plain: wrong, address: wrong, thread: race },
};

describe("planted bugs in CUDA kernels on the host", function () {
  this.timeout(900_000);
  let folder: string;
  let removeFolder: (() => void) | undefined;

  before(async function () {
    if (!hasCompiler()) this.skip();
    [folder, removeFolder] = newFolder();
    await Promise.all(
      Object.entries(cudaHostBuilds).map(([build, options]) =>
        compileMeanwhile(sources, join(folder, build), ["-x", "c++", ...options]),
      ),
    );
  });
  after(() => removeFolder?.());

  function run(build: CudaHostBuild, bug: string): { good: boolean; said: string } {
    const env = { ...process.env, TSAN_OPTIONS: "halt_on_error=1" };
    const { status, stdout, stderr } = spawnSync(join(folder, build), [bug], { encoding: "utf8", env });
    return { good: status === 0, said: stdout + stderr };
  }

  for (const build of Object.keys(cudaHostBuilds) as CudaHostBuild[])
    describe(`build: ${build}`, () => {
      it("finds nothing in the kernels without bugs", () => {
        const { good, said } = run(build, "none");
        expect(good, said).to.be.true;
        expect(said).to.equal("right\n");
      });

      for (const [bug, { [build]: words }] of Object.entries(bugs))
        if (words)
          it(`catches a bug: ${bug}`, () => {
            const { good, said } = run(build, bug);
            expect(said).to.match(words);
            expect(good, said).to.be.false;
          });
    });
});
