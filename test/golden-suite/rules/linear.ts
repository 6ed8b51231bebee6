// The operations of golden/ops/linear: products, embeddings, attention.

import { einsum, embedding, linear, scaledDotProductAttention } from "langevin";
import type { Rules } from "./rule.ts";

export const linearRules: Rules = {
  linear: ({ inputs: { x, weight, bias } }) => linear(x, weight.permute([1, 0]), bias),
  embedding: ({ inputs: { weight, index } }) => embedding(weight, index),
  matmul: ({ inputs: { a, b } }) => a.matmul(b),
  einsum: ({ inputs: { a, b }, params: { equation } }) => einsum(equation, a, b),
  scaled_dot_product_attention: ({ inputs: { q, k, v, mask }, params: { scale, causal } }) =>
    scaledDotProductAttention(q, k, v, { mask, scale, causal }),
};
