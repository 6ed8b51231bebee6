// The operations of golden/ops/linear: products, embeddings, attention.

import { embedding, linear } from "langevin";
import type { Rules } from "./rule.ts";

export const linearRules: Rules = {
  linear: ({ inputs: { x, weight, bias } }) => linear(x, weight.permute([1, 0]), bias),
  embedding: ({ inputs: { weight, index } }) => embedding(weight, index),
  matmul: ({ inputs: { a, b } }) => a.matmul(b),
};
