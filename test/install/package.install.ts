// The package as its users get it: packed once, and installed in empty folders by npm and pnpm on machines that have
// everything or lack something. The dependencies are those of the lock file, from a registry on this machine.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { expect } from "chai";
import type { DoctorFacts } from "../../ts/cli/doctor-facts.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { brokenToolkit, cmakePrograms, compilers, programsWithout } from "../device/machines.ts";
import { hasCompiler } from "../device/native-programs.ts";
import { Application, environment, run, works } from "./application.ts";
import type { Registry } from "./registry.ts";
import { startRegistry } from "./registry.ts";

const root = packageRoot();

/** Packs a copy of the sources, since packing leaves a compiled library behind. */
async function packCopy(folder: string, registry: string): Promise<{ tarball: string; files: Map<string, number> }> {
  const copy = join(folder, "package");
  const left = /^(node_modules|build|build-.*|dist|prebuilds|runs|coverage|test|\.git)$/;
  cpSync(root, copy, { recursive: true, filter: (path) => !left.test(relative(root, path)) });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const env = environment({ folder, registry });
  const { code, stdout, output } = await run("npm", ["pack", "--json", "--pack-destination", folder], copy, env);
  expect(code, output).to.equal(0);
  // What prepack prints comes first.
  const [packed] = JSON.parse(stdout.slice(stdout.search(/^\[$/m))) as [
    { filename: string; files: { path: string; size: number }[] },
  ];
  const files = new Map(packed.files.map(({ path, size }) => [path, size]));
  return { tarball: join(folder, packed.filename), files };
}

/** The program that runs another one without any network; empty where this system forbids that. */
function withoutNetwork(): string[] {
  const through = process.getuid?.() === 0 ? ["unshare", "-n"] : ["unshare", "-rn"];
  return works("unshare") && runs([...through, "true"]) ? through : [];
}

function runs([program, ...args]: string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

/** What the facts say of the executor in use and where it came from. */
function origin({ defaultDevice, addon }: DoctorFacts): string {
  if (addon === null) return `${defaultDevice}`;
  return `${defaultDevice}, ${addon.origin}${addon.how === undefined ? "" : ` by ${addon.how}`}`;
}

describe("the packed package", function () {
  this.timeout(900_000);
  let folder: string;
  let registry: Registry;
  let tarball: string;
  let files: Map<string, number>;

  before(async function () {
    this.timeout(900_000);
    if (!hasCompiler() || !works("cmake")) this.skip(); // packing compiles
    folder = realpathSync(mkdtempSync(join(tmpdir(), "langevin-install-")));
    registry = await startRegistry();
    ({ tarball, files } = await packCopy(folder, registry.url));
  });
  after(async () => {
    await registry?.close();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  const application = (name: string, more?: NodeJS.ProcessEnv) =>
    new Application({ folder, registry: registry.url }, name, more);

  it("holds the library, the addon for this platform, its sources and what builds them, and nothing else", () => {
    expect([...files.keys()]).to.include.members([
      "README.md",
      "package.json",
      "bin/langevin.mjs",
      "dist/ts/index.js",
      "dist/ts/index.d.ts",
      "dist/examples/demo.js",
      `prebuilds/${process.platform}-${process.arch}/langevin.node`,
      "native/addon.cpp",
      "native/cpu/simd.h",
      "native/cpu/kernels/conv.cpp",
      "native/sources.cjs",
      "scripts/install.mjs",
      "CMakeLists.txt",
      "binding.gyp",
    ]);
    const known =
      /^(README\.md|LICENSE|package\.json|CMakeLists\.txt|binding\.gyp|(bin|data|dist|native|prebuilds|scripts)\/.*)$/;
    expect([...files.keys()].filter((path) => !known.test(path) || /\btest\b|\.map$|\.o$/.test(path))).to.deep.equal(
      [],
    );
    const megabyte = 1e6;
    expect(readFileSync(tarball).length, "bytes, packed").to.be.below(2.5 * megabyte);
    expect([...files.values()].reduce((sum, size) => sum + size)).to.be.below(8 * megabyte);
  });

  it("is what package managers and bundlers expect (publint)", async () => {
    const app = application("publint");
    const { output } = await app.must(join(root, "node_modules", ".bin", "publint"), "run", tarball, "--strict");
    expect(output).to.include("All good!");
  });

  it("npm, scripts allowed: builds with CMake", async () => {
    const app = application("scripts");
    await app.installWithNpm(tarball);
    expect(origin(await app.use())).to.equal("cpu, built by cmake");
    expect(existsSync(join(app.package, "build", "objects")), "object files").to.be.false;
  });

  it("npm --ignore-scripts: uses the addon in the package, and langevin build still builds", async () => {
    const app = application("ignored");
    await app.installWithNpm(tarball, ["--ignore-scripts"]);
    expect(origin(await app.use())).to.equal("cpu, prebuilt");
    expect(existsSync(join(app.package, "build"))).to.be.false;
    await app.must(join(app.folder, "node_modules", ".bin", "langevin"), "build", "--cuda", "off");
    expect(origin(await app.use())).to.equal("cpu, built by cmake");
  });

  it("no compiler: uses the addon in the package, and without it plain TypeScript", async () => {
    const app = application("no-compiler");
    app.env.PATH = programsWithout(join(app.folder, "bin"), compilers);
    await app.installWithNpm(tarball);
    const facts = await app.use();
    expect(origin(facts)).to.equal("cpu, prebuilt");
    expect(facts.lastBuild?.attempts[0].why).to.equal("no C++ compiler was found");
    rmSync(join(app.package, "prebuilds"), { recursive: true });
    const bare = await app.use();
    expect(origin(bare)).to.equal("ts");
    expect(bare.devices[1].problem).to.include("no C++ compiler was found");
    expect(bare.devices[1].next.at(-1)).to.equal("npx langevin build");
  });

  it("no CMake, and no network: builds with node-gyp", async function () {
    if (!works("python3") || !works("make")) this.skip();
    const app = application("no-cmake", works("ccache") ? { CXX: "ccache c++" } : {});
    app.env.PATH = programsWithout(join(app.folder, "bin"), cmakePrograms);
    await app.installWithNpm(tarball, ["--offline"], withoutNetwork());
    const facts = await app.use();
    expect(origin(facts)).to.equal("cpu, built by gyp");
    expect(facts.lastBuild?.attempts[0].why).to.equal("CMake was not found");
  });

  it("a broken nvcc: builds without CUDA, and says why", async () => {
    const app = application("broken-nvcc");
    app.env.PATH = `${brokenToolkit(join(app.folder, "toolkit"))}:${programsWithout(join(app.folder, "bin"), /^nvcc/)}`;
    await app.installWithNpm(tarball);
    const facts = await app.use();
    expect(origin(facts)).to.equal("cpu, built by cmake");
    expect(facts.addon?.cuda).to.be.false;
    expect(facts.lastBuild?.attempts[0]).to.include({ how: "cmake", cuda: true, ok: false });
    expect(facts.lastBuild?.attempts[0].why).to.include("nvcc does not list GPU architectures");
  });

  it("offline: installs from npm's cache and builds with CMake, without any network", async () => {
    const app = application("offline");
    await app.installWithNpm(tarball, ["--offline"], withoutNetwork());
    expect(origin(await app.use())).to.equal("cpu, built by cmake");
  });

  it("pnpm, which blocks scripts: uses the addon in the package", async () => {
    const app = application("pnpm");
    const { output } = await app.installWithPnpm(tarball);
    expect(output).to.match(/Ignored build scripts.*langevin/s);
    expect(origin(await app.use())).to.equal("cpu, prebuilt");
  });
});
