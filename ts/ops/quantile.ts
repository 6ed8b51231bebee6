// Quantiles along the last axis.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { expectDType, floating } from "./checks.ts";
import type { Op } from "./types.ts";
import { defineOp } from "./types.ts";

/**
 * The value that a share q of the last axis lies below: of the sorted elements the one at q (n - 1), on the straight line
 * between its neighbours where that is no whole number (numpy's and PyTorch's "linear"). NaN if any element is NaN.
 */
export const quantile: Op<{ readonly q: "float" }> = defineOp({
  name: "quantile",
  inputs: ["x"],
  attributes: { q: "float" },
  withoutGradient: "it limits samples, and sampling is not trained through",
  infer([x], { q }) {
    expectDType("quantile", "x", x!, floating);
    if (x!.shape.length === 0 || x!.shape.at(-1) === 0)
      throw new ShapeError({
        op: "quantile",
        problem: `x has shape ${showShape(x!.shape)}, expected a last axis of at least one element.`,
      });
    if (!(q >= 0 && q <= 1))
      throw new ArgumentError({ op: "quantile", problem: `q is ${q}, expected a number from 0 to 1.` });
    return { shape: x!.shape.slice(0, -1), dtype: x!.dtype };
  },
  samples: [
    { name: "images", inputs: [{ shape: [3, 4, 37] }], attributes: { q: 0.995 } },
    { name: "between", inputs: [{ shape: [5, 10] }], attributes: { q: 0.25 } },
    { name: "least", inputs: [{ shape: [9, 7] }], attributes: { q: 0 } },
    { name: "greatest", inputs: [{ shape: [9, 7] }], attributes: { q: 1 } },
    { name: "one", inputs: [{ shape: [4, 1] }], attributes: { q: 0.5 } },
    { name: "long", inputs: [{ shape: [2_011] }], attributes: { q: 0.9 } },
  ],
});
