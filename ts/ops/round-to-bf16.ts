// The op that plans of precision "bf16" put in for device `cuda`. It is none of the instruction set that all devices have.

import { expectDType } from "./checks.ts";
import { defineOp } from "./types.ts";

/**
 * y = x with 8 bits of significand, ties to even, as products in bf16 round their operands. The result is a float32 tensor as
 * far as ops can tell; that memory holds it in 16 bits is the plan's doing.
 */
export const roundToBf16 = defineOp({
  name: "roundToBf16",
  inputs: ["x"],
  attributes: {},
  parts: ["element"],
  infer([x]) {
    expectDType("roundToBf16", "x", x!, ["float32"]);
    return { shape: x!.shape, dtype: "float32" };
  },
  samples: [],
});
