// Rules of what combines elements along axes: reductions, running sums and products, softmax, losses.

import type { OnnxGraph, OnnxValue, ResultType } from "../graph.ts";
import type { Rule, Rules } from "../rule.ts";
import { fixed, fixedSize, storedAxes } from "../rule.ts";
import type { Size } from "../size.ts";
import { Formula, aligned } from "./element-wise.ts";

interface Reduction {
  readonly axes: readonly Size[];
  readonly keepDims: boolean;
}

/** Type and order of x reduced over stored axes. */
function reducedType(x: OnnxValue, axes: readonly number[], keepDims: boolean): ResultType {
  const { dtype, order } = x;
  const gone = axes.map((axis) => order[axis]);
  if (keepDims) return { dtype, order, shape: x.shape.map((size, axis) => (gone.includes(axis) ? 1 : size)) };
  const kept = order.filter((axis) => !gone.includes(axis));
  return {
    dtype,
    shape: x.shape.filter((_, axis) => !gone.includes(axis)),
    order: kept.map((axis) => kept.filter((other) => other < axis).length),
  };
}

/** One of ONNX's reductions; over no axes, where it has nothing to do, x itself as `alone` maps it. */
function reduced(
  graph: OnnxGraph,
  type: string,
  x: OnnxValue,
  { axes, keepDims }: Reduction,
  alone: (x: OnnxValue) => OnnxValue = (value) => value,
): OnnxValue {
  if (axes.length === 0) return alone(x);
  const stored = storedAxes(x, fixed(type, "axes", axes));
  const attributes = { keepdims: keepDims ? 1 : 0 };
  return graph.node(type, [x, graph.positions(stored)], attributes, reducedType(x, stored, keepDims));
}

function reduction(type: string, alone?: (graph: OnnxGraph, x: OnnxValue) => OnnxValue): Rule<Reduction> {
  return (graph, { inputs: [x], attributes }) =>
    reduced(graph, type, x!, attributes, alone && ((value) => alone(graph, value)));
}

/** The place of the largest or the smallest element along one axis. */
function placeOfExtreme(type: string): Rule<{ readonly axis: number; readonly keepDims: boolean }> {
  return (graph, { inputs: [x], attributes: { axis, keepDims } }) => {
    const stored = storedAxes(x!, [axis]);
    const result = { ...reducedType(x!, stored, keepDims), dtype: "int64" } as const;
    const place = graph.node(type, [x], { axis: stored[0], keepdims: keepDims ? 1 : 0 }, result);
    return graph.cast(place, "int32");
  };
}

/** A function along one axis that keeps the shape. */
function alongAxis(type: string): Rule<{ readonly axis: number }> {
  return (graph, { inputs: [x], attributes: { axis } }) =>
    graph.node(type, [x], { axis: storedAxes(x!, [axis])[0] }, x!);
}

/** Deviations from the mean over some axes. */
function deviations(graph: OnnxGraph, x: OnnxValue, axes: readonly Size[]): OnnxValue {
  const mean = reduced(graph, "ReduceMean", x, { axes, keepDims: true });
  return new Formula(graph, x.shape, x.order).sub(x, mean);
}

/** Rules of reductions and what is like them. */
export const reductionRules: Rules = {
  sum: reduction("ReduceSum"),
  mean: reduction("ReduceMean"),
  max: reduction("ReduceMax"),
  min: reduction("ReduceMin"),
  logSumExp: reduction("ReduceLogSumExp"),
  norm: reduction("ReduceL2", (graph, x) => graph.node("Abs", [x], {}, x)),
  argmax: placeOfExtreme("ArgMax"),
  argmin: placeOfExtreme("ArgMin"),

  variance: (graph, { inputs: [x], attributes: { axes, keepDims, correction }, shape }) => {
    const deviation = deviations(graph, x!, axes);
    const squares = new Formula(graph, x!.shape, x!.order).mul(deviation, deviation);
    if (correction === 0) return reduced(graph, "ReduceMean", squares, { axes, keepDims });
    const sum = reduced(graph, "ReduceSum", squares, { axes, keepDims });
    const sizes = fixed("variance", "axes", axes).map((axis) => x!.shape.at(axis)!);
    const terms = fixed("variance", "number of terms", sizes).reduce((product, n) => product * n, 1);
    return new Formula(graph, shape, sum.order).div(sum, Math.max(0, terms - correction));
  },

  cumsum: (graph, { inputs: [x], attributes: { axis, reverse } }) => {
    const along = graph.scalar("int32", storedAxes(x!, [axis])[0]);
    return graph.node("CumSum", [x, along], { reverse: reverse ? 1 : 0 }, x!);
  },

  // ONNX has no running product. After k rounds each element is the product of 2^k elements up to it (Hillis and Steele 1986).
  cumprod: (graph, { inputs: [x], attributes: { axis } }) => {
    const rank = x!.shape.length;
    const [along] = storedAxes(x!, [axis]);
    const length = fixedSize("cumprod", "axis", x!.shape.at(axis)!);
    const f = new Formula(graph, x!.shape, x!.order);
    let product = x!;
    for (let shift = 1; shift < length; shift *= 2) {
      const pads = Array.from({ length: 2 * rank }, (_, i) => (i === along ? shift : i === along + rank ? -shift : 0));
      const shifted = f.node("Pad", [product, graph.positions(pads), 1]);
      product = f.mul(product, shifted);
    }
    return product;
  },

  // The largest of each line in falling order, as many as it takes to get down to the two that q lies between.
  quantile: (graph, { inputs: [x], attributes: { q }, shape, dtype }) => {
    const length = fixedSize("quantile", "last axis", x!.shape.at(-1)!);
    const position = q * (length - 1);
    const below = Math.floor(position);
    const count = length - below;
    const lines = graph.ours(x!);
    const sorted = { dtype, shape: [...shape, count] };
    const top = graph.node("TopK", [lines, graph.positions([count])], { axis: -1, largest: 1, sorted: 1 }, sorted, 2);
    const at = (place: number): OnnxValue => graph.picked(top, shape.length, place, { dtype, shape });
    const lower = at(count - 1);
    if (position === below) return lower;
    const f = new Formula(graph, shape);
    return f.add(lower, f.mul(f.sub(at(count - 2), lower), position - below));
  },

  softmax: alongAxis("Softmax"),
  logSoftmax: alongAxis("LogSoftmax"),

  mseLoss: (graph, { inputs, attributes: { reduction: kind } }) => {
    const all = inputs as readonly OnnxValue[];
    const { shape } = all[0];
    const { operands, order } = aligned(graph, all, shape.length);
    const f = new Formula(graph, shape, order);
    const error = f.sub(operands[0], operands[1]);
    const axes = shape.map((_, axis) => axis);
    const type = kind === "mean" ? "ReduceMean" : "ReduceSum";
    return reduced(graph, type, f.mul(error, error), { axes, keepDims: false });
  },
};
