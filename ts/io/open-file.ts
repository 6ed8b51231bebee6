// Files that are read piece by piece, so that they may be larger than any one buffer.

import { open } from "node:fs/promises";
import { ArgumentError, FormatError } from "../errors/index.ts";

/** A file that is open for reading. */
export interface OpenFile {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** The bytes from `position` on, in memory of their own; they must lie within the file. */
  read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** What one call of the system takes at most is less than 2 GiB. */
const longestRead = 2 ** 30;

/** Opens a file on behalf of `op`, hands it to `use`, and closes it whatever happens. */
export async function withFile<T>(op: string, path: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
  const refuse = (cause: unknown): never => {
    throw new ArgumentError({ op, problem: `${path} cannot be read (${(cause as Error).message}).`, cause });
  };
  const handle = await open(path, "r").catch(refuse);
  try {
    const { size } = await handle.stat();
    const read = async (position: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
      const target = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const piece = Math.min(length - done, longestRead);
        const { bytesRead } = await handle.read(target, done, piece, position + done).catch(refuse);
        if (bytesRead === 0) throw new FormatError({ op, problem: `${path} became shorter while it was read.` });
        done += bytesRead;
      }
      return target;
    };
    return await use({ path, size, read });
  } finally {
    await handle.close();
  }
}
