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
  softmax: ({ inputs: { x }, params: { dim } }) => x.softmax(dim),
  log_softmax: ({ inputs: { x }, params: { dim } }) => x.logSoftmax(dim),
};
