// An application that installs the packed package: its package managers, the README's example in it, and its doctor.

import type { ExecFileException } from "node:child_process";
import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import ts from "typescript";
import type { DoctorFacts } from "../../ts/cli/doctor-facts.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";

const root = packageRoot();

/** Whether a program answers to `--version`. */
export const works = (program: string): boolean => spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

/** A program's outcome; `output` is all that it printed. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly output: string;
}

/** Runs a program beside this one, which may be serving it meanwhile. */
export function run(program: string, args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve) => {
    const done = (error: ExecFileException | null, stdout: string, stderr: string): void => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, stdout, output: `${stdout}${stderr}${code === -1 ? error?.message : ""}` });
    };
    execFile(program, args, { cwd, env, encoding: "utf8", maxBuffer: 1 << 28 }, done);
  });
}

/** What all applications of a test run share. */
export interface Surroundings {
  /** Folder of everything; the applications are folders in it. */
  readonly folder: string;
  /** Address of the registry. */
  readonly registry: string;
}

/**
 * The environment of a package manager that has its settings and caches in the test's folder, knows the test's registry
 * only, and meets a closed door wherever else it asks. Where there is a ccache, builds of the same sources share it.
 */
export function environment({ folder, registry }: Surroundings): NodeJS.ProcessEnv {
  const outside = /^(npm_|pnpm_|LANGEVIN_|CCACHE_|NODE_|TSX_|(https?|all|no)_proxy$|CXX$|CUDA|CMAKE_)/i;
  const own = Object.entries(process.env).filter(([name]) => !outside.test(name));
  const closed = "http://127.0.0.1:9";
  return {
    ...Object.fromEntries(own),
    HOME: folder,
    TMPDIR: folder,
    npm_config_cache: join(folder, "npm-cache"),
    npm_config_userconfig: join(folder, "user-npmrc"),
    npm_config_globalconfig: join(folder, "global-npmrc"),
    npm_config_registry: registry,
    npm_config_audit: "false",
    npm_config_fund: "false",
    npm_config_update_notifier: "false",
    http_proxy: closed,
    https_proxy: closed,
    no_proxy: "127.0.0.1",
    ...(works("ccache") && {
      CMAKE_CXX_COMPILER_LAUNCHER: "ccache",
      CMAKE_CUDA_COMPILER_LAUNCHER: "ccache",
      CCACHE_DIR: process.env.CCACHE_DIR ?? join(folder, "ccache"),
      CCACHE_BASEDIR: folder,
      CCACHE_NOHASHDIR: "1",
    }),
  };
}

/** The README's example with few iterations, as a module and as a script that requires the package. */
function example(): { imported: string; required: string } {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const [, code] = /```ts\n(.*?)```/s.exec(readme) ?? [];
  const short = code.replace("iterations: 2000", "iterations: 3");
  expect(short, "iterations of the README's example").to.not.equal(code);
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  const imported = ts.transpileModule(short, { compilerOptions: options }).outputText;
  const [statement, names] = /^import (\{.*?\}) from "langevin";$/m.exec(imported)!;
  const body = imported.replace(statement, "");
  return { imported, required: `const ${names} = require("langevin");\n(async () => {\n${body}\n})();\n` };
}

/** An application in a folder of its own that is empty but for its manifest. */
export class Application {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;

  constructor(surroundings: Surroundings, name: string, more: NodeJS.ProcessEnv = {}) {
    this.folder = join(surroundings.folder, name);
    this.env = { ...environment(surroundings), ...more };
    mkdirSync(this.folder);
    this.write("package.json", `{ "name": "application", "private": true }\n`);
  }

  /** Writes a file of the application. */
  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  /** Where the installed package lies. */
  get package(): string {
    return join(this.folder, "node_modules", "langevin");
  }

  /** Runs a program in the application's folder; it must succeed. */
  async must(program: string, ...args: string[]): Promise<Outcome> {
    const outcome = await run(program, args, this.folder, this.env);
    expect(outcome.code, `${program} ${args.join(" ")}\n${outcome.output}`).to.equal(0);
    return outcome;
  }

  /** Installs the tarball with npm, perhaps through another program. */
  async installWithNpm(tarball: string, options: string[] = [], through: string[] = []): Promise<Outcome> {
    const [program, ...args] = [...through, "npm", "install", ...options, tarball];
    return this.must(program, ...args);
  }

  /** Installs the tarball with this project's pnpm, which runs no install scripts unless they are approved. */
  async installWithPnpm(tarball: string): Promise<Outcome> {
    const pnpm = join(root, "node_modules", "pnpm", "bin", "pnpm.cjs");
    const args = [pnpm, "add", "--store-dir", join(this.folder, "..", "pnpm-store"), tarball];
    return this.must(process.execPath, ...args);
  }

  /** Runs the README's example by `import` and by `require`, which must draw the same picture, and the doctor. */
  async use(): Promise<DoctorFacts> {
    const { imported, required } = example();
    const pictures: Buffer[] = [];
    for (const [name, code] of [
      ["example.mjs", imported],
      ["example.cjs", required],
    ]) {
      this.write(name, code);
      const { output } = await this.must(process.execPath, name);
      expect(output).to.match(/iteration: 3, loss: [\d.]+/);
      pictures.push(readFileSync(join(this.folder, "digits.png")));
      rmSync(join(this.folder, "digits.png"));
    }
    expect(pictures[0].equals(pictures[1]), "the same picture by import and by require").to.be.true;
    const { stdout } = await this.must(join(this.folder, "node_modules", ".bin", "langevin"), "doctor", "--json");
    return JSON.parse(stdout) as DoctorFacts;
  }
}
