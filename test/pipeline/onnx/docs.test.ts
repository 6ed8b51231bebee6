// The programs in docs/onnx.md run as they stand there.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { packageRoot } from "../../../ts/device/native/addon.ts";
import { describeWithRuntime, peers } from "./runtime.ts";

const root = packageRoot();
const page = readFileSync(join(root, "docs", "onnx.md"), "utf8");
const [exporting, running] = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code);

describe("docs/onnx.md", () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "langevin-onnx-docs-"))));
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** What a program prints that runs in the folder. */
  function run(code: string): string {
    writeFileSync(join(folder, "program.mts"), code);
    const tsx = pathToFileURL(createRequire(join(root, "package.json")).resolve("tsx")).href;
    const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", tsx, "program.mts"], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, TSX_TSCONFIG_PATH: join(root, "tsconfig.json") },
    });
    expect(stderr).to.equal("");
    expect(status).to.equal(0);
    return stdout;
  }

  /** What the page says that a program prints: the comment behind its last line. */
  const promised = (code: string): string => /.*\/\/ (.*)\n$/s.exec(code)![1];

  it("exports a model", () => {
    expect(run(exporting).replaceAll(/\s+/g, " ").trim()).to.equal(promised(exporting));
  });

  describeWithRuntime("in onnxruntime", () => {
    it("runs it elsewhere", () => {
      run(exporting);
      symlinkSync(join(peers, "node_modules"), join(folder, "node_modules"));
      expect(run(running).replaceAll(/\s+/g, " ").trim()).to.equal(promised(running));
    });
  });
});
