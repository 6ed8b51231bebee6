// Rules of normalisation.

import type { OnnxGraph, OnnxValue } from "../graph.ts";
import { channelsFirst } from "../graph.ts";
import type { Rules } from "../rule.ts";
import { fixed } from "../rule.ts";
import type { Size } from "../size.ts";
import { Formula } from "./element-wise.ts";

/** z weight + bias. */
function scaled(f: Formula, z: OnnxValue, weight: OnnxValue | undefined, bias: OnnxValue | undefined): OnnxValue {
  const product = weight ? f.mul(z, weight) : z;
  return bias ? f.add(product, bias) : product;
}

const square = (f: Formula, x: OnnxValue): OnnxValue => f.mul(x, x);

/** The mean over the last axes, which stay as axes of one element. */
function mean(graph: OnnxGraph, x: OnnxValue, axes: readonly number[]): OnnxValue {
  const shape = x.shape.map((size, axis): Size => (axes.includes(axis) ? 1 : size));
  return graph.node("ReduceMean", [x, graph.positions(axes)], { keepdims: 1 }, { dtype: "float32", shape });
}

/** Rules of normalisation. */
export const normRules: Rules = {
  // Each group's channels and pixels as one row: what InstanceNormalization normalises.
  groupNorm: (graph, { inputs: [x, weight, bias], attributes: { groups, epsilon }, shape }) => {
    const order = channelsFirst(shape.length);
    const stored = graph.stored(graph.arranged(x!, order));
    const [batch, ...rest] = stored.shape;
    const inner = fixed("groupNorm", "size", rest).reduce((product, n) => product * n, 1);
    const rows = graph.reshape(stored, [batch, groups, inner / groups]);
    const ones = graph.numbers("float32", new Array<number>(groups).fill(1));
    const zeros = graph.numbers("float32", new Array<number>(groups).fill(0));
    const z = graph.node("InstanceNormalization", [rows, ones, zeros], { epsilon: { float: epsilon } }, rows);
    const column = (values: OnnxValue | undefined): OnnxValue | undefined =>
      values && graph.reshape(values, [...rest.slice(0, 1), ...rest.slice(1).map(() => 1)]);
    const f = new Formula(graph, stored.shape);
    return graph.meaning(scaled(f, graph.reshape(z, stored.shape), column(weight), column(bias)), order);
  },

  layerNorm: (graph, { inputs: [given, weight, bias], attributes: { axes, epsilon, center }, shape }) => {
    const x = graph.ours(given!);
    const last = shape.map((_, axis) => axis).slice(shape.length - axes);
    const f = new Formula(graph, shape);
    const deviation = center ? f.sub(x, mean(graph, x, last)) : x;
    const variance = mean(graph, square(f, deviation), last);
    const rows = new Formula(graph, variance.shape);
    const root = rows.node("Sqrt", [rows.add(variance, epsilon)]);
    return scaled(f, f.div(deviation, root), weight && graph.ours(weight), bias && graph.ours(bias));
  },
};
