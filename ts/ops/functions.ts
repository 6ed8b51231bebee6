// Element-wise functions of one operand, and the fused gradients of the activations.

import { div, mul } from "./arithmetic.ts";
import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import { fill } from "./create.ts";
import type { DType, GradientContext, Op, OpBuilder, Sample } from "./types.ts";
import { defineOp } from "./types.ts";

type NoAttributes = Record<never, never>;
type UnaryGradient = <V>(b: OpBuilder<V>, context: GradientContext<V, NoAttributes>) => V;

interface UnaryOptions {
  /** Which of x and y the gradient reads. */
  readonly keeps?: "x" | "y";
  /** Where samples are drawn: away from poles and kinks. */
  readonly range?: readonly [number, number];
  readonly dtypes?: readonly DType[];
  readonly exact?: boolean;
}

function unarySamples(range: readonly [number, number]): Sample<NoAttributes>[] {
  return [
    { name: "image", inputs: [{ shape: [2, 3, 5, 7], range }], attributes: {} },
    { name: "scalar", inputs: [{ shape: [], range }], attributes: {} },
    { name: "long", inputs: [{ shape: [3001], range }], attributes: {} },
  ];
}

function unary(name: string, rule: UnaryGradient, options: UnaryOptions = {}): Op<NoAttributes> {
  return defineOp<NoAttributes>({
    name,
    inputs: ["x"],
    attributes: {},
    exact: options.exact ?? false,
    infer([x]) {
      expectDType(name, "x", x!, options.dtypes ?? floating);
      return x!;
    },
    keeps: { inputs: options.keeps === "x" ? [0] : [], output: options.keeps === "y" },
    gradient: (b, context) => [rule(b, context)],
    samples: unarySamples(options.range ?? [-3, 3]),
  });
}

/** gradientOf(kept, dy): the gradient of an activation in one pass; `kept` is x or y as the activation says. */
function activationGradient(
  name: string,
  kept: "x" | "y",
  range: readonly [number, number],
  exact = false,
): Op<NoAttributes> {
  return defineOp<NoAttributes>({
    name,
    inputs: [kept, "dy"],
    attributes: {},
    exact,
    infer([value, dy]) {
      expectDType(name, kept, value!, floating);
      expectSameDType(name, [kept, "dy"], value!, dy!);
      expectShape(name, "dy", dy!, value!.shape, `as ${kept}`);
      return dy!;
    },
    samples: [
      { name: "image", inputs: [{ shape: [2, 3, 3, 5], range }, { shape: [2, 3, 3, 5] }], attributes: {} },
      { name: "long", inputs: [{ shape: [2003], range }, { shape: [2003] }], attributes: {} },
    ],
  });
}

const everyDType = ["float32", "float64", "int32"] as const;

/** A dense copy. */
export const copy: Op<NoAttributes> = unary("copy", (_, { gradient }) => gradient, { dtypes: everyDType, exact: true });
/** -1, 0 or 1; NaN stays NaN. */
export const sign: Op<NoAttributes> = unary(
  "sign",
  (b, { gradient, outputType }) => {
    const zero = b.apply(fill, [], { shape: [], dtype: outputType.dtype, value: 0 });
    return b.apply(mul, [gradient, zero], {});
  },
  { range: [0.1, 3], exact: true },
);
/** |x|. The gradient at 0 is 0. */
export const abs: Op<NoAttributes> = unary(
  "abs",
  (b, c) => b.apply(mul, [c.gradient, b.apply(sign, [c.input(0)], {})], {}),
  { keeps: "x", range: [0.1, 3], exact: true },
);
/** x^2. */
export const square: Op<NoAttributes> = unary(
  "square",
  (b, c) => {
    const two = b.apply(fill, [], { shape: [], dtype: c.outputType.dtype, value: 2 });
    return b.apply(mul, [c.gradient, b.apply(mul, [c.input(0), two], {})], {});
  },
  { keeps: "x" },
);
/** Square root; NaN below 0. */
export const sqrt: Op<NoAttributes> = unary(
  "sqrt",
  (b, c) => {
    const two = b.apply(fill, [], { shape: [], dtype: c.outputType.dtype, value: 2 });
    return b.apply(div, [c.gradient, b.apply(mul, [c.output(), two], {})], {});
  },
  { keeps: "y", range: [0.2, 4] },
);
/** e^x; overflows to Infinity, underflows through subnormals to 0. */
export const exp: Op<NoAttributes> = unary("exp", (b, c) => b.apply(mul, [c.gradient, c.output()], {}), { keeps: "y" });
/** Natural logarithm; log(0) = -Infinity, NaN below. */
export const log: Op<NoAttributes> = unary("log", (b, c) => b.apply(div, [c.gradient, c.input(0)], {}), {
  keeps: "x",
  range: [0.2, 4],
});

/** max(x, 0); NaN stays NaN. The gradient at 0 is 0. */
export const relu: Op<NoAttributes> = unary("relu", (b, c) => b.apply(reluGradient, [c.output(), c.gradient], {}), {
  keeps: "y",
  range: [-2, 2],
  exact: true,
});
/** dy where y > 0, else 0. */
export const reluGradient: Op<NoAttributes> = activationGradient("reluGradient", "y", [-1, 2], true);

/** 1 / (1 + e^-x). */
export const sigmoid: Op<NoAttributes> = unary(
  "sigmoid",
  (b, c) => b.apply(sigmoidGradient, [c.output(), c.gradient], {}),
  { keeps: "y", range: [-8, 8] },
);
/** dy * y * (1 - y). */
export const sigmoidGradient: Op<NoAttributes> = activationGradient("sigmoidGradient", "y", [0, 1]);

/** Hyperbolic tangent. */
export const tanh: Op<NoAttributes> = unary("tanh", (b, c) => b.apply(tanhGradient, [c.output(), c.gradient], {}), {
  keeps: "y",
  range: [-5, 5],
});
/** dy * (1 - y^2). */
export const tanhGradient: Op<NoAttributes> = activationGradient("tanhGradient", "y", [-1, 1]);

/** x * sigmoid(x), also called swish. */
export const silu: Op<NoAttributes> = unary("silu", (b, c) => b.apply(siluGradient, [c.input(0), c.gradient], {}), {
  keeps: "x",
  range: [-8, 8],
});
/** dy * s * (1 + x * (1 - s)), s = sigmoid(x). */
export const siluGradient: Op<NoAttributes> = activationGradient("siluGradient", "x", [-8, 8]);

/** Conversion between dtypes; to int32 truncates towards zero. */
export const cast: Op<{ readonly dtype: readonly ["float32", "int32", "float64"] }> = defineOp({
  name: "cast",
  inputs: ["x"],
  attributes: { dtype: ["float32", "int32", "float64"] },
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
