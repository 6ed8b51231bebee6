// The launcher and the programs it starts, as real processes: sources or compiled code, exit codes, signals.

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";

const root = join(import.meta.dirname, "..", "..");

interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** Starts the launcher of the package at `home`, in a folder that is not the package's. */
function launch(home: string, args: string[]): { child: ChildProcess; output: () => string; ended: Promise<Ending> } {
  const child = spawn(process.execPath, [join(home, "bin", "langevin.mjs"), ...args], {
    cwd: tmpdir(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()));
  const ended = new Promise<Ending>((resolve) =>
    child.once("close", (code, signal) => resolve({ code, signal, output })),
  );
  return { child, output: () => output, ended };
}

describe("bin/langevin.mjs", () => {
  let home: string;

  /** A file of a package in which the launcher is the real one. */
  async function put(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(home, path)), { recursive: true });
    await writeFile(join(home, path), text);
  }

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), "langevin-package-"));
    await cp(join(root, "bin"), join(home, "bin"), { recursive: true });
    await put("package.json", '{ "name": "langevin", "type": "module", "version": "0.0.1" }');
  });
  afterEach(() => rm(home, { recursive: true }));

  it("runs the sources of a clone, from any folder", async () => {
    const { code, output } = await launch(root, ["tutorial", "z"]).ended;
    expect(code).to.equal(2);
    expect(output).to.include("Allowed choices are a, b, c");
  });

  it("prefers compiled code", async () => {
    await put("ts/cli/main.ts", "export const main = async () => { throw new Error('not this'); };");
    await put("dist/ts/cli/main.js", "export const main = async (args) => { console.log(...args); return 5; };");
    const { code, output } = await launch(home, ["a", "--b"]).ended;
    expect({ code, output }).to.deep.equal({ code: 5, output: "a --b\n" });
  });

  it("says what to do where neither is complete", async () => {
    const bare = await launch(home, []).ended;
    expect(bare).to.deep.include({
      code: 1,
      output: "This installation of langevin is incomplete: neither dist/ nor ts/ is there.\n",
    });
    await put("ts/cli/main.ts", "");
    const { code, output } = await launch(home, []).ended;
    expect(code).to.equal(1);
    expect(output).to.match(/^langevin runs from its sources here.* Run: npm ci\n$/);
  });

  describe("with the real sources and a program of the test's", () => {
    const program = (body: string): Promise<void> =>
      put("examples/demo.ts", `import { library } from "langevin";\n${body}\n`);

    beforeEach(async () => {
      await put("ts/index.ts", 'export const library: string = "resolved";');
      await cp(join(root, "tsconfig.json"), join(home, "tsconfig.json"));
      for (const folder of ["cli", "device", "errors", "ops"])
        await cp(join(root, "ts", folder), join(home, "ts", folder), { recursive: true });
      await symlink(join(root, "node_modules"), join(home, "node_modules"));
    });

    it("hands on options, resolves the package's own name, and ends with the program's code", async () => {
      await program("console.log(library, process.argv.slice(2).join(' ')); process.exitCode = 7;");
      const { code, output } = await launch(home, ["demo", "--seed", "3", "--sample-only"]).ended;
      expect({ code, output }).to.deep.equal({ code: 7, output: "resolved --seed=3 --sample-only\n" });
    });

    it("says which program is missing", async () => {
      const { code, output } = await launch(home, ["demo"]).ended;
      expect(code).to.equal(1);
      expect(output).to.match(/^langevin: .*demo\.ts is missing\. Reinstall the package\.\n$/);
    });

    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      it(`passes ${signal} on and ends as the program does`, async () => {
        await program(`console.log("started", library); setInterval(() => {}, 1000);`);
        const { child, output, ended } = launch(home, ["demo"]);
        await untilIncludes(output, "started");
        child.kill(signal);
        expect(await ended).to.deep.include({ code: null, signal });
      });

    it("lets a program finish what it does on a signal", async () => {
      await program(`
        const timer = setInterval(() => {}, 1000);
        process.on("SIGTERM", () => { clearInterval(timer); console.log("tidied up", library); process.exitCode = 4; });
        console.log("started");`);
      const { child, output, ended } = launch(home, ["demo"]);
      await untilIncludes(output, "started");
      child.kill("SIGTERM");
      const { code, output: all } = await ended;
      expect({ code, all }).to.deep.equal({ code: 4, all: "started\ntidied up resolved\n" });
    });
  });
});

async function untilIncludes(output: () => string, text: string): Promise<void> {
  while (!output().includes(text)) await new Promise((resolve) => setTimeout(resolve, 20));
}
