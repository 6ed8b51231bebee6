// Folders that are written whole or not at all: what was there before stays until all that is new is on the disk.

import { randomUUID } from "node:crypto";
import { lstat, mkdir, readdir, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ArgumentError, showValue } from "../errors/index.ts";

/** How a folder is written. */
export interface AtomicFolderOptions {
  /** Who writes, for errors. */
  readonly op: string;
  /** Writes the files into an empty folder. */
  readonly fill: (folder: string) => Promise<void>;
  /** Why a folder that is there and not empty must stay, if so; it is given the names in it, those of subfolders with a slash. */
  readonly objection: (names: readonly string[]) => string | undefined;
}

/**
 * Makes the folder `path`, or replaces it with all that is in it. It is filled under another name beside it, and takes the name
 * at the end: until then, and whatever fails, the old one is untouched. Between the two renamings that replace a folder a crash
 * of the machine leaves both complete, under names that begin with that of the folder and a dot.
 */
export async function writeFolderAtomically(path: string, options: AtomicFolderOptions): Promise<void> {
  const { op, fill } = options;
  if (typeof path !== "string" || path === "")
    throw new ArgumentError({ op, problem: `the folder is ${showValue(path)}, expected a path.` });
  const target = await realpath(path).catch(() => path); // a symbolic link keeps pointing at what it names
  await expectFree(path, target, options);
  const [parent, name] = [dirname(target), basename(target)];
  await mkdir(parent, { recursive: true }).catch((cause: unknown) => refuse(op, path, cause));
  const made = join(parent, `${name}.${randomUUID()}.new`);
  await mkdir(made).catch((cause: unknown) => refuse(op, path, cause));
  try {
    await fill(made);
    await expectFree(path, target, options); // what came meanwhile is not lost either
    await exchange(made, target).catch((cause: unknown) => refuse(op, path, cause));
  } catch (error) {
    await rm(made, { recursive: true, force: true }).catch(() => undefined); // the error that led here says more
    throw error;
  }
}

/** Puts the new folder in the place of the old one. */
async function exchange(made: string, target: string): Promise<void> {
  const old = `${target}.${randomUUID()}.old`;
  const isThere = await lstat(target).then(
    () => true,
    () => false,
  );
  if (isThere) await rename(target, old);
  try {
    await rename(made, target);
  } catch (error) {
    if (isThere) await rename(old, target);
    throw error;
  }
  if (isThere) await rm(old, { recursive: true, force: true });
}

async function expectFree(path: string, target: string, { op, objection }: AtomicFolderOptions): Promise<void> {
  const found = await lstat(target).catch(() => undefined);
  if (!found) return;
  if (!found.isDirectory()) throw new ArgumentError({ op, problem: `${path} exists and is not a folder.` });
  const entries = await readdir(target, { recursive: true, withFileTypes: true });
  const from = target.length + 1;
  const names = entries.map(
    (entry) => join(entry.parentPath, entry.name).slice(from) + (entry.isDirectory() ? "/" : ""),
  );
  const problem = names.length === 0 ? undefined : objection(names);
  if (problem !== undefined)
    throw new ArgumentError({
      op,
      problem: `${path} exists and ${problem}.`,
      advice: "Choose another folder, or say overwrite: true, which removes it with all that is in it.",
    });
}

function refuse(op: string, path: string, cause: unknown): never {
  throw new ArgumentError({
    op,
    problem: `${path} cannot be written (${(cause as Error).message}).`,
    advice: "What was there before is as it was.",
    cause,
  });
}
