// Worker threads that train and sample may be terminated in mid-plan: the process goes on, and so does the main thread's training.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { cpuIsBuilt, cudaOnHost } from "../tensor/devices.ts";

const program = join(import.meta.dirname, "ending-workers.ts");

/** What is needed of esbuild, which tsx brings along. */
interface Bundler {
  buildSync(options: Record<string, unknown>): unknown;
}

/** Makes one JavaScript file of the program, within the package, so that a worker starts in a tenth of a second. */
function bundle(folder: string): string {
  const tsx = createRequire(import.meta.url).resolve("tsx");
  const { buildSync } = createRequire(tsx)("esbuild") as Bundler;
  const outfile = join(folder, "ending-workers.mjs");
  buildSync({
    entryPoints: [program],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    tsconfig: join(packageRoot(), "tsconfig.json"),
    banner: {
      js: 'import { createRequire as requireFor } from "node:module"; const require = requireFor(import.meta.url);',
    },
    logLevel: "error",
  });
  return outfile;
}

describe("workers that are terminated in mid-plan", () => {
  let folder: string;
  before(() => {
    const parent = join(packageRoot(), "build");
    mkdirSync(parent, { recursive: true });
    folder = mkdtempSync(join(parent, "test-"));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  const counts = cudaOnHost
    ? ([["cuda", 6]] as const)
    : ([
        ["ts", 8],
        ["cpu", 20],
      ] as const);
  for (const [device, each] of counts)
    it(`end at random moments, while the main thread trains, on ${device}`, async function () {
      if (device === "cpu" && !cpuIsBuilt) return this.skip();
      // Rejects unless the process ends by itself with code 0.
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [bundle(folder), device, String(each)], {
        cwd: packageRoot(),
        timeout: 100_000,
      });
      expect(stderr).to.equal("");
      const { outcomes, ...rest } = JSON.parse(stdout) as {
        outcomes: boolean[];
        trainedMeanwhile: boolean;
        same: boolean;
      };
      expect(outcomes).to.deep.equal(new Array(2 * each).fill(true));
      expect(rest).to.deep.equal({ trainedMeanwhile: true, same: true });
    });
});
