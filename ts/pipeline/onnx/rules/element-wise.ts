// Rules of element-wise ops: arithmetic, functions, activations, comparisons. They keep the order in which axes are stored.

import type { OnnxAttribute } from "../../../io/onnx/model.ts";
import type { OnnxGraph, OnnxValue } from "../graph.ts";
import { ourOrder } from "../graph.ts";
import type { Call, Rule, Rules } from "../rule.ts";
import type { Size } from "../size.ts";

/**
 * Operands as ONNX broadcasts them: with their axes stored in one order, that of the first which is of full rank and
 * stored otherwise than ours; those of lower rank get axes of one element for it.
 */
export function aligned(
  graph: OnnxGraph,
  inputs: readonly OnnxValue[],
  rank: number,
): { readonly operands: OnnxValue[]; readonly order: readonly number[] } {
  const full = inputs.filter(({ shape }) => shape.length === rank && shape.some((size) => size !== 1));
  const isMoved = ({ order, shape }: OnnxValue): boolean => {
    const moving = order.filter((axis) => shape[axis] !== 1);
    return moving.some((axis, i) => i > 0 && axis < moving[i - 1]);
  };
  const order = full.find(isMoved)?.order ?? ourOrder(rank);
  const inOurs = order.every((axis, k) => axis === k);
  const operands = inputs.map((input) => {
    const missing = rank - input.shape.length;
    if (input.shape.length === 0 || (inOurs && missing > 0)) return graph.ours(input);
    const raised =
      missing === 0 ? input : graph.reshape(input, [...new Array<number>(missing).fill(1), ...input.shape]);
    return graph.arranged(raised, order);
  });
  return { operands, order };
}

/** Arithmetic on values that broadcast: what rules of several nodes are written in. */
export class Formula {
  readonly graph: OnnxGraph;
  private readonly order: readonly number[];
  private readonly shape: readonly Size[];

  constructor(graph: OnnxGraph, shape: readonly Size[], order: readonly number[] = ourOrder(shape.length)) {
    this.graph = graph;
    this.order = order;
    this.shape = shape;
  }

