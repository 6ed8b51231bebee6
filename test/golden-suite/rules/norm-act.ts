// The operations of golden/ops/norm_act: normalisations, activations, softmax, functions of one operand.

import type { Rules } from "./rule.ts";
import { unary } from "./rule.ts";

export const normActRules: Rules = {
  relu: unary("relu"),
  silu: unary("silu"),
  sigmoid: unary("sigmoid"),
  tanh: unary("tanh"),
  exp: unary("exp"),
  log: unary("log"),
  sqrt: unary("sqrt"),
  square: unary("square"),
  abs: unary("abs"),
  neg: unary("neg"),
  rsqrt: unary("rsqrt"),
  reciprocal: unary("reciprocal"),
  sin: unary("sin"),
  cos: unary("cos"),
  erf: unary("erf"),
  log1p: unary("log1p"),
  expm1: unary("expm1"),
  pow: ({ inputs: { x }, params: { exponent } }) => x.pow(exponent),
  clamp: ({ inputs: { x }, params: { min, max } }) => x.clamp({ min, max }),
  gelu_erf: ({ inputs: { x } }) => x.gelu(),
  gelu_tanh: ({ inputs: { x } }) => x.gelu({ approximate: "tanh" }),
  quick_gelu: unary("quickGelu"),
  softplus: unary("softplus"),
  mish: unary("mish"),
  elu: ({ inputs: { x } }) => x.elu(),
  leaky_relu: ({ inputs: { x } }) => x.leakyRelu({ slope: 0.2 }),
  relu6: unary("relu6"),
  softmax: ({ inputs: { x }, params: { dim } }) => x.softmax(dim),
  log_softmax: ({ inputs: { x }, params: { dim } }) => x.logSoftmax(dim),
};
