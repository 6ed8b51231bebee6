// The text of arrays, compared with numpy's own for hundreds of them.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type { DType } from "langevin";
import { printArray, shownPositions } from "../../ts/tensor/print.ts";

/** One array and numpy's text of it; elements are separated by blanks. */
interface Case {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly elements: string;
  readonly text: string;
}

const { source, cases } = JSON.parse(readFileSync(join(import.meta.dirname, "printing.json"), "utf8")) as {
  source: string;
  cases: readonly Case[];
};

const special: Record<string, number> = { nan: NaN, inf: Infinity, "-inf": -Infinity };

/** The elements as the dtype holds them. */
function parseElements(elements: string, dtype: DType): number[] {
  const values = elements.split(" ").filter(Boolean).map((text) => special[text] ?? Number(text)); // prettier-ignore
  return dtype === "float32" ? values.map(Math.fround) : values;
}

describe(`printing as ${source.split(":")[0]} does`, () => {
  for (const dtype of ["float32", "float64", "int32"] as const)
    it(dtype, () => {
      const ofDType = cases.filter((one) => one.dtype === dtype);
      expect(ofDType).to.have.lengthOf.above(5);
      for (const { name, shape, elements, text } of ofDType) {
        const values = parseElements(elements, dtype);
        const shown = shownPositions(shape).map((position) => values[position]);
        expect(printArray(shown, shape, dtype, "tensor(".length), name).to.equal(text);
      }
    });
});
