// Rules of ops that move elements.

import type { OnnxGraph, OnnxValue } from "../graph.ts";
import { ourOrder } from "../graph.ts";
import type { Rules } from "../rule.ts";
import { fixed, fixedSize, storedAxes } from "../rule.ts";
import type { Size } from "../size.ts";
import { sameSize } from "../size.ts";
import { Formula, aligned } from "./element-wise.ts";

/** Far before the first element: where a slice with a negative step ends that takes all. */
const beforeAll = -(2 ** 31);

/** x[starts : stops : steps] along some of the stored axes. */
function sliced(
  graph: OnnxGraph,
  x: OnnxValue,
  along: readonly number[],
  bounds: { readonly starts: readonly Size[]; readonly stops: readonly Size[]; readonly steps: readonly number[] },
  shape: readonly Size[],
): OnnxValue {
  if (along.length === 0) return x;
  const starts = graph.sizes(bounds.starts);
  const inputs = [x, starts, graph.sizes(bounds.stops), graph.positions(along), graph.positions(bounds.steps)];
  return graph.node("Slice", inputs, {}, { ...x, shape });
}

/** Puts steps[axis] - 1 elements of `value` behind each but the last of each axis; x is stored in our order. */
function spaced(graph: OnnxGraph, x: OnnxValue, steps: readonly number[], value: OnnxValue): OnnxValue {
  return steps.reduce((result, step, axis) => {
    const { shape, dtype } = result;
    const count = fixedSize("place", "axis with a step", step === 1 ? 1 : shape[axis]);
    if (step === 1 || count <= 1) return result;
    const rank = shape.length;
    const pads = new Array<number>(2 * rank + 2).fill(0).with(rank + 1 + axis + 1, step - 1);
    const columns = graph.reshape(result, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
    const wide = columns.shape.with(axis + 1, step);
    const padded = graph.node("Pad", [columns, graph.positions(pads), value], {}, { dtype, shape: wide });
    const joined = graph.reshape(padded, shape.with(axis, count * step));
    const stop = (count - 1) * step + 1;
    return sliced(graph, joined, [axis], { starts: [0], stops: [stop], steps: [1] }, shape.with(axis, stop));
  }, x);
}

/** Rules of permutations, slices, padding, concatenation. */
export const shapeRules: Rules = {
  // Nothing moves: axis i of the result is axis axes[i] of x, wherever that is stored.
  permute: (_, { inputs: [x], attributes: { axes }, shape, dtype }) => {
    const from = fixed("permute", "axes", axes).map((axis) => (axis < 0 ? axis + shape.length : axis));
    return { name: x!.name, dtype, shape, order: x!.order.map((axis) => from.indexOf(axis)) };
  },

  slice: (graph, { inputs: [x], attributes: { starts, stops, steps }, shape }) => {
    const strides = fixed("slice", "step", steps);
    const isWhole = (axis: number): boolean =>
      starts[axis] === 0 && strides[axis] === 1 && sameSize(stops[axis], x!.shape[axis]);
    const cut = ourOrder(shape.length).filter((axis) => !isWhole(axis));
    const of = <T>(list: readonly T[]): T[] => cut.map((axis) => list[axis]);
    const bounds = { starts: of(starts), stops: of(stops), steps: of(strides) };
    return sliced(graph, x!, storedAxes(x!, cut), bounds, shape);
  },

  place: (graph, { inputs: [x], attributes: { starts, steps, value }, shape, dtype }) => {
    const filling = graph.scalar(dtype, value);
    const strides = fixed("place", "step", steps);
    const spread = strides.every((step) => step === 1) ? x! : spaced(graph, graph.ours(x!), strides, filling);
    const before = fixed("place", "start", starts);
    const after = shape.map((size, axis) => {
      const taken = spread.shape[axis];
      if (typeof size !== "number" && typeof taken !== "number" && size.times === taken.times)
        return size.plus - taken.plus - before[axis];
      return fixedSize("place", "padding", size) - fixedSize("place", "padding", taken) - before[axis];
    });
    if ([...before, ...after].every((n) => n === 0)) return spread;
    const stored = (list: readonly number[]): number[] => spread.order.map((axis) => list[axis]);
    const pads = graph.positions([...stored(before), ...stored(after)]);
    return graph.node("Pad", [spread, pads, filling], {}, { ...spread, shape });
  },

  flip: (graph, { inputs: [x], attributes: { axes } }) => {
    const along = storedAxes(x!, fixed("flip", "axes", axes));
    const all = (n: number): number[] => along.map(() => n);
    return sliced(graph, x!, along, { starts: all(-1), stops: all(beforeAll), steps: all(-1) }, x!.shape);
  },

  triangle: (graph, { inputs: [x], attributes: { part, diagonal }, shape, dtype }) => {
    const attributes = { upper: part === "upper" ? 1 : 0 };
    // Trilu exists for int64, but not in every runtime for int32.
    const matrices = graph.ours(dtype === "int32" ? graph.cast(x!, "int64") : x!);
    return graph.cast(
      graph.node("Trilu", [matrices, graph.position(diagonal)], attributes, { dtype: matrices.dtype, shape }),
      dtype,
    );
  },

  concat: (graph, { inputs, attributes: { axis }, shape, dtype }) => {
    const { operands, order } = aligned(graph, inputs as readonly OnnxValue[], shape.length);
    const stored = order.indexOf(axis < 0 ? axis + shape.length : axis);
    return new Formula(graph, shape, order).node("Concat", operands, { axis: stored }, dtype);
  },
};
