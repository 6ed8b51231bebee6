// The folder that `npm run gpu-check -- --pack DIR` makes runs elsewhere: moved away, without Node and compilers on PATH.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";

const has = (command: string): boolean => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;

/** What a machine needs that checks its GPU. */
const programs = ["sh", "chmod", "dirname", "xz", "tar", "mkdir", "mktemp", "rm", "ln"];

describe("gpu-check, packed", function () {
  this.timeout(1_800_000);
  let folder: string;
  let elsewhere: string;
  const script = join(packageRoot(), "scripts", "gpu-check.mjs");
  const host = join(packageRoot(), "build-cuda-host", "Release", "langevin.node");
  before(function () {
    if (!has("nvcc") || !has("cmake")) this.skip();
    folder = mkdtempSync(join(tmpdir(), "langevin-test-"));
  });
  after(() => {
    if (folder) rmSync(folder, { recursive: true });
  });

  const pack = (...args: string[]) => spawnSync(process.execPath, [script, "--pack", ...args], { encoding: "utf8" });
  const bytesOf = (packed: string): number =>
    readdirSync(packed).reduce((sum, name) => sum + statSync(join(packed, name)).size, 0);

  /** Runs it on a machine that has nothing else. */
  function run(...args: string[]) {
    const env = { PATH: join(folder, "bin"), TMPDIR: join(folder, "tmp") };
    return spawnSync(join(elsewhere, "gpu-check"), args, { encoding: "utf8", cwd: folder, env });
  }

  it("is small, and says on a machine without anything that there is no GPU", function () {
    const packed = join(folder, "packed");
    const made = pack(packed);
    expect(made.status, made.stdout + made.stderr).to.equal(0);
    expect(bytesOf(packed)).to.be.lessThan(60e6);

    elsewhere = join(folder, "elsewhere");
    renameSync(packed, elsewhere);
    const bin = join(folder, "bin");
    for (const made of [bin, join(folder, "tmp")]) mkdirSync(made);
    for (const name of programs)
      symlinkSync(spawnSync("which", [name], { encoding: "utf8" }).stdout.trim(), join(bin, name));
    const help = run("--help");
    expect(help.status, help.stderr).to.equal(0);
    const { status, stdout, stderr } = run();
    if (status !== 3 && has("nvidia-smi")) this.skip(); // there is a GPU
    expect(stdout + stderr).to.match(/^There is no GPU to check: [^\n]+\.\n$/);
    expect(status).to.equal(3);

    // A second folder is not written over.
    expect(pack(elsewhere).stderr).to.contain("not empty");
  });

  it("has all that its check needs, with kernels that run on the host, and leaves nothing behind", function () {
    if (!existsSync(host)) this.skip(); // npm run test:cuda-host builds it
    const { status, stdout, stderr } = run("--host-addon", host);
    expect(stdout, stderr).to.match(/^All is right\.$/m);
    expect(status).to.equal(0);
    expect(readdirSync(join(folder, "tmp"))).to.deep.equal([]);
    expect(readdirSync(elsewhere).sort()).to.deep.equal(["archive.tar.br", "gpu-check", "node.xz"]);
  });

  it("is smaller without golden data, and takes those of the repository that it lies in", function () {
    if (!existsSync(host)) this.skip();
    const repository = join(folder, "repository");
    const whole = bytesOf(elsewhere);
    elsewhere = join(repository, "carried", "packed");
    expect(pack(elsewhere, "--without-golden").status).to.equal(0);
    expect(bytesOf(elsewhere)).to.be.lessThan(Math.min(40e6, whole - 10e6));
    const alone = run("--host-addon", host, "--only", "golden");
    expect(alone.stdout).to.contain("Not run: golden suites (this folder was packed without their data).");
    mkdirSync(join(repository, "test"));
    symlinkSync(join(packageRoot(), "test", "golden"), join(repository, "test", "golden"));
    const within = run("--host-addon", host, "--only", "golden");
    expect(within.stdout, within.stderr).to.match(/^\d{3} cases passed, eagerly or as plans/m);
  });
});
