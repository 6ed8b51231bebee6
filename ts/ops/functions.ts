// Element-wise functions of one operand, powers, and conversions between dtypes.

import { add, binary, div, mul, neg, sub } from "./arithmetic.ts";
import { floating } from "./checks.ts";
import { scalar, zeros } from "./create.ts";
import { equal, where } from "./selection.ts";
import type { Op, Sample } from "./types.ts";
import { defineOp } from "./types.ts";
import type { NoAttributes } from "./unary.ts";
import { fusedGradient, unary } from "./unary.ts";

const everyDType = ["float32", "float64", "int32"] as const;

/** A dense copy. */
export const copy: Op<NoAttributes> = unary("copy", (_, { gradient }) => gradient, { dtypes: everyDType, exact: true });
/** -1, 0 or 1; NaN stays NaN. */
export const sign: Op<NoAttributes> = unary("sign", (b, c) => zeros(b, c.outputType), { range: [0.1, 3], exact: true });
/** |x|. The gradient at 0 is 0. */
export const abs: Op<NoAttributes> = unary(
  "abs",
  (b, c) => b.apply(mul, [c.gradient, b.apply(sign, [c.input(0)], {})], {}),
  { keeps: "x", range: [0.1, 3], exact: true },
);
/** The largest whole number <= x. */
export const floor: Op<NoAttributes> = unary("floor", (b, c) => zeros(b, c.outputType), {
  range: [2.1, 2.9],
  exact: true,
});
/** The smallest whole number >= x. */
export const ceil: Op<NoAttributes> = unary("ceil", (b, c) => zeros(b, c.outputType), {
  range: [-2.9, -2.1],
  exact: true,
});
/** The nearest whole number, halves to the even one. */
export const round: Op<NoAttributes> = unary("round", (b, c) => zeros(b, c.outputType), {
  range: [2.6, 3.4],
  exact: true,
});
/** x^2. */
export const square: Op<NoAttributes> = unary(
  "square",
  (b, c) => b.apply(mul, [c.gradient, b.apply(mul, [c.input(0), scalar(b, c.outputType.dtype, 2)], {})], {}),
  { keeps: "x" },
);
/** Square root; NaN below 0. */
export const sqrt: Op<NoAttributes> = unary(
  "sqrt",
  (b, c) => b.apply(div, [c.gradient, b.apply(mul, [c.output(), scalar(b, c.outputType.dtype, 2)], {})], {}),
  { keeps: "y", range: [0.2, 4] },
);
/** 1 / sqrt(x); Infinity at 0, NaN below. */
export const rsqrt: Op<NoAttributes> = unary(
  "rsqrt",
  (b, c) => {
    const y = c.output();
    const half = b.apply(mul, [y, scalar(b, c.outputType.dtype, -0.5)], {});
    return b.apply(mul, [b.apply(mul, [c.gradient, half], {}), b.apply(square, [y], {})], {});
  },
  { keeps: "y", range: [0.2, 4] },
);
/** 1 / x. */
export const reciprocal: Op<NoAttributes> = unary(
  "reciprocal",
  (b, c) => b.apply(neg, [b.apply(mul, [c.gradient, b.apply(square, [c.output()], {})], {})], {}),
  { keeps: "y", range: [0.3, 3] },
);
/** e^x; overflows to Infinity, underflows through subnormals to 0. */
export const exp: Op<NoAttributes> = unary("exp", (b, c) => b.apply(mul, [c.gradient, c.output()], {}), { keeps: "y" });
/** e^x - 1, with all digits near 0. */
export const expm1: Op<NoAttributes> = unary(
  "expm1",
  (b, c) => b.apply(mul, [c.gradient, b.apply(add, [c.output(), scalar(b, c.outputType.dtype, 1)], {})], {}),
  { keeps: "y" },
);
/** Natural logarithm; log(0) = -Infinity, NaN below. */
export const log: Op<NoAttributes> = unary("log", (b, c) => b.apply(div, [c.gradient, c.input(0)], {}), {
  keeps: "x",
  range: [0.2, 4],
});
/** ln(1 + x), with all digits near 0; -Infinity at -1, NaN below. */
export const log1p: Op<NoAttributes> = unary(
  "log1p",
  (b, c) => b.apply(div, [c.gradient, b.apply(add, [c.input(0), scalar(b, c.outputType.dtype, 1)], {})], {}),
  { keeps: "x", range: [-0.8, 3] },
);
/** Sine of an angle in radians; NaN at the infinities. */
export const sin: Op<NoAttributes> = unary(
  "sin",
  (b, c) => b.apply(mul, [c.gradient, b.apply(cos, [c.input(0)], {})], {}),
  { keeps: "x", range: [-9, 9] },
);
/** Cosine of an angle in radians; NaN at the infinities. */
export const cos: Op<NoAttributes> = unary(
  "cos",
  (b, c) => b.apply(neg, [b.apply(mul, [c.gradient, b.apply(sin, [c.input(0)], {})], {})], {}),
  { keeps: "x", range: [-9, 9] },
);
/** The error function: 2 / sqrt(pi) times the integral of e^-u^2 from 0 to x. */
export const erf: Op<NoAttributes> = unary("erf", (b, c) => b.apply(erfGradient, [c.input(0), c.gradient], {}), {
  keeps: "x",
});
/** dy * 2 / sqrt(pi) e^-x^2. */
export const erfGradient: Op<NoAttributes> = fusedGradient("erfGradient", "x", [-3, 3]);