  /** A node on operands, or numbers of float32, whose result has the formula's shape. */
  node(
    type: string,
    inputs: readonly (OnnxValue | number)[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    dtype: OnnxValue["dtype"] = "float32",
  ): OnnxValue {
    const operands = inputs.map((input) => (typeof input === "number" ? this.graph.scalar("float32", input) : input));
    return this.graph.node(type, operands, attributes, { dtype, shape: this.shape, order: this.order });
  }

  add = (a: OnnxValue | number, b: OnnxValue | number): OnnxValue => this.node("Add", [a, b]);
  sub = (a: OnnxValue | number, b: OnnxValue | number): OnnxValue => this.node("Sub", [a, b]);
  mul = (a: OnnxValue | number, b: OnnxValue | number): OnnxValue => this.node("Mul", [a, b]);
  div = (a: OnnxValue | number, b: OnnxValue | number): OnnxValue => this.node("Div", [a, b]);
  /** a where the boolean condition holds, b elsewhere. */
  where = (condition: OnnxValue, a: OnnxValue | number, b: OnnxValue | number): OnnxValue =>
    this.node("Where", [condition, a, b]);
}

/** A rule for the operands in one order. */
function inOneOrder<A>(formula: (f: Formula, inputs: readonly OnnxValue[], call: Call<A>) => OnnxValue): Rule<A> {
  return (graph, call) => {
    const { operands, order } = aligned(graph, call.inputs as readonly OnnxValue[], call.shape.length);
    return formula(new Formula(graph, call.shape, order), operands, call);
  };
}

/** The op is one of ONNX's. */
function same<A>(
  type: string,
  attributes: (given: A) => Readonly<Record<string, OnnxAttribute>> = () => ({}),
): Rule<A> {
  return inOneOrder((f, inputs, call) => f.node(type, inputs, attributes(call.attributes), call.dtype));
}

/** A comparison, whose booleans are our int32. */
function comparison<A>(type: string, negated = false): Rule<A> {
  return inOneOrder((f, inputs) => {
    const holds = f.node(type, inputs, {}, "bool");
    return f.graph.cast(negated ? f.node("Not", [holds], {}, "bool") : holds, "int32");
  });
}

/** A function of x as a formula. */
function formula<A>(of: (f: Formula, x: OnnxValue) => OnnxValue): Rule<A> {
  return inOneOrder((f, [x]) => of(f, x));
}

/** x times a sigmoid of something. */
const gated = (f: Formula, x: OnnxValue, inner: OnnxValue): OnnxValue => f.mul(x, f.node("Sigmoid", [inner]));

/** a / b in int32: 0 where b is 0, at which a processor would stop. */
function divided(f: Formula, a: OnnxValue, b: OnnxValue): OnnxValue {
  const [zero, one] = [f.graph.scalar("int32", 0), f.graph.scalar("int32", 1)];
  const isZero = f.node("Equal", [b, zero], {}, "bool");
  const quotient = f.node("Div", [a, f.node("Where", [isZero, one, b], {}, "int32")], {}, "int32");
  return f.node("Where", [isZero, zero, quotient], {}, "int32");
}

/** Clip, whose bounds are left out where they bound nothing. */
function clipped(f: Formula, x: OnnxValue, min: number, max: number, dtype: "float32" | "int32"): OnnxValue {
  const bound = (value: number): OnnxValue | undefined =>
    Math.abs(value) === Infinity ? undefined : f.graph.scalar(dtype, value);
  return f.graph.node("Clip", [x, bound(min), bound(max)], {}, x);
}

/** Rules of element-wise ops. */
export const elementWiseRules: Rules = {
  add: same("Add"),
  sub: same("Sub"),
  mul: same("Mul"),
  div: inOneOrder((f, [a, b], { dtype }) => (dtype === "int32" ? divided(f, a, b) : f.div(a, b))),
  pow: same("Pow"),
  neg: same("Neg"),
  maximum: same("Max"),
  minimum: same("Min"),

  copy: (_, { inputs: [x] }) => x!,
  cast: (graph, { inputs: [x], dtype }) => graph.cast(x!, dtype),
  sign: same("Sign"),
  abs: same("Abs"),
  floor: same("Floor"),
  ceil: same("Ceil"),
  round: same("Round"),
  square: formula((f, x) => f.mul(x, x)),
  sqrt: same("Sqrt"),
  rsqrt: formula((f, x) => f.node("Reciprocal", [f.node("Sqrt", [x])])),
  reciprocal: same("Reciprocal"),
  exp: same("Exp"),
  // tanh(x / 2) (e^x + 1), of which no part cancels near 0.
  expm1: formula((f, x) => f.mul(f.node("Tanh", [f.mul(x, 0.5)]), f.add(f.node("Exp", [x]), 1))),
  log: same("Log"),
  // log(u) x / (u - 1) with the rounded u = 1 + x, whose error cancels (Kahan; Goldberg 1991, theorem 4).
  log1p: formula((f, x) => {
    const u = f.add(x, 1);
    const isOne = f.node("Equal", [u, 1], {}, "bool");
    return f.where(isOne, x, f.mul(f.node("Log", [u]), f.div(x, f.sub(u, 1))));
  }),
  sin: same("Sin"),
  cos: same("Cos"),
  erf: same("Erf"),

  equal: comparison("Equal"),
  notEqual: comparison("Equal", true),
  less: comparison("Less"),
  lessEqual: comparison("LessOrEqual"),
  greater: comparison("Greater"),
  greaterEqual: comparison("GreaterOrEqual"),
  where: inOneOrder((f, [condition, a, b], { dtype }) =>
    f.node("Where", [f.graph.cast(condition, "bool"), a, b], {}, dtype),
  ),
  clamp: inOneOrder((f, [x], { attributes: { min, max }, dtype }) => clipped(f, x, min, max, dtype)),

  relu: same("Relu"),
  relu6: inOneOrder((f, [x]) => clipped(f, x, 0, 6, "float32")),
  leakyRelu: same("LeakyRelu", ({ slope }) => ({ alpha: { float: slope } })),
  elu: same("Elu", ({ alpha }) => ({ alpha: { float: alpha } })),
  sigmoid: same("Sigmoid"),
  tanh: same("Tanh"),
  silu: formula((f, x) => gated(f, x, x)),
  quickGelu: formula((f, x) => gated(f, x, f.mul(x, 1.702))),
  gelu: formula((f, x) => f.mul(f.mul(x, 0.5), f.add(f.node("Erf", [f.mul(x, Math.SQRT1_2)]), 1))),
  // (1 + tanh(u)) / 2 is the sigmoid of 2u.
  geluTanh: formula((f, x) => {
    const cubic = f.add(f.mul(f.mul(x, x), 0.044715), 1);
    return gated(f, x, f.mul(f.mul(x, cubic), 2 * Math.sqrt(2 / Math.PI)));
  }),
  softplus: same("Softplus"),
  mish: formula((f, x) => f.mul(x, f.node("Tanh", [f.node("Softplus", [x])]))),
};
