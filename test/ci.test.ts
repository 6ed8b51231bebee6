// What a machine reads of a test run: the reporter's closing line, and .ci/run's last line and exit status.

import { spawnSync } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect } from "chai";

const root = join(import.meta.dirname, "..");

let folder: string;

/** Gives each test of a suite a folder of its own. */
function inNewFolders(): void {
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-ci-"))));
  afterEach(() => rm(folder, { recursive: true }));
}

const lastLine = (text: string): string | undefined => text.trimEnd().split("\n").at(-1);

describe("the closing line", () => {
  inNewFolders();

  async function runMocha(body: string) {
    const file = join(folder, "some.test.cjs");
    await writeFile(file, body);
    const mocha = join(root, "node_modules", "mocha", "bin", "mocha.js");
    const args = [mocha, "--no-config", "--reporter", join(root, "test", "closing-line.cjs"), file];
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8", cwd: folder });
    return { status, line: lastLine(stdout) };
  }

  it("counts passes, failures and what was skipped", async () => {
    const body = `it("a", () => {}); it("b", () => {}); it("c", () => { throw new Error("no"); }); it.skip("d", () => {});`;
    expect(await runMocha(body)).to.deep.equal({ status: 1, line: "2 passed, 1 failed, 1 skipped" });
  });

  it("does without the skipped where there are none", async () => {
    expect(await runMocha(`it("a", () => {});`)).to.deep.equal({ status: 0, line: "1 passed, 0 failed" });
  });

  it("counts failing hooks", async () => {
    const body = `describe("x", () => { before(() => { throw new Error("no"); }); it("a", () => {}); });`;
    expect(await runMocha(body)).to.deep.equal({ status: 1, line: "0 passed, 1 failed" });
  });
});

describe(".ci/run", () => {
  inNewFolders();

  /** Runs the script in a folder where npm does what is written here for its commands. */
  async function run(npm: { ci?: string; peers?: string; check?: string; test?: string }) {
    await mkdir(join(folder, ".ci"));
    await cp(join(root, ".ci", "run"), join(folder, ".ci", "run"));
    await mkdir(join(folder, "bin"));
    const script = `#!/bin/sh
      case "$*" in
        ci) ${npm.ci ?? "true"} ;;
        "ci --ignore-scripts --prefix bench/peers") ${npm.peers ?? "true"} ;;
        "run check") ${npm.check ?? "true"} ;;
        "run test:all") ${npm.test ?? "true"} ;;
        *) echo "npm $*?"; exit 99 ;;
      esac`;
    const programs = { npm: script, "apt-get": "#!/bin/sh\nexit 100\n" };
    for (const [name, text] of Object.entries(programs)) {
      await writeFile(join(folder, "bin", name), text);
      await chmod(join(folder, "bin", name), 0o755);
    }
    const { status, stdout } = spawnSync(join(folder, ".ci", "run"), {
      encoding: "utf8",
      cwd: tmpdir(),
      env: { ...process.env, PATH: `${join(folder, "bin")}${delimiter}${process.env.PATH}` },
    });
    return { status, line: lastLine(stdout) };
  }

  it("passes when all tests and checks pass", async () => {
    const test = "echo '  5 passing'; echo '5 passed, 0 failed, 1 skipped'";
    expect(await run({ test })).to.deep.equal({ status: 0, line: "5 passed, 0 failed, 1 skipped" });
  });

  it("fails when a test fails", async () => {
    const test = "echo '5 passed, 2 failed'; exit 2";
    expect(await run({ test })).to.deep.equal({ status: 1, line: "5 passed, 2 failed" });
  });

  it("fails when a check fails, and still runs the tests", async () => {
    const test = "echo '5 passed, 0 failed'";
    expect(await run({ check: "exit 1", test })).to.deep.equal({ status: 1, line: "5 passed, 0 failed" });
  });

  it("fails when the tests break off, whatever a test printed before", async () => {
    const test = "echo '7 passed, 0 failed'; echo 'Segmentation fault'; exit 139";
    expect(await run({ test })).to.deep.equal({ status: 1, line: "0 passed, 1 failed" });
  });

  it("fails when nothing ran", async () => {
    expect(await run({ test: "true" })).to.deep.equal({ status: 1, line: "0 passed, 1 failed" });
    await rm(folder, { recursive: true });
    await mkdir(folder);
    expect(await run({ test: "echo '0 passed, 0 failed'" })).to.deep.equal({ status: 1, line: "0 passed, 0 failed" });
  });

  it("passes without the peers, which are skipped", async () => {
    const test = "echo '5 passed, 0 failed, 9 skipped'";
    expect(await run({ peers: "exit 1", test })).to.deep.equal({ status: 0, line: "5 passed, 0 failed, 9 skipped" });
  });

  it("fails when the installation fails", async () => {
    expect(await run({ ci: "exit 1" })).to.deep.equal({ status: 1, line: "0 passed, 1 failed" });
  });
});
