// Running sums and products along an axis.

import { expectDType, expectSameDType, expectShape, floating, resolveAxis } from "./checks.ts";
import type { Op, Sample } from "./types.ts";
import { defineOp } from "./types.ts";

type ScanSignature = { readonly axis: "int"; readonly reverse: "bool" };

/** y[i] = x[0] + ... + x[i] along `axis`; with `reverse` x[i] + ... + x[n - 1]. int32 wraps around. */
export const cumsum: Op<ScanSignature> = defineOp({
  name: "cumsum",
  inputs: ["x"],
  attributes: { axis: "int", reverse: "bool" },
  infer([x], { axis }) {
    resolveAxis("cumsum", axis, x!.shape.length);
    return x!;
  },
  gradient: (b, { gradient, attributes: { axis, reverse } }) => [
    b.apply(cumsum, [gradient], { axis, reverse: !reverse }),
  ],
  samples: [
    { name: "last", inputs: [{ shape: [3, 4, 37] }], attributes: { axis: -1, reverse: false } },
    { name: "first, reverse", inputs: [{ shape: [50, 3] }], attributes: { axis: 0, reverse: true } },
    { name: "middle", inputs: [{ shape: [2, 9, 3, 5] }], attributes: { axis: 1, reverse: false } },
    { name: "wide", inputs: [{ shape: [2, 5, 700] }], attributes: { axis: 1, reverse: true } },
    { name: "long", inputs: [{ shape: [701] }], attributes: { axis: 0, reverse: true } },
    {
      name: "int32",
      inputs: [{ shape: [4, 33], dtype: "int32", range: [-9, 9] }],
      attributes: { axis: 1, reverse: false },
    },
  ],
});

/** Factors near 1, so that products of many stay in range. */
const productShapes = [
  { name: "last", shape: [3, 4, 17], axis: -1 },
  { name: "first", shape: [20, 3], axis: 0 },
  { name: "middle", shape: [2, 9, 3, 5], axis: 1 },
  { name: "wide", shape: [2, 5, 700], axis: 1 },
] as const;

function productSamples(inputs: number): Sample<{ readonly axis: number }>[] {
  return productShapes.map(({ name, shape, axis }) => ({
    name,
    inputs: [{ shape, range: [0.7, 1.3] as const }, { shape }].slice(0, inputs),
    attributes: { axis },
  }));
}

/** y[i] = x[0] x[1] ... x[i] along `axis`. */
export const cumprod: Op<{ readonly axis: "int" }> = defineOp({
  name: "cumprod",
  inputs: ["x"],
  attributes: { axis: "int" },
  infer([x], { axis }) {
    expectDType("cumprod", "x", x!, floating);
    resolveAxis("cumprod", axis, x!.shape.length);
    return x!;
  },
  keeps: { inputs: [0] },
  gradient: (b, c) => [b.apply(cumprodGradient, [c.input(0), c.gradient], c.attributes)],
  samples: productSamples(1),
});

/**
 * dx[i] = x[0] ... x[i - 1] s[i] with s[i] = dy[i] + x[i + 1] s[i + 1]: no division, so that zeros need no special
 * care.
 */
export const cumprodGradient: Op<{ readonly axis: "int" }> = defineOp({
  name: "cumprodGradient",
  inputs: ["x", "dy"],
  attributes: { axis: "int" },
  infer([x, dy], { axis }) {
    expectDType("cumprodGradient", "x", x!, floating);
    expectSameDType("cumprodGradient", ["x", "dy"], x!, dy!);
    expectShape("cumprodGradient", "dy", dy!, x!.shape, "as x");
    resolveAxis("cumprodGradient", axis, x!.shape.length);
    return x!;
  },
  terms: ([x], { axis }) => x!.shape[resolveAxis("cumprodGradient", axis, x!.shape.length)],
  samples: productSamples(2),
});