const powSamples: Sample<NoAttributes>[] = [
  {
    name: "same",
    inputs: [
      { shape: [3, 5, 7], range: [0.2, 3] },
      { shape: [3, 5, 7], range: [-3, 3] },
    ],
    attributes: {},
  },
  {
    name: "row",
    inputs: [
      { shape: [4, 9], range: [0.2, 3] },
      { shape: [9], range: [-3, 3] },
    ],
    attributes: {},
  },
  {
    name: "scalar left",
    inputs: [
      { shape: [], range: [0.2, 3] },
      { shape: [2, 3], range: [-3, 3] },
    ],
    attributes: {},
  },
  {
    name: "scalar right",
    inputs: [
      { shape: [33], range: [0.2, 3] },
      { shape: [], range: [1, 3] },
    ],
    attributes: {},
  },
];

/**
 * a ** b with the special cases of C's pow: 1 where b is 0 or a is 1, NaN for a negative a and a b that is not whole.
 * The gradient of b is 0 where a is 0.
 */
export const pow: Op<NoAttributes> = binary(
  "pow",
  { inputs: [0, 1], output: true },
  (b, c) => {
    const number = (value: number) => scalar(b, c.outputType.dtype, value);
    return [
      () => {
        // b a^(b - 1); where b is 0 the power must not be infinite at a = 0.
        const isZero = b.apply(equal, [c.input(1), number(0)], {});
        const exponent = b.apply(where, [isZero, c.input(1), b.apply(sub, [c.input(1), number(1)], {})], {});
        const slope = b.apply(mul, [c.input(1), b.apply(pow, [c.input(0), exponent], {})], {});
        return b.apply(mul, [c.gradient, slope], {});
      },
      () => {
        const isZero = b.apply(equal, [c.input(0), number(0)], {});
        const logarithm = b.apply(log, [b.apply(where, [isZero, number(1), c.input(0)], {})], {});
        return b.apply(mul, [c.gradient, b.apply(mul, [c.output(), logarithm], {})], {});
      },
    ];
  },
  { dtypes: floating, samples: powSamples },
);

/** Conversion between dtypes; to int32 truncates towards zero. */
export const cast: Op<{ readonly dtype: readonly ["float32", "int32", "float64"] }> = defineOp({
  name: "cast",
  inputs: ["x"],
  attributes: { dtype: ["float32", "int32", "float64"] },
  parts: ["element"],
  infer: ([x], { dtype }) => ({ shape: x!.shape, dtype }),
  gradient(b, { gradient, inputTypes, outputType }) {
    const from = inputTypes[0]!.dtype;
    if (from === "int32" || outputType.dtype === "int32") return [undefined];
    return [b.apply(cast, [gradient], { dtype: from })];
  },
  samples: [
    {
      name: "int32 to float32",
      inputs: [{ shape: [3, 5], dtype: "int32", range: [-1000, 1000] }],
      attributes: { dtype: "float32" },
    },
    { name: "float32 to int32", inputs: [{ shape: [37], range: [-100, 100] }], attributes: { dtype: "int32" } },
  ],
});
