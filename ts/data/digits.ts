// The 1,797 handwritten digits of 8x8 pixels that come with the package (data/README.md says from where).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { packageRoot } from "../device/native/addon.ts";
import { FormatError } from "../errors/index.ts";
import type { ImageSetOptions } from "./image-set.ts";
import { ImageSet } from "./image-set.ts";

const [size, highestGrey, classes] = [8, 16, 10];
const pixels = size * size;

/** The digits [1797, 8, 8, 1] with their labels: background -1, ink up to 1. */
export function digits(): ImageSet {
  const file = join(packageRoot(), "data", "digits.csv.gz");
  return new ImageSet(parseDigits(unzip(file), file));
}

function unzip(file: string): string {
  try {
    return gunzipSync(readFileSync(file)).toString("latin1");
  } catch (cause) {
    const problem = `${file} cannot be read (${(cause as Error).message}).`;
    throw new FormatError({ op: "digits", problem, advice: "It comes with the package: reinstall.", cause });
  }
}

/** Reads lines of 64 grey levels 0..16, row by row, and the label. */
export function parseDigits(csv: string, file: string): Required<ImageSetOptions> {
  const lines = csv.split("\n").filter((line) => line !== "");
  const images = new Float32Array(lines.length * pixels);
  const labels = new Int32Array(lines.length);
  lines.forEach((line, n) => {
    const numbers = line.split(",").map((text) => (text === "" ? NaN : Number(text)));
    const label = numbers[pixels];
    const isGrey = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= highestGrey;
    const isLabel = Number.isInteger(label) && label >= 0 && label < classes;
    if (numbers.length !== pixels + 1 || !numbers.slice(0, pixels).every(isGrey) || !isLabel)
      throw new FormatError({
        op: "digits",
        problem: `line ${n + 1} of ${file} is not 64 grey levels from 0 to 16 and a label from 0 to 9.`,
      });
    for (let i = 0; i < pixels; i++) images[n * pixels + i] = (numbers[i] / highestGrey) * 2 - 1;
    labels[n] = label;
  });
  return { images, labels, shape: [lines.length, size, size, 1] };
}
