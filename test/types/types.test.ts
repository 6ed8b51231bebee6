// The types are a part of the library: what must compile does, what must not does not, and the compiler's words help.

import { resolve } from "node:path";
import { expect } from "chai";
import ts from "typescript";

const root = resolve(import.meta.dirname, "../..");
const files = ["must-compile.ts", "must-not-compile.ts"].map((name) => resolve(import.meta.dirname, name));
const directive = "@ts-expect-error";

/** An error of the compiler. */
interface Finding {
  readonly file: string;
  /** From 0. */
  readonly line: number;
  readonly text: string;
}

const config = ts.getParsedCommandLineOfConfigFile(resolve(root, "tsconfig.json"), undefined, {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: ({ messageText }) => {
    throw new Error(ts.flattenDiagnosticMessageText(messageText, "\n"));
  },
})!;

/** Compiles the files with the project's settings; `edit` changes their text before. */
function compile(edit: (text: string) => string, before?: ts.Program): { program: ts.Program; findings: Finding[] } {
  const host = ts.createCompilerHost(config.options);
  const read = host.getSourceFile.bind(host);
  host.getSourceFile = (name, language, ...others) =>
    files.includes(resolve(name))
      ? ts.createSourceFile(name, edit(ts.sys.readFile(name)!), language)
      : (before?.getSourceFile(name) ?? read(name, language, ...others));
  const program = ts.createProgram(files, config.options, host);
  const findings = files.flatMap((name) => {
    const file = program.getSourceFile(name)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map((found) => ({
      file: name,
      line: file.getLineAndCharacterOfPosition(found.start!).line,
      text: ts.flattenDiagnosticMessageText(found.messageText, "\n"),
    }));
  });
  return { program, findings };
}

describe("types", function () {
  this.timeout(120_000);
  let checked: ReturnType<typeof compile>;
  let bare: ReturnType<typeof compile>;
  before(() => {
    checked = compile((text) => text);
    bare = compile((text) => text.replaceAll(directive, "(expected)"), checked.program);
  });

  it("refuse what they must, and nothing else", () => {
    expect(checked.findings).to.deep.equal([]);
  });

  const lines = ts.sys.readFile(files[1])!.split("\n");
  lines.forEach((line, i) => {
    if (!line.includes(directive)) return;
    const words = /"(.*)"/.exec(line)?.[1] ?? "";
    it(`${lines[i + 1].trim()}: ${words || line.slice(line.indexOf(directive) + directive.length).trim()}`, () => {
      const found = bare.findings.filter((finding) => finding.file === files[1] && finding.line === i + 1);
      expect(found).to.have.length(1);
      expect(found[0].text).to.include(words);
    });
  });
});
