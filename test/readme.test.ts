// The README's examples run as they stand there, and its commands exist.

import type { SpawnSyncReturns } from "node:child_process";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { Pipeline, readPng } from "langevin";
import { packageRoot } from "../ts/device/native/addon.ts";

const root = packageRoot();
const readme = readFileSync(join(root, "README.md"), "utf8");

function runExample(folder: string, code: string): SpawnSyncReturns<string> {
  writeFileSync(join(folder, "example.mts"), code);
  return spawnSync(
    process.execPath,
    ["--import", pathToFileURL(createRequire(join(root, "package.json")).resolve("tsx")).href, "example.mts"],
    { cwd: folder, encoding: "utf8", env: { ...process.env, TSX_TSCONFIG_PATH: join(root, "tsconfig.json") } },
  );
}

describe("the README", () => {
  it("has an example that trains and draws", async function () {
    this.timeout(600_000);
    const [, code] = /```ts\n(.*?)```/s.exec(readme) ?? [];
    expect(code.split("\n").filter((line) => line !== "").length).to.be.at.most(22);
    const folder = mkdtempSync(join(tmpdir(), "langevin-readme-"));
    try {
      const { status, stdout, stderr } = runExample(folder, code);
      expect(stderr).to.equal("");
      expect(status).to.equal(0);
      const [, loss] = /iteration: 2000, loss: ([\d.]+)/.exec(stdout) ?? [];
      expect(Number(loss)).to.be.within(0.05, 0.6);
      const picture = await readPng(join(folder, "digits.png"));
      expect([picture.height, picture.width]).to.deep.equal([256, 256]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("has an example that goes from Python and back", async function () {
    this.timeout(120_000);
    const code = [...readme.matchAll(/```ts\n(.*?)```/gs)][1][1];
    const folder = mkdtempSync(join(tmpdir(), "langevin-readme-"));
    try {
      cpSync(join(root, "test/golden/unet2d/legacy_names"), join(folder, "ddpm-cifar10-32"), { recursive: true });
      const { status, stdout, stderr } = runExample(folder, code);
      expect(stderr).to.equal("");
      expect(status).to.equal(0);
      expect(stdout).to.match(/^0 of 50\n1 of 50\n[^]*\n50 of 50\n$/);
      const picture = await readPng(join(folder, "samples.png"));
      expect([picture.height, picture.width]).to.deep.equal([32, 32]);
      expect((await Pipeline.load(join(folder, "copy"))).scheduler.name).to.equal("DDPMScheduler");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("names scripts that exist", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
    const named = [
      ...readme.matchAll(/npm (?:run )?(tutorial|demo|example|bench|golden|check|docs|test(?::install)?)\b/g),
    ].map((match) => match[1]);
    expect(named).to.include.members(["tutorial", "demo", "test"]);
    expect(scripts).to.include.all.keys(...new Set(named));
  });
});
