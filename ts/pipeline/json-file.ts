// Config files of a folder that may come from a stranger.

import { FormatError, showValue } from "../errors/index.ts";
import { parsePythonJson } from "../io/python-json.ts";
import type { SealedFolder } from "../io/sealed-folder.ts";

/** More than any config, and any index of shards, takes. */
const mostBytes = 4 * 2 ** 20;

/** The object that a JSON file of Python holds. Throws FormatError that names the file, and where in it something is wrong. */
export async function readJson(op: string, folder: SealedFolder, name: string): Promise<Record<string, unknown>> {
  const file = folder.nameOf(name);
  const value = parsePythonJson(await folder.text(name, mostBytes), { op, file });
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new FormatError({ op, problem: `${file} holds ${showValue(value)}, expected an object.` });
  return value as Record<string, unknown>;
}
