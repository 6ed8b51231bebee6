// What reductions do with NaN, infinities, ties, extreme magnitudes and sizes of zero, on every executor.

import { expect } from "chai";

import { ShapeError } from "../../ts/errors/index.ts";
import type { AnyAttributes, AnyOp, Shape } from "../../ts/ops/index.ts";
import { ops, sizeOf } from "../../ts/ops/index.ts";
import { failure } from "../failure.ts";
import type { Value } from "./draw.ts";
import { valueOf } from "./draw.ts";
import type { Subject } from "./executors.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate } from "./run-op.ts";

const nan = NaN;
const inf = Infinity;

function edgesOf({ float, open }: Subject): void {
  const floats = (shape: Shape, elements: readonly number[]) => valueOf(float, shape, elements);
  const ints = (shape: Shape, elements: readonly number[]) => valueOf("int32", shape, elements);
  const run = (op: AnyOp, inputs: readonly Value[], attributes: AnyAttributes): number[] =>
    Array.from(evaluate(open(), { op, inputs, attributes }).elements);
  /** The reduction of rows, and of the same numbers as columns. */
  const rows = (op: AnyOp, table: readonly (readonly number[])[], more: AnyAttributes = {}): number[] => {
    const [height, width] = [table.length, table[0].length];
    const along = (axis: number): AnyAttributes => ("axis" in op.attributes ? { axis } : { axes: [axis] });
    const across = table[0].flatMap((_, c) => table.map((row) => row[c]));
    const byRow = run(op, [floats([height, width], table.flat())], { ...along(1), keepDims: false, ...more });
    const byColumn = run(op, [floats([width, height], across)], { ...along(0), keepDims: false, ...more });
    expect(byColumn).to.deep.equal(byRow);
    return byRow;
  };

  it("max and min: NaN wins, infinities count, int32 keeps its ends", () => {
    const table = [
      [1, nan, 3],
      [-inf, -inf, -inf],
      [-2, inf, -inf],
      [5, 5, -7],
    ];
    expect(rows(ops.max, table)).to.deep.equal([nan, -inf, inf, 5]);
    expect(rows(ops.min, table)).to.deep.equal([nan, -inf, -inf, -7]);
    const x = ints([2, 2], [-2147483648, -2147483648, 2147483647, -2147483648]);
    expect(run(ops.max, [x], { axes: [1], keepDims: false })).to.deep.equal([-2147483648, 2147483647]);
    expect(run(ops.min, [x], { axes: [0], keepDims: false })).to.deep.equal([-2147483648, -2147483648]);
  });

  it("argmax and argmin: the first of equals, the first NaN before all numbers", () => {
    const table = [
      [1, 3, 3, -1, -1],
      [1, nan, 3, nan, 9],
      [-inf, -inf, inf, inf, 0],
      [0, -0, 0, -0, 0],
    ];
    expect(rows(ops.argmax, table)).to.deep.equal([1, 1, 2, 0]);
    expect(rows(ops.argmin, table)).to.deep.equal([3, 1, 0, 0]);
    const x = ints([4], [7, -2147483648, 2147483647, -2147483648]);
    expect(run(ops.argmin, [x], { axis: 0, keepDims: false })).to.deep.equal([1]);
    expect(run(ops.argmax, [x], { axis: 0, keepDims: true })).to.deep.equal([2]);
  });

  it("of equals far apart the first is found, whatever is taken in parallel", () => {
    for (const { shape, axis } of [
      { shape: [100_001], axis: 0 },
      { shape: [50_001, 3], axis: 0 },
      { shape: [3, 40_001], axis: 1 },
    ]) {
      const [size, inner] = [shape[axis], sizeOf(shape.slice(axis + 1))];
      const x = valueOf(float, shape, new Array<number>(sizeOf(shape)).fill(2));
      expect(new Set(run(ops.argmax, [x], { axis, keepDims: false }))).to.deep.equal(new Set([0]));
      x.elements[size * inner - 1] = 5;
      x.elements[(size - 1) * inner - 1] = 5;
      const places = run(ops.argmax, [x], { axis, keepDims: false });
      expect(places[inner - 1]).to.equal(size - 2);
    }
  });

  it("the gradient of an extreme goes to the first of equals, or to the first NaN", () => {
    const x = floats([3, 4], [1, 4, 4, 2, nan, 1, nan, 9, 3, 3, 3, 3]);
    const dy = floats([3], [10, 20, 30]);
    const rule = { axes: [1], keepDims: false };
    expect(run(ops.extremeGradient, [x, dy], { ...rule, of: "max" })).to.deep.equal(
      [0, 10, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0], // prettier-ignore
    );
    expect(run(ops.extremeGradient, [x, dy], { ...rule, of: "min" })).to.deep.equal(
      [10, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0], // prettier-ignore
    );
    const all = run(ops.extremeGradient, [x, floats([], [7])], { axes: [0, 1], keepDims: false, of: "max" });
    expect(all.indexOf(7)).to.equal(4);
    expect(all.filter((v) => v !== 0)).to.deep.equal([7]);
  });

  it("variance of large means keeps its digits, and is NaN without degrees of freedom", () => {
    const table = [
      [1e6 + 1, 1e6 - 1, 1e6 + 1, 1e6 - 1],
      [3, 3, 3, 3],
      [1, nan, 1, 1],
    ];
    expect(rows(ops.variance, table, { correction: 0 })).to.deep.equal([1, 0, nan]);
    expect(rows(ops.variance, [[5], [6]], { correction: 1 })).to.deep.equal([nan, nan]);
    expect(rows(ops.variance, [[5, 7]], { correction: 5 })).to.deep.equal([inf]);
  });

  it("logSumExp of infinities and of large numbers", () => {
    const table = [
      [-inf, -inf, -inf],
      [inf, 0, -inf],
      [inf, inf, 1],
      [nan, 1, inf],
      [-inf, 0, -inf],
      [1e30, 1e30, -1e30],
    ];
    const [a, b, c, d, e, f] = rows(ops.logSumExp, table);
    expect([a, b, c, d, e]).to.deep.equal([-inf, inf, inf, nan, 0]);
    expect(f / 1e30).to.be.closeTo(1, 1e-6);
    expect(rows(ops.logSumExp, [[1000, 1000]])[0]).to.be.closeTo(1000 + Math.LN2, 1e-4);
  });

  it("norm neither overflows nor vanishes", () => {
    const scale = float === "float32" ? 2 ** 125 : 2 ** 1020;
    const table = [
      [3, 4, 0],
      [0, -0, 0],
      [inf, 1, -inf],
      [inf, nan, 0],
      [3 * scale, 0, -4 * scale],
      [3 / scale, -4 / scale, 0],
    ];
    expect(rows(ops.norm, table)).to.deep.equal([5, 0, inf, nan, 5 * scale, 5 / scale]);
    const gradient = run(ops.normGradient, [floats([3], [0, 0, 0]), floats([1], [0]), floats([1], [7])], {});
    expect(gradient).to.deep.equal([0, 0, 0]);
  });

  it("sizes of zero: no terms, no outputs, and no extreme", () => {
    const none = floats([0, 2], []);
    const down = { axes: [0], keepDims: false };
    const across = { axes: [1], keepDims: false };
    expect(run(ops.logSumExp, [none], down)).to.deep.equal([-inf, -inf]);
    expect(run(ops.norm, [none], down)).to.deep.equal([0, 0]);
    expect(run(ops.variance, [none], { ...down, correction: 0 })).to.deep.equal([nan, nan]);
    for (const op of [ops.max, ops.min, ops.norm, ops.logSumExp])
      expect(run(op, [none], across), op.name).to.deep.equal([]);
    for (const op of [ops.max, ops.min]) {
      const error = failure(() => op.infer([none.type], down));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(`${op.name}: axis 0 of [0, 2] has no elements, and so no extreme one.`);
    }
    expect(failure(() => ops.argmax.infer([none.type], { axis: 0, keepDims: false }))).to.be.instanceOf(ShapeError);
  });
}

describe("edges of reductions", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => edgesOf(subject));
});
