// The imports of the whole repository against the storeys, and the checker against sources that break each rule.

import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { expect } from "chai";
import { findBreaches, storeys } from "./storeys.ts";

const root = join(import.meta.dirname, "..");

function readSources(folder: string): [string, string][] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((item) => item.isFile() && /\.[cm]?[jt]sx?$/.test(item.name))
    .map((item) => join(item.parentPath, item.name))
    .filter((path) => !path.split(sep).includes("node_modules")) // of bench/peers, where it is installed
    .map((path) => [relative(root, path).split(sep).join("/"), readFileSync(path, "utf8")]);
}

/** Breaches of these sources beside two innocent files. */
function breachesOf(sources: Record<string, string>): string[] {
  return findBreaches(
    new Map(Object.entries({ "ts/ops/index.ts": "", "ts/tensor/tensor.ts": "export class Tensor {}", ...sources })),
  );
}

describe("storeys", () => {
  it("holds in ts/, examples/ and bench/", () => {
    const sources = ["ts", "examples", "bench"].flatMap(readSources);
    expect(sources.length).to.be.greaterThan(20);
    expect(findBreaches(new Map(sources))).to.deep.equal([]);
  });

  it("has a storey for each folder of ts/", () => {
    const folders = readdirSync(join(root, "ts"), { withFileTypes: true }).filter((item) => item.isDirectory());
    for (const { name } of folders) expect(storeys, name).to.have.property(name);
  });

  it("allows the own storey, lower ones, packages and Node's modules", () => {
    const breaches = breachesOf({
      "ts/nn/linear.ts": `
        import { join } from "node:path";
        import { Command } from "commander";
        import { ops } from "../ops/index.ts";
        import type { Tensor } from "../tensor/tensor.ts";
        export { Tensor as T } from "../tensor/tensor.ts";
        const later = () => import("../optim/adam.ts");`,
      "ts/optim/adam.ts": "",
      "ts/index.ts": `export * from "./nn/linear.ts"; export * from "./optim/adam.ts";`,
      "examples/demo.ts": `import { train } from "langevin"; import { parseArgs } from "node:util"; import "./options.ts";`,
      "examples/options.ts": `import fs from "fs";`,
    });
    expect(breaches).to.deep.equal([]);
  });

  const upwards: Record<string, string> = {
    "an import": `import { Tensor } from "../tensor/tensor.ts";`,
    "an import for its side effects": `import "../tensor/tensor.ts";`,
    "a type import": `import type { Tensor } from "../tensor/tensor.ts";`,
    "an inline type import": `import { type Tensor } from "../tensor/tensor.ts";`,
    "an import type": `export const x: import("../tensor/tensor.ts").Tensor | undefined = undefined;`,
    "a typeof import": `export type T = typeof import("../tensor/tensor.ts");`,
    "a re-export": `export { Tensor } from "../tensor/tensor.ts";`,
    "a re-export of all": `export * from "../tensor/tensor.ts";`,
    "a type re-export": `export type { Tensor } from "../tensor/tensor.ts";`,
    "a dynamic import": `export const load = async () => { if (1) return import("../tensor/tensor.ts"); };`,
    "a dynamic import of a template": "export const load = () => import(`../tensor/tensor.ts`);",
    "a require": `const { Tensor } = require("../tensor/tensor.ts");`,
    "an import assignment": `import tensor = require("../tensor/tensor.ts");`,
    "a module augmentation": `declare module "../tensor/tensor.ts" { interface Tensor {} }`,
    "a reference": `/// <reference path="../tensor/tensor.ts" />`,
    "a query": `import "../tensor/tensor.ts?fresh";`,
    "a detour": `import "../device/../tensor/tensor.ts";`,
  };
  for (const [name, text] of Object.entries(upwards))
    it(`refuses ${name} of a higher storey`, () => {
      const breaches = breachesOf({ "ts/device/executor.ts": text });
      expect(breaches).to.have.length(1);
      expect(breaches[0])
        .to.match(/^ts\/device\/executor\.ts:1: /)
        .and.to.include("of ts/tensor/tensor.ts: storey 1 may not import storey 3");
    });

  it("ignores imports in comments and strings", () => {
    const text = `// import "../tensor/tensor.ts";\nconst s = 'import "../tensor/tensor.ts"';`;
    expect(breachesOf({ "ts/device/executor.ts": text })).to.deep.equal([]);
  });

  it("refuses cycles, also of types, also through several files", () => {
    const breaches = breachesOf({
      "ts/nn/a.ts": `import "./b.ts";`,
      "ts/nn/b.ts": `import type { C } from "../optim/c.ts";`,
      "ts/optim/c.ts": `export const later = () => import("../nn/a.ts");`,
    });
    expect(breaches).to.deep.equal([
      "ts/nn/a.ts: import cycle ts/nn/a.ts -> ts/nn/b.ts -> ts/optim/c.ts -> ts/nn/a.ts",
    ]);
  });

  it("refuses a file that imports itself", () => {
    expect(breachesOf({ "ts/nn/a.ts": `import "./a.ts";` })).to.deep.equal([
      "ts/nn/a.ts: import cycle ts/nn/a.ts -> ts/nn/a.ts",
    ]);
  });

  it("takes several ways to one file for no cycle", () => {
    const breaches = breachesOf({
      "ts/nn/a.ts": `import "./b.ts"; import "./c.ts";`,
      "ts/nn/b.ts": `import "./d.ts";`,
      "ts/nn/c.ts": `import "./d.ts"; import "./b.ts";`,
      "ts/nn/d.ts": "",
    });
    expect(breaches).to.deep.equal([]);
  });

  it("refuses folders that are not listed, and files in none", () => {
    expect(breachesOf({ "ts/misc/a.ts": "", "ts/stray.ts": "", "ts/constructor/b.ts": "" })).to.deep.equal([
      "ts/misc/a.ts: lies in no folder that has a storey",
      "ts/stray.ts: lies in no folder that has a storey",
      "ts/constructor/b.ts: lies in no folder that has a storey",
    ]);
  });

  it("refuses imports of the entry, by path and by name", () => {
    const breaches = breachesOf({
      "ts/index.ts": "",
      "ts/cli/main.ts": `import "../index.ts";\nimport "langevin";\nimport "langevin/package.json";`,
    });
    expect(breaches).to.deep.equal([
      "ts/cli/main.ts:1: import of ts/index.ts, which stands outside",
      "ts/cli/main.ts:2: import of the package itself",
      "ts/cli/main.ts:3: import of the package itself",
    ]);
  });

  it("refuses what it cannot follow", () => {
    const breaches = breachesOf({
      "ts/cli/main.ts": `const at = "x";\nawait import(at);\nrequire(at);\nimport "#at";\nimport "/at.ts";\nimport "../at.ts";`,
      "ts/device/native/addon.ts": `require(path);\nawait import(path);`,
    });
    expect(breaches).to.deep.equal([
      "ts/cli/main.ts:2: import() of something that is not a plain string",
      "ts/cli/main.ts:3: require() of something that is not a plain string",
      'ts/cli/main.ts:4: import of "#at", which is neither relative nor a package',
      'ts/cli/main.ts:5: import of "/at.ts", which is neither relative nor a package',
      "ts/cli/main.ts:6: import of ts/at.ts, which is no file of the library",
      "ts/device/native/addon.ts:2: import() of something that is not a plain string",
    ]);
  });

  it("holds programs to the package, Node and their own folder", () => {
    const breaches = breachesOf({
      "examples/demo.ts": `import "../ts/tensor/tensor.ts";\nimport "commander";\nimport type { X } from "../bench/x.ts";`,
      "bench/x.ts": `export const later = (at: string) => import(at);`,
    });
    expect(breaches).to.deep.equal([
      "examples/demo.ts:1: import of ts/tensor/tensor.ts, which lies outside examples/",
      'examples/demo.ts:2: import of "commander": programs import langevin, Node\'s own modules and files of their folder',
      "examples/demo.ts:3: import of bench/x.ts, which lies outside examples/",
      "bench/x.ts:1: import() of something that is not a plain string",
    ]);
  });
});
