// The operations of golden/ops/shape_reduce: arithmetic, reductions, moving elements.

import { concat, stack, tensor, where } from "langevin";
import type { Tensor } from "langevin";
import type { Rule, Rules } from "./rule.ts";

const reduction =
  (method: "sum" | "mean" | "max" | "min" | "logSumExp"): Rule =>
  ({ inputs: { x }, params: { dim, keepdim } }) =>
    x[method](dim ?? undefined, { keepDims: keepdim });

const spread =
  (method: "var" | "std"): Rule =>
  ({ inputs: { x }, params: { dim, keepdim, unbiased } }) =>
    x[method](dim, { keepDims: keepdim, correction: unbiased ? 1 : 0 });

const pieces = (parts: readonly Tensor[]): Record<string, Tensor> =>
  Object.fromEntries(parts.map((part, i) => [`out${i}`, part]));

const binary =
  (method: "add" | "sub" | "mul" | "div" | "maximum" | "minimum"): Rule =>
  ({ inputs: { a, b } }) =>
    a[method](b);

/** The sum of a long vector that the case describes in words. */
const longSum: Rule = ({ params: { n } }) => {
  const values = Float32Array.from(
    { length: n },
    (_, i) => Math.fround(0.1) + Math.fround((i % 7) * Math.fround(0.01)),
  );
  return { sum: tensor(values).sum().reshape([1]) };
};

const deepChain: Rule = ({ inputs: { x } }) => {
  let y = x;
  for (let i = 0; i < 50; i++) y = y.mul(1.1).add(0.1).tanh();
  return y;
};

export const shapeReduceRules: Rules = {
  transpose_matmul: ({ inputs: { x } }) => x.transpose().matmul(x),
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul"),
  div: binary("div"),
  maximum: binary("maximum"),
  minimum: binary("minimum"),
  where: ({ inputs: { a, b, cond } }) => where(cond, a, b),
  masked_fill: ({ inputs: { x, mask }, params: { value } }) => x.maskedFill(mask, value),
  sum: reduction("sum"),
  mean: reduction("mean"),
  max: reduction("max"),
  min: reduction("min"),
  logsumexp: reduction("logSumExp"),
  var: spread("var"),
  std: spread("std"),
  norm: ({ inputs: { x }, params: { p, dim, keepdim } }) => x.norm(dim, { p, keepDims: keepdim }),
  argmax: ({ inputs: { x }, params: { dim } }) => x.argmax(dim),
  argmin: ({ inputs: { x }, params: { dim } }) => x.argmin(dim),
  cumsum: ({ inputs: { x }, params: { dim } }) => x.cumsum(dim),
  cumprod: ({ inputs: { x }, params: { dim } }) => x.cumprod(dim),
  sum_long: longSum,
  deep_chain: deepChain,
  reuse: ({ inputs: { x } }) => x.square().add(x.sum().mul(x)).add(x.sin()),
  cat: ({ inputs, params: { dim } }) => concat(Object.values(inputs), dim),
  stack: ({ inputs, params: { dim } }) => stack(Object.values(inputs), dim),
  chunk: ({ inputs: { x }, params: { chunks, dim } }) => pieces(x.chunk(chunks, dim)),
  split: ({ inputs: { x }, params: { sizes, dim } }) => pieces(x.split(sizes, dim)),
  flip: ({ inputs: { x }, params: { dims } }) => x.flip(dims),
  roll: ({ inputs: { x }, params: { shift, dim } }) => x.roll(shift, dim),
  repeat: ({ inputs: { x }, params: { repeats } }) => x.repeat(repeats),
  repeat_interleave: ({ inputs: { x }, params: { repeats, dim } }) => x.repeatInterleave(repeats, dim),
  tril: ({ inputs: { x }, params: { diagonal } }) => x.tril(diagonal),
  gather: ({ inputs: { x, index }, params: { dim } }) => x.gather(dim, index),
  index_select: ({ inputs: { x, index }, params: { dim } }) => x.indexSelect(dim, index),
  permute: ({ inputs: { x }, params: { dims } }) => x.permute(dims),
  permute_reshape: ({ inputs: { x }, params: { dims, shape } }) => x.permute(dims).reshape(shape),
  expand: ({ inputs: { x }, params: { shape } }) => x.broadcastTo(shape),
  slice: ({ inputs: { x }, params }) => {
    const slices = params.slices as readonly (readonly [number | null, number | null, number])[];
    return x.slice(...slices.map(([start, stop, step], axis) => [start ?? 0, stop ?? x.shape[axis], step] as const));
  },
};
