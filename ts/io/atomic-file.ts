// Files that are written whole or not at all: a reader, or a crash half-way, sees the old content or the new one.

import { randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { open, realpath, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ArgumentError, showValue } from "../errors/index.ts";

/**
 * Replaces the content of `path` by `pieces`, one after the other. They go to a temporary file in the same folder, which
 * takes the name only once all of it is on the disk; whatever fails before leaves the old file and no temporary one.
 */
export async function writeFileAtomically(
  path: string,
  pieces: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
): Promise<void> {
  if (typeof path !== "string")
    throw new ArgumentError({ op: "writeFile", problem: `the path is ${showValue(path)}, expected a string.` });
  const target = await realpath(path).catch(() => path); // a symbolic link keeps pointing at what it names
  const temporary = join(dirname(target), `.${randomUUID()}.tmp`);
  const file = await open(temporary, "wx").catch((cause: unknown) => refuse(path, cause));
  try {
    try {
      for await (const piece of pieces)
        await writeAll(file, typeof piece === "string" ? Buffer.from(piece) : piece).catch((cause: unknown) =>
          refuse(path, cause),
        );
      await file.sync().catch((cause: unknown) => refuse(path, cause));
    } finally {
      await file.close();
    }
    await rename(temporary, target).catch((cause: unknown) => refuse(path, cause));
  } catch (error) {
    await unlink(temporary).catch(() => undefined); // the error that led here says more
    throw error;
  }
  await syncFolder(dirname(target));
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, Math.min(bytes.length - done, 2 ** 30)); // one call takes < 2 GiB
    done += bytesWritten;
  }
}

/** Makes the new name survive a power failure, where the file system lets folders be opened. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => undefined);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}

function refuse(path: string, cause: unknown): never {
  const code = (cause as NodeJS.ErrnoException).code;
  const [problem, advice] =
    code === "ENOENT"
      ? [`the folder of ${path} does not exist.`, "Make it first."]
      : code === "EISDIR" || code === "ENOTEMPTY"
        ? [`${path} is a folder.`, "Give the name of a file."]
        : code === "ENOSPC" || code === "EDQUOT"
          ? [`there is no space left for ${path}.`, "Free some, or write elsewhere; the file is as it was before."]
          : [`${path} cannot be written (${(cause as Error).message}).`, undefined];
  throw new ArgumentError({ op: "writeFile", problem, advice, cause });
}
