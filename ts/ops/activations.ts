// Activations, with gradients in one pass where these are more than a cheap product.

import { mul } from "./arithmetic.ts";
import type { Op } from "./types.ts";
import type { Attributes, NoAttributes } from "./unary.ts";
import { fusedGradient, fusedGradientWith, unary, unaryWith } from "./unary.ts";

/** max(x, 0); NaN stays NaN. The gradient at 0 is 0. */
export const relu: Op<NoAttributes> = unary("relu", (b, c) => b.apply(reluGradient, [c.output(), c.gradient], {}), {
  keeps: "y",
  range: [-2, 2],
  exact: true,
});
/** dy where y > 0, else 0. */
export const reluGradient: Op<NoAttributes> = fusedGradient("reluGradient", "y", [-1, 2], true);

/** 1 / (1 + e^-x). */
export const sigmoid: Op<NoAttributes> = unary(
  "sigmoid",
  (b, c) => b.apply(sigmoidGradient, [c.output(), c.gradient], {}),
  { keeps: "y", range: [-8, 8] },
);
/** dy * y * (1 - y). */
export const sigmoidGradient: Op<NoAttributes> = fusedGradient("sigmoidGradient", "y", [0, 1]);

/** Hyperbolic tangent. */
export const tanh: Op<NoAttributes> = unary("tanh", (b, c) => b.apply(tanhGradient, [c.output(), c.gradient], {}), {
  keeps: "y",
  range: [-5, 5],
});
/** dy * (1 - y^2). */
export const tanhGradient: Op<NoAttributes> = fusedGradient("tanhGradient", "y", [-1, 1]);

/** x * sigmoid(x), also called swish; 0 at -Infinity. */
export const silu: Op<NoAttributes> = unary("silu", (b, c) => b.apply(siluGradient, [c.input(0), c.gradient], {}), {
  keeps: "x",
  range: [-8, 8],
});
/** dy * s * (1 + x * (1 - s)), s = sigmoid(x). */
export const siluGradient: Op<NoAttributes> = fusedGradient("siluGradient", "x", [-8, 8]);

/** min(max(x, 0), 6); NaN stays NaN. The gradient at 0 and 6 is 0. */
export const relu6: Op<NoAttributes> = unary("relu6", (b, c) => b.apply(relu6Gradient, [c.output(), c.gradient], {}), {
  keeps: "y",
  range: [-2, 8],
  exact: true,
});
/** dy where 0 < y < 6, else 0. */
export const relu6Gradient: Op<NoAttributes> = fusedGradient("relu6Gradient", "y", [-1, 8], true);

const slope: Attributes<{ readonly slope: "float" }> = { signature: { slope: "float" }, sample: { slope: 0.125 } };

/** x above 0, slope * x elsewhere. */
export const leakyRelu: Op<{ readonly slope: "float" }> = unaryWith(
  "leakyRelu",
  slope,
  (b, c) => b.apply(leakyReluGradient, [c.input(0), c.gradient], c.attributes),
  { keeps: "x" },
);
/** dy where x > 0, slope * dy elsewhere. */
export const leakyReluGradient: Op<{ readonly slope: "float" }> = fusedGradientWith(
  "leakyReluGradient",
  slope,
  "x",
  [-2, 2],
);

const alpha: Attributes<{ readonly alpha: "float" }> = { signature: { alpha: "float" }, sample: { alpha: 0.7 } };

/** x above 0, alpha * (e^x - 1) elsewhere. */
export const elu: Op<{ readonly alpha: "float" }> = unaryWith(
  "elu",
  alpha,
  (b, c) => b.apply(eluGradient, [c.input(0), c.gradient], c.attributes),
  { keeps: "x" },
);
/** dy where x > 0, dy * alpha * e^x elsewhere. */
export const eluGradient: Op<{ readonly alpha: "float" }> = fusedGradientWith("eluGradient", alpha, "x", [-5, 2]);

/** x * (1 + erf(x / sqrt(2))) / 2: x times the probability of less than x under the normal distribution; 0 at -Infinity. */
export const gelu: Op<NoAttributes> = unary("gelu", (b, c) => b.apply(geluGradient, [c.input(0), c.gradient], {}), {
  keeps: "x",
  range: [-6, 6],
});
/** dy * (P(x) + x p(x)), P and p the normal distribution and its density. */
export const geluGradient: Op<NoAttributes> = fusedGradient("geluGradient", "x", [-6, 6]);

/** x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2; 0 at -Infinity. */
export const geluTanh: Op<NoAttributes> = unary(
  "geluTanh",
  (b, c) => b.apply(geluTanhGradient, [c.input(0), c.gradient], {}),
  { keeps: "x", range: [-6, 6] },
);
/** dy * s * (1 + x * u' * (1 - s)), s = sigmoid(u), u = 2 sqrt(2 / pi) * (x + 0.044715 x^3). */
export const geluTanhGradient: Op<NoAttributes> = fusedGradient("geluTanhGradient", "x", [-6, 6]);

/** x * sigmoid(1.702 x); 0 at -Infinity. */
export const quickGelu: Op<NoAttributes> = unary(
  "quickGelu",
  (b, c) => b.apply(quickGeluGradient, [c.input(0), c.gradient], {}),
  { keeps: "x", range: [-6, 6] },
);
/** dy * s * (1 + z * (1 - s)), s = sigmoid(z), z = 1.702 x. */
export const quickGeluGradient: Op<NoAttributes> = fusedGradient("quickGeluGradient", "x", [-6, 6]);

/** ln(1 + e^x), with all digits on both sides. */
export const softplus: Op<NoAttributes> = unary(
  "softplus",
  (b, c) => b.apply(mul, [c.gradient, b.apply(sigmoid, [c.input(0)], {})], {}),
  { keeps: "x", range: [-8, 8] },
);

/** x * tanh(softplus(x)); 0 at -Infinity. */
export const mish: Op<NoAttributes> = unary("mish", (b, c) => b.apply(mishGradient, [c.input(0), c.gradient], {}), {
  keeps: "x",
  range: [-8, 8],
});
/** dy * (t + x * t'), t = tanh(softplus(x)). */
export const mishGradient: Op<NoAttributes> = fusedGradient("mishGradient", "x", [-8, 8]);
