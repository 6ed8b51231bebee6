// Reads the imports of source files and tells where they break the rules of the house (docs/architecture.md).

import { builtinModules } from "node:module";
import { posix } from "node:path";
import ts from "typescript";

/** The storey of each folder in ts/: a file imports from its own storey or lower ones. */
export const storeys: Readonly<Record<string, number>> = {
  ops: 0,
  errors: 0,
  device: 1,
  plan: 2,
  tensor: 3,
  io: 3,
  nn: 4,
  optim: 4,
  data: 4,
  diffusion: 5,
  metrics: 5,
  train: 6,
  pipeline: 6,
  cli: 7,
};

/** Files whose require() of a variable is known not to load a source file, with the reason. */
const variableRequires: Readonly<Record<string, string>> = {
  "ts/device/native/addon.ts": "loads the compiled addon, wherever it lies",
  "ts/cli/build-tools.ts": "loads the build's script, which lies beside ts/ and dist/",
};

/** Folders of programs, which see the library as its users do, and whose files they may share. */
const programFolders: Readonly<Record<string, readonly string[]>> = {
  examples: ["examples/"],
  bench: ["bench/", "examples/"],
};
/** Packages that they need beside it. */
const programPackages: Readonly<Record<string, readonly string[]>> = { examples: [], bench: ["commander"] };
const packageName = "langevin";
const entry = "ts/index.ts";

/** One import, whatever its form; `specifier` is undefined where it is not a plain string. */
interface Import {
  readonly specifier: string | undefined;
  readonly form: string;
  readonly line: number;
}

/** Source texts by their paths from the root of the repository, with forward slashes. */
export type Sources = ReadonlyMap<string, string>;

/** All breaches of the rules, each a line that names the file; empty if all is well. */
export function findBreaches(sources: Sources): string[] {
  const breaches: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [file, text] of sources) {
    const [top, folder] = file.split("/");
    if (top === "ts" && file !== entry && !Object.hasOwn(storeys, file.split("/").length > 2 ? folder : ""))
      breaches.push(`${file}: lies in no folder that has a storey`);
    const targets: string[] = [];
    for (const found of readImports(file, text)) {
      const target = resolve(file, found.specifier);
      const problem =
        top in programFolders
          ? programProblem(top, found, target)
          : top === "ts"
            ? libraryProblem(file, found, target, sources)
            : undefined;
      if (problem !== undefined) breaches.push(`${file}:${found.line}: ${found.form} ${problem}`);
      if (target !== undefined && sources.has(target)) targets.push(target);
    }
    graph.set(file, targets);
  }
  return [...breaches, ...findCycles(graph).map((cycle) => `${cycle[0]}: import cycle ${cycle.join(" -> ")}`)];
}

function libraryProblem(file: string, found: Import, target: string | undefined, sources: Sources): string | undefined {
  const { specifier, form } = found;
  if (specifier === undefined)
    return form === "require()" && file in variableRequires ? undefined : "of something that is not a plain string";
  if (specifier === packageName || specifier.startsWith(`${packageName}/`)) return `of the package itself`;
  if (specifier.startsWith("#") || specifier.startsWith("/") || specifier.startsWith("file:"))
    return `of "${specifier}", which is neither relative nor a package`;
  if (target === undefined) return undefined; // another package
  if (!sources.has(target)) return `of ${target}, which is no file of the library`;
  if (target === entry) return `of ${entry}, which stands outside`;
  if (file === entry) return undefined;
  const [own, other] = [storeyOf(file), storeyOf(target)];
  // A file without a storey is reported for that already.
  if (own === undefined || other === undefined || other <= own) return undefined;
  return `of ${target}: storey ${own} may not import storey ${other}`;
}

function programProblem(folder: string, { specifier }: Import, target: string | undefined): string | undefined {
  if (specifier === undefined) return "of something that is not a plain string";
  if (target !== undefined)
    return programFolders[folder].some((shared) => target.startsWith(shared))
      ? undefined
      : `of ${target}, which lies outside ${folder}/`;
  if (specifier === packageName || specifier.startsWith("node:") || builtinModules.includes(specifier))
    return undefined;
  if (programPackages[folder].includes(specifier)) return undefined;
  return `of "${specifier}": programs import ${packageName}, Node's own modules and files of their folder`;
}

function storeyOf(file: string): number | undefined {
  return storeys[file.split("/")[1]];
}

function resolve(file: string, specifier: string | undefined): string | undefined {
  if (specifier === undefined || !/^\.\.?(\/|$)/.test(specifier)) return undefined;
  return posix.normalize(posix.join(posix.dirname(file), specifier.replace(/[?#].*$/, "")));
}

/** Every import, re-export, import type, dynamic import, require and reference of a file. */
function readImports(file: string, text: string): Import[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const imports: Import[] = [];
  const lineAt = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1;
  const add = (form: string, node: ts.Node, specifier: ts.Node | undefined): void => {
    const plain = specifier !== undefined && ts.isStringLiteralLike(specifier) ? specifier.text : undefined;
    imports.push({ specifier: plain, form, line: lineAt(node.getStart()) });
  };
  for (const { fileName, pos } of source.referencedFiles)
    imports.push({
      specifier: fileName.startsWith(".") ? fileName : `./${fileName}`,
      form: "reference",
      line: lineAt(pos),
    });
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add("import", node, node.moduleSpecifier);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier) add("re-export", node, node.moduleSpecifier);
    else if (ts.isExternalModuleReference(node)) add("import =", node, node.expression);
    else if (ts.isImportTypeNode(node))
      add("import type", node, ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined);
    else if (ts.isModuleDeclaration(node) && ts.isStringLiteral(node.name)) add("declare module", node, node.name);
    else if (ts.isCallExpression(node)) {
      if (node.expression.kind === ts.SyntaxKind.ImportKeyword) add("import()", node, node.arguments[0]);
      else if (ts.isIdentifier(node.expression) && node.expression.text === "require")
        add("require()", node, node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return imports;
}

/** One cycle for each group of files that import one another, as the files along it, the first again at the end. */
function findCycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file]);
      return;
    }
    if (done.has(file)) return;
    done.add(file);
    path.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    path.pop();
  };
  for (const file of graph.keys()) visit(file);
  return cycles;
}
