// Every CUDA kernel compiles for every target without warnings, spills nothing, takes of a multiprocessor what
// docs/cuda-kernels.md says, and has the instructions that its speed rests on.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";

/** What `scripts/cuda-check.mjs` prints. */
interface Findings {
  readonly release?: string;
  readonly pageRelease: string;
  readonly kernels: number;
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
  readonly lookedAt: number;
  readonly missing: readonly string[];
}

function check(...args: string[]): Findings {
  const script = join(packageRoot(), "scripts", "cuda-check.mjs");
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  expect(status, stderr).to.equal(0);
  return JSON.parse(stdout) as Findings;
}

describe("CUDA kernels, compiled", function () {
  this.timeout(1_200_000);
  let findings: Findings;
  before(function () {
    findings = check();
    if (findings.release === undefined) this.skip();
  });

  it("compile for every target without warnings", () => {
    expect(findings.kernels).to.be.greaterThan(100);
    expect(findings.warnings).to.deep.equal([]);
  });

  it("spill nothing, and take what docs/cuda-kernels.md says", function () {
    const release = findings.release !== findings.pageRelease;
    const problems = findings.problems.filter((problem) => !release || problem.includes(" spills "));
    expect(problems, "run npm run cuda:resources, look at what changed, and commit it").to.deep.equal([]);
    // Another compiler deals registers in its own way.
    if (release) this.skip();
  });

  it("have products on tensor cores, asynchronous copies and 16-byte accesses where they should", () => {
    expect(findings.lookedAt).to.be.greaterThan(50);
    expect(findings.missing).to.deep.equal([]);
  });
});

describe("the page of CUDA kernels", () => {
  it("is refused where a kernel spills, loses occupancy, or is not on it", () => {
    const page = readFileSync(join(packageRoot(), "docs", "cuda-kernels.md"), "utf8");
    expect(page).to.match(/^\| \S+\.cu +\| `/m);
    const { problems } = check("--planted");
    expect(problems.some((text) => /spills 8 bytes on sm_80/.test(text))).to.equal(true);
    expect(problems.some((text) => /has \d+ warps on sm_90, expected \d+/.test(text))).to.equal(true);
    expect(problems.some((text) => /is not on the page/.test(text))).to.equal(true);
    expect(problems.some((text) => /is on the page, but there is no such kernel/.test(text))).to.equal(true);
  });
});
