// Every line of code in docs/from-pytorch.md compiles.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect } from "chai";
import ts from "typescript";

const root = resolve(import.meta.dirname, "..");
const page = readFileSync(resolve(root, "docs/from-pytorch.md"), "utf8");

/** The code in the second column of every table. */
const entries = [
  ...new Set(
    page
      .split("\n")
      .filter((line) => line.startsWith("| ") && !line.startsWith("| PyTorch") && !line.startsWith("| -"))
      .flatMap((line) => [...line.split(/(?<!\\)\|/)[2].matchAll(/`([^`]+)`/g)].map(([, code]) => code)),
  ),
].filter((code) => code !== "ModuleList" && !code.startsWith("["));

/** What the entries speak of. */
const prelude = `import * as langevin from "langevin";
declare const { ${[...new Set(entries.map((code) => /^[a-zA-Z]\w+/.exec(code)?.[0] ?? "Tensor"))].filter((name) => name !== "await").join(", ")} }: typeof langevin;
declare const x: langevin.Tensor, y: langevin.Tensor, mask: langevin.Tensor, index: langevin.Tensor, data: number[];
export const entries = () => [
`;

describe("docs/from-pytorch.md", function () {
  this.timeout(120_000);
  const problems = new Map<number, string>();

  before(() => {
    const config: unknown = ts.readConfigFile(resolve(root, "tsconfig.json"), (path) => ts.sys.readFile(path)).config;
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
    const name = resolve(root, "test/from-pytorch.ts");
    const lines = entries.map((code) => `  ${code.startsWith("await") ? `(async () => ${code})()` : code},`);
    const text = `${prelude}${lines.join("\n")}\n];\n`;
    const host = ts.createCompilerHost(options);
    const read = host.getSourceFile.bind(host);
    host.getSourceFile = (file, language, ...others) =>
      resolve(file) === name ? ts.createSourceFile(file, text, language) : read(file, language, ...others);
    const program = ts.createProgram([name], options, host);
    const source = program.getSourceFile(name)!;
    const first = prelude.split("\n").length - 1;
    for (const found of [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]) {
      const line = source.getLineAndCharacterOfPosition(found.start!).line - first;
      problems.set(line, ts.flattenDiagnosticMessageText(found.messageText, "\n"));
    }
  });

  it("has tables, and nothing around them is wrong", () => {
    expect(entries.length).to.be.above(100);
    expect([...problems].filter(([line]) => line < 0)).to.deep.equal([]);
  });

  entries.forEach((code, i) => it(code, () => expect(problems.get(i)).to.equal(undefined)));
});
