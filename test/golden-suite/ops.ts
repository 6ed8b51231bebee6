// Cases of single operations with their gradients, in PyTorch's layouts.

import type { Tensor } from "langevin";
import { concat, conv2d, convTranspose2d, embedding, linear, maxPool2d, mse, scope, tensor } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import type { Setting } from "./suite.ts";

/** Inputs by PyTorch's names, and the parameters of the case. */
interface Given {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly params: Readonly<Record<string, never>>;
}

/** An operation on PyTorch layouts; undefined where this library does not have it (then the case is skipped). */
type Rule = (given: Given) => Tensor | Record<string, Tensor> | undefined;

const toNHWC = (x: Tensor): Tensor => x.permute([0, 2, 3, 1]);
const toNCHW = (x: Tensor): Tensor => x.permute([0, 3, 1, 2]);
const fromOIHW = (w: Tensor): Tensor => w.permute([2, 3, 1, 0]);
/** PyTorch's transposed convolution has [in, out, kh, kw], ours [kh, kw, out, in]. */
const fromIOHW = (w: Tensor): Tensor => w.permute([2, 3, 1, 0]);

const convolution: Rule = ({ inputs: { x, weight, bias }, params }) => {
  if ((params.groups ?? 1) !== 1) return undefined;
  const { stride, padding, dilation = 1 } = params;
  return toNCHW(conv2d(toNHWC(x), fromOIHW(weight), bias, { stride, padding, dilation }));
};

const padThenConvolution: Rule = ({ inputs: { x, weight, bias }, params: p }) => {
  if (p.pad_value !== 0 || p.padding !== 0) return undefined;
  const padding = [p.pad_top, p.pad_bottom, p.pad_left, p.pad_right] as const;
  return toNCHW(conv2d(toNHWC(x), fromOIHW(weight), bias, { stride: p.stride, padding }));
};

const transposedConvolution: Rule = ({ inputs: { x, weight, bias }, params }) => {
  const { stride, padding, output_padding: outputPadding } = params;
  return toNCHW(convTranspose2d(toNHWC(x), fromIOHW(weight), bias, { stride, padding, outputPadding }));
};

const reduction =
  (method: "sum" | "mean"): Rule =>
  ({ inputs: { x }, params: { dim, keepdim } }) =>
    x[method](dim ?? undefined, { keepDims: keepdim });

const unary =
  (method: "relu" | "silu" | "sigmoid" | "tanh" | "exp" | "log" | "sqrt" | "square" | "abs" | "neg"): Rule =>
  ({ inputs: { x } }) =>
    x[method]();

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

const rules: Readonly<Record<string, Rule>> = {
  conv2d: convolution,
  pad_then_conv2d: padThenConvolution,
  conv_transpose2d: transposedConvolution,
  max_pool2d: ({ inputs: { x }, params: { kernel, stride, padding = 0 } }) =>
    toNCHW(maxPool2d(toNHWC(x), kernel, { stride, padding })),
  linear: ({ inputs: { x, weight, bias } }) => (x.rank === 0 ? undefined : linear(x, weight.permute([1, 0]), bias)),
  embedding: ({ inputs: { weight, index } }) => embedding(weight, index),
  matmul: ({ inputs: { a, b } }) => (a.rank === 2 && b.rank === 2 ? a.matmul(b) : undefined),
  transpose_matmul: ({ inputs: { x } }) => (x.rank === 2 ? x.matmul(x.transpose()) : undefined),
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul"),
  div: binary("div"),
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
  mse_loss: ({ inputs: { pred, target }, params }) => mse(pred, target, params.reduction),
};

interface OpCase {
  readonly op: string;
  readonly params: Readonly<Record<string, never>>;
  readonly inputs: Readonly<Record<string, string>>;
  readonly differentiable?: readonly string[];
  readonly cotangents?: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly outputs_f64?: Readonly<Record<string, string>>;
  readonly grads?: Readonly<Record<string, string>>;
  readonly grads_f64?: Readonly<Record<string, string>>;
  readonly tolerance: Tolerance;
}

/** In float64 the float64 reference must be met to this. */
const exact: Tolerance = { rtol: 1e-9, atol: 1e-9 };

/** Runs a case of `golden/ops`; false when the operation, or this form of it, is not supported. */
export async function runOpCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const { op, params, inputs, ...c } = given as unknown as OpCase;
  const rule = rules[op];
  if (!rule) return false;
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, key]) => [name, setting.tensor(data.read(key))]),
  );
  for (const name of c.differentiable ?? []) values[name].requireGrad();
  const results = scope(() => rule({ inputs: values, params }));
  if (!results) return false;
  const outputs = "shape" in results ? { out: results as Tensor } : results;
  const tolerance = setting.dtype === "float64" ? exact : c.tolerance;
  const reference = (
    plain: Readonly<Record<string, string>>,
    f64: Readonly<Record<string, string>> | undefined,
    name: string,
  ): Numbers => data.read(f64?.[name] ?? plain[`${name}_f64`] ?? plain[name]);
  for (const [name, output] of Object.entries(outputs))
    expectClose(name, await setting.numbers(output), reference(c.outputs, c.outputs_f64, name), tolerance);
  for (const [name, key] of Object.entries(c.cotangents ?? {})) outputs[name].backward(setting.tensor(data.read(key)));
  for (const name of c.differentiable ?? []) {
    const gradient = values[name].grad;
    if (!gradient) throw new Error(`no gradient reached ${name}`);
    expectClose(
      `grad.${name}`,
      await setting.numbers(gradient),
      reference(c.grads ?? {}, c.grads_f64, name),
      tolerance,
    );
  }
  return true;
}
