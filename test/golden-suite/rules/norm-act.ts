// The operations of golden/ops/norm_act: normalisations, activations, softmax, functions of one operand.

import { groupNorm, layerNorm, rmsNorm } from "langevin";
import type { Tensor } from "langevin";
import type { Rules } from "./rule.ts";
import { unary } from "./rule.ts";

/** PyTorch's channels are axis 1, ours the last. */
const channelsLast = (x: Tensor): Tensor => x.permute([0, ...x.shape.slice(2).map((_, i) => i + 2), 1]);
const channelsFirst = (x: Tensor): Tensor => x.permute([0, x.rank - 1, ...x.shape.slice(2).map((_, i) => i + 1)]);

export const normActRules: Rules = {
  group_norm: ({ inputs: { x, weight, bias }, params: { groups, eps: epsilon } }) =>
    channelsFirst(groupNorm(channelsLast(x), groups, weight, bias, { epsilon })),
  layer_norm: ({ inputs: { x, weight, bias }, params: { normalized_shape: shape, eps: epsilon } }) =>
    layerNorm(x, shape, weight, bias, { epsilon }),
  rms_norm: ({ inputs: { x, weight }, params: { eps: epsilon } }) => rmsNorm(x, weight.shape, weight, { epsilon }),
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
