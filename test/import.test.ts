// What importing the package does: nothing, until a tensor is made.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { packageRoot } from "../ts/device/native/addon.ts";
import { cpuIsBuilt } from "./tensor/devices.ts";

const root = packageRoot();

/** Runs a module in a process of its own that reports every native module it loads, and returns what it prints. */
function run(code: string): string {
  const script = `
    const open = process.dlopen;
    process.dlopen = function (module, file, ...rest) { console.log("loads", file.split(/[/\\\\]/).at(-1)); return open.call(this, module, file, ...rest); };
    ${code}`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      "--import",
      pathToFileURL(createRequire(join(root, "package.json")).resolve("tsx")).href,
      "--input-type=module",
      "-e",
      script,
    ],
    { cwd: root, encoding: "utf8", env: { ...process.env, LANGEVIN_DEVICE: "" } },
  );
  expect(stderr).to.equal("");
  expect(status).to.equal(0);
  return stdout;
}

describe("importing langevin", () => {
  const library = JSON.stringify(pathToFileURL(join(root, "ts", "index.ts")).href);

  it("loads no native code, starts nothing and leaves no globals but zod's two", () => {
    const printed = run(`
      const before = Object.getOwnPropertyNames(globalThis);
      await import(${library});
      console.log(Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name)).join());
      console.log(process.getActiveResourcesInfo().filter((name) => name !== "PipeWrap").join());`);
    // zod shares its settings and its registry between copies of itself.
    expect(printed.trim()).to.equal("__zod_globalConfig,__zod_globalRegistry");
  });

  (cpuIsBuilt ? it : it.skip)("loads the addon when the first tensor is made", () => {
    const printed = run(`
      const { zeros } = await import(${library});
      console.log("imported");
      zeros([1]);`);
    expect(printed.trim().split("\n")).to.deep.equal(["imported", "loads langevin.node"]);
  });
});
