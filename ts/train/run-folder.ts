// The folder that a run leaves behind: its losses, its summary, its pictures, each file whole or absent.

import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { ArgumentError } from "../errors/index.ts";
import { writeFileAtomically } from "../io/atomic-file.ts";
import type { Picture } from "../io/png.ts";
import { encodePng } from "../io/png.ts";

/** One row of loss.csv. */
export interface LossRecord {
  /** Steps done, counting from 1. */
  readonly iteration: number;
  /** The loss of that step. */
  readonly loss: number;
}

/**
 * A folder for the outputs of a run. A second run into the same folder replaces the files that it writes itself and
 * leaves all others alone; nothing is ever deleted.
 */
export class RunFolder {
  /** Where it lies. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes the folder, and those above it, where they are missing. */
  static async create(path: string): Promise<RunFolder> {
    await mkdir(path, { recursive: true }).catch((cause: unknown) => {
      const problem = `${path} cannot be made a folder (${(cause as Error).message}).`;
      throw new ArgumentError({ op: "RunFolder.create", problem, advice: "Choose another place.", cause });
    });
    return new RunFolder(path);
  }

  /** The path of a file directly in the folder. */
  file(name: string): string {
    if (name === "" || name === "." || name === ".." || basename(name) !== name)
      throw new ArgumentError({ op: "RunFolder.file", problem: `"${name}" is not a plain file name.` });
    return join(this.path, name);
  }

  /** Writes loss.csv: a line for each iteration. Returns the path, like all that follow. */
  async writeLosses(losses: Iterable<LossRecord>): Promise<string> {
    const lines = Array.from(losses, ({ iteration, loss }) => `${iteration},${loss}\n`);
    return this.write("loss.csv", `iteration,loss\n${lines.join("")}`);
  }

  /** Writes summary.json. Numbers that JSON has no words for become strings, so a diverged run shows as one. */
  async writeSummary(summary: object): Promise<string> {
    const plain = (_: string, value: unknown): unknown =>
      typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
    return this.write("summary.json", `${JSON.stringify(summary, plain, 2)}\n`);
  }

  /** Writes a PNG. */
  async writePicture(name: string, picture: Picture): Promise<string> {
    return this.write(name, encodePng(picture));
  }

  /** Writes any other file. */
  async write(name: string, content: string | Uint8Array): Promise<string> {
    const path = this.file(name);
    await writeFileAtomically(path, [content]);
    return path;
  }
}
