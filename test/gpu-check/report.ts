// Where gpu-check tells what it finds: on the console, and where that is wanted in files that grow as it goes on, so that a run
// that is killed leaves what it has found.

import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { packageRoot } from "../../ts/device/native/addon.ts";
import type { Report } from "./session.ts";

/** On the console alone. */
export const consoleReport: Report = {
  say: (text) => console.log(text),
  begin: () => undefined,
};

/** On the console and in files. */
export interface SavedReport extends Report {
  /** The file with all that is said, as markdown. A second run on the same day adds to it. */
  readonly path: string;
}

/**
 * Tells what it is told to another report, and saves it in a folder, by default bench/results or else here. What is begun goes to a
 * second file, with the seconds until then.
 */
export function savedReport(folder: string | true, device: string, other: Report = consoleReport): SavedReport {
  const results = join(packageRoot(), "bench", "results");
  const target = folder === true ? (existsSync(results) ? results : ".") : folder;
  mkdirSync(target, { recursive: true });
  const name = device.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const path = resolve(target, `${new Date().toISOString().slice(0, 10)}-gpu-check-${name}.md`);
  const progress = path.replace(/\.md$/, ".progress.txt");
  const start = performance.now();
  return {
    path,
    say: (text) => {
      other.say(text);
      appendFileSync(path, `${text}\n`);
    },
    begin: (what) => appendFileSync(progress, `${((performance.now() - start) / 1000).toFixed(1)} s: ${what}\n`),
  };
}
