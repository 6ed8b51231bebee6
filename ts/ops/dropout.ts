// Dropout: elements that are set to zero by chance while training.

import { ArgumentError } from "../errors/index.ts";
import { expectDType, floating } from "./checks.ts";
import { counter, expectCounter, perStepCounter } from "./create.ts";
import type { AttributesOf, Op } from "./types.ts";
import { defineOp } from "./types.ts";

const signature = { p: "float", ...counter } as const;

/**
 * y = x / (1 - p) where u >= p, else 0, with the u in [0, 1) that `rand` draws at the same place (Srivastava et al. 2014).
 * The gradient draws the same numbers again, so no mask is kept.
 */
export const dropout: Op<typeof signature> = defineOp({
  name: "dropout",
  inputs: ["x"],
  attributes: signature,
  perStep: perStepCounter,
  inPlace: [0],
  parts: ["element"],
  wholeImages: true,
  infer([x], { p, ...at }) {
    expectDType("dropout", "x", x!, floating);
    expectCounter("dropout", x!.shape, at);
    if (!(p >= 0 && p <= 1))
      throw new ArgumentError({ op: "dropout", problem: `p is ${p}, expected a probability from 0 to 1.` });
    return x!;
  },
  gradient: (b, { attributes, gradient }) => [b.apply(dropout, [gradient], attributes)],
  samples: [
    { name: "images", inputs: [{ shape: [3, 5, 7] }], attributes: at(0.5, 7n) },
    { name: "long rows", inputs: [{ shape: [2, 20011] }], attributes: at(0.1, 0xfedcba9876543210n) },
    { name: "vector", inputs: [{ shape: [130] }], attributes: at(0.3, 1n) },
    { name: "scalar", inputs: [{ shape: [] }], attributes: at(0.25, 4n) },
    { name: "nothing dropped", inputs: [{ shape: [2, 9] }], attributes: at(0, 1n) },
    { name: "all dropped", inputs: [{ shape: [2, 9] }], attributes: at(1, 1n) },
  ],
});

function at(p: number, seed: bigint): AttributesOf<typeof signature> {
  return { p, seed, draw: 257, image: 2, step: 9 };
}
