// A folder that may come from a stranger: files in it are read, and nothing outside of it, whatever names and links say.

import { lstat, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { ArgumentError, FormatError, showValue } from "../errors/index.ts";
import { withFile } from "./open-file.ts";

/** Whether a name leads down from a folder and nowhere else, on any system: `unet/config.json`. */
export function isNameBelow(name: string): boolean {
  const plain = (part: string): boolean => part !== "" && part !== "." && part !== "..";
  return !/[\\:\0]/.test(name) && name.split("/").every(plain);
}

/** A folder of which files are read by their names, with forward slashes. */
export class SealedFolder {
  /** As it was given. */
  readonly path: string;
  private readonly op: string;
  /** Real paths of the folders in which files may lie. */
  private readonly roots: readonly string[];

  private constructor(op: string, path: string, roots: readonly string[]) {
    this.op = op;
    this.path = path;
    this.roots = roots;
  }

  /** Opens a folder on behalf of `op`. Throws ArgumentError where there is none. */
  static async open(op: string, path: string): Promise<SealedFolder> {
    if (typeof path !== "string")
      throw new ArgumentError({ op, problem: `the folder is ${showValue(path)}, expected a path.` });
    const root = await realpath(path).catch((cause: unknown) => {
      throw new ArgumentError({ op, problem: `${path} cannot be read (${(cause as Error).message}).`, cause });
    });
    if (!(await stat(root)).isDirectory()) throw new ArgumentError({ op, problem: `${path} is not a folder.` });
    return new SealedFolder(op, path, [root, ...(await blobsOf(root))]);
  }

  /** Whether something has this name, be it a link to nowhere. */
  async has(name: string): Promise<boolean> {
    this.expectBelow(name);
    return lstat(join(this.path, name)).then(
      () => true,
      () => false,
    );
  }

  /** The real path of a file. Throws FormatError where there is none, or where it lies outside of the folder. */
  async file(name: string): Promise<string> {
    this.expectBelow(name);
    const real = await realpath(join(this.path, name)).catch((cause: unknown) => {
      const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
      throw this.refusal(name, missing ? "does not exist" : `cannot be read (${(cause as Error).message})`, cause);
    });
    if (!this.roots.some((root) => real.startsWith(root.endsWith(sep) ? root : root + sep)))
      throw this.refusal(name, "is a link that leads out of the folder");
    if (!(await stat(real)).isFile()) throw this.refusal(name, "is not a file"); // opening a pipe would wait for ever
    return real;
  }

  /** The text of a file of at most so many bytes, which must be UTF-8. */
  async text(name: string, mostBytes: number): Promise<string> {
    return withFile(this.op, await this.file(name), async (file) => {
      if (file.size > mostBytes)
        throw this.refusal(name, `has ${file.size} bytes, and at most ${mostBytes} are expected of such a file`);
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.read(0, file.size));
      } catch (cause) {
        if (!(cause instanceof TypeError)) throw cause;
        throw this.refusal(name, "is not UTF-8", cause);
      }
    });
  }

  /** What a file is called in errors. */
  nameOf(name: string): string {
    return join(this.path, name);
  }

  private expectBelow(name: string): void {
    if (!isNameBelow(name))
      throw this.error(`${showValue(name)} is not the name of a file in ${this.path}.`, "Names lead down, with forward slashes."); // prettier-ignore
  }

  private refusal(name: string, problem: string, cause?: unknown): FormatError {
    return this.error(`${this.nameOf(name)} ${problem}.`, undefined, cause);
  }

  private error(problem: string, advice?: string, cause?: unknown): FormatError {
    return new FormatError({ op: this.op, problem, advice, cause });
  }
}

/**
 * The cache of the Hugging Face Hub keeps files in `models--x--y/blobs`, and `models--x--y/snapshots/<commit>` is a folder of
 * links to them: these count as lying in it.
 */
async function blobsOf(root: string): Promise<string[]> {
  const snapshots = dirname(root);
  const model = dirname(snapshots);
  if (basename(snapshots) !== "snapshots" || !basename(model).startsWith("models--")) return [];
  return realpath(join(model, "blobs")).then(
    (blobs) => (dirname(blobs) === model ? [blobs] : []),
    () => [],
  );
}
