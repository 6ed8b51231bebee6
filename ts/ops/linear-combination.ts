// A sum of tensors, each times a coefficient: what every step of a sampler comes down to.

import { ShapeError, showShape } from "../errors/index.ts";
import { mul, reshape } from "./arithmetic.ts";
import { expectDType, expectRank, expectSameDType, expectShape, floating } from "./checks.ts";
import { slice } from "./shape.ts";
import type { Op } from "./types.ts";
import { defineOp } from "./types.ts";

/** Most tensors in one sum: kernels keep a place for each. */
export const mostTerms = 8;

const termInputs = Array.from({ length: mostTerms }, (_, k) => k + 1);

/**
 * y = coefficients[0] x[0] + coefficients[1] x[1] + ... of tensors of one shape, added in this order. The coefficients [n]
 * are a tensor, such as a row of a table, since they differ from step to step.
 */
export const linearCombination: Op<Record<never, never>> = defineOp({
  name: "linearCombination",
  inputs: ["coefficients", "x..."],
  attributes: {},
  inPlace: termInputs,
  parts: ["whole", "element"],
  infer([coefficients, ...terms]) {
    const [first] = terms;
    expectRank("linearCombination", "coefficients", coefficients!, 1, "[n]");
    expectDType("linearCombination", "coefficients", coefficients!, floating);
    terms.forEach((x, k) => {
      expectSameDType("linearCombination", ["coefficients", `x[${k}]`], coefficients!, x!);
      expectShape("linearCombination", `x[${k}]`, x!, first!.shape, "as x[0]");
    });
    if (coefficients!.shape[0] !== terms.length || terms.length > mostTerms)
      throw new ShapeError({
        op: "linearCombination",
        problem: `coefficients have shape ${showShape(coefficients!.shape)} for ${terms.length} tensors.`,
        advice: `Expected one for each, and at most ${mostTerms}.`,
      });
    return first!;
  },
  keeps: { inputs: [0] },
  constants: [0],
  terms: (inputs) => inputs.length - 1,
  gradient: (b, c) =>
    c.inputTypes.map((_, k) => {
      if (k === 0 || !c.needs(k)) return undefined;
      const one = b.apply(slice, [c.input(0)], { starts: [k - 1], stops: [k], steps: [1] });
      return b.apply(mul, [c.gradient, b.apply(reshape, [one], { shape: [] })], {});
    }),
  samples: [
    {
      name: "images",
      inputs: [{ shape: [3] }, { shape: [5, 4, 4, 3] }, { shape: [5, 4, 4, 3] }, { shape: [5, 4, 4, 3] }],
      attributes: {},
    },
    { name: "one, odd", inputs: [{ shape: [1] }, { shape: [7, 37] }], attributes: {} },
    { name: "scalars", inputs: [{ shape: [2] }, { shape: [] }, { shape: [] }], attributes: {} },
    { name: "long", inputs: [{ shape: [2] }, { shape: [16_411] }, { shape: [16_411] }], attributes: {} },
    { name: "most", inputs: [{ shape: [mostTerms] }, ...termInputs.map(() => ({ shape: [3, 19] }))], attributes: {} },
  ],
});
