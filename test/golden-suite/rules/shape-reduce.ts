// The operations of golden/ops/shape_reduce: arithmetic, reductions, moving elements.

import { concat, tensor } from "langevin";
import type { Rule, Rules } from "./rule.ts";

const reduction =
  (method: "sum" | "mean"): Rule =>
  ({ inputs: { x }, params: { dim, keepdim } }) =>
    x[method](dim ?? undefined, { keepDims: keepdim });

const binary =
  (method: "add" | "sub" | "mul" | "div"): Rule =>
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
  sum: reduction("sum"),
  mean: reduction("mean"),
  sum_long: longSum,
  deep_chain: deepChain,
  cat: ({ inputs, params: { dim } }) => concat(Object.values(inputs), dim),
  permute: ({ inputs: { x }, params: { dims } }) => x.permute(dims),
  permute_reshape: ({ inputs: { x }, params: { dims, shape } }) => x.permute(dims).reshape(shape),
  expand: ({ inputs: { x }, params: { shape } }) => x.broadcastTo(shape),
  slice: ({ inputs: { x }, params }) => {
    const slices = params.slices as readonly (readonly [number | null, number | null, number])[];
    return x.slice(...slices.map(([start, stop, step], axis) => [start ?? 0, stop ?? x.shape[axis], step] as const));
  },
};
