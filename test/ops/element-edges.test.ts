// What functions, activations, powers, comparisons, where and clamp do with NaN, infinities, ties and zeros.

import { expect } from "chai";

import type { AnyAttributes, AnyOp, Shape } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import type { Value } from "./draw.ts";
import { valueOf } from "./draw.ts";
import type { Subject } from "./executors.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate } from "./run-op.ts";

const nan = NaN;
const inf = Infinity;

function edgesOf({ float, open }: Subject): void {
  const floats = (shape: Shape, elements: readonly number[]) => valueOf(float, shape, elements);
  const ints = (elements: readonly number[]) => valueOf("int32", [elements.length], elements);
  const list = (elements: readonly number[]) => floats([elements.length], elements);
  const run = (op: AnyOp, inputs: readonly Value[], attributes: AnyAttributes = {}): number[] =>
    Array.from(evaluate(open(), { op, inputs, attributes }).elements);
  const of = (op: AnyOp, ...elements: number[]) => run(op, [list(elements)]);

  it("functions at their ends", () => {
    expect(of(ops.sin, 0, -0, inf, -inf, nan)).to.deep.equal([0, -0, nan, nan, nan]);
    expect(of(ops.cos, 0, inf, -inf, nan)).to.deep.equal([1, nan, nan, nan]);
    expect(of(ops.erf, 0, -0, inf, -inf, 30, nan)).to.deep.equal([0, -0, 1, -1, 1, nan]);
    expect(of(ops.log1p, 0, -0, -1, -2, inf, nan)).to.deep.equal([0, -0, -inf, nan, inf, nan]);
    expect(of(ops.expm1, 0, -0, 1000, -1000, inf, -inf, nan)).to.deep.equal([0, -0, inf, -1, inf, -1, nan]);
    expect(of(ops.rsqrt, 0, 4, -1, inf, nan)).to.deep.equal([inf, 0.5, nan, 0, nan]);
    expect(of(ops.reciprocal, 0, -0, 4, inf, nan)).to.deep.equal([inf, -inf, 0.25, 0, nan]);
  });

  it("sine of big angles", () => {
    const x = [1e5, 33554432, 1e10, 2 ** 100, -(2 ** 127)].map(Math.fround);
    of(ops.sin, ...x).forEach((y, i) => expect(y, `sin(${x[i]})`).to.be.closeTo(Math.sin(x[i]), 1e-7));
    of(ops.cos, ...x).forEach((y, i) => expect(y, `cos(${x[i]})`).to.be.closeTo(Math.cos(x[i]), 1e-7));
  });

  it("rounding: halves to even, signs of zero, what has no fraction", () => {
    const x = [0.5, 1.5, 2.5, -0.5, -1.5, -0.3, 8388609, inf, -inf, nan];
    expect(of(ops.round, ...x)).to.deep.equal([0, 2, 2, -0, -2, -0, 8388609, inf, -inf, nan]);
    expect(of(ops.floor, ...x)).to.deep.equal([0, 1, 2, -1, -2, -1, 8388609, inf, -inf, nan]);
    expect(of(ops.ceil, ...x)).to.deep.equal([1, 2, 3, -0, -1, -0, 8388609, inf, -inf, nan]);
  });

  it("activations have their limits at the infinities", () => {
    for (const op of [ops.silu, ops.gelu, ops.geluTanh, ops.quickGelu, ops.mish, ops.softplus]) {
      const [low, lower, ...others] = of(op, -1e30, -inf, inf, 1e30, nan);
      expect([Math.abs(low), Math.abs(lower)], op.name).to.deep.equal([0, 0]);
      expect(others, op.name).to.deep.equal([inf, float === "float32" ? Math.fround(1e30) : 1e30, nan]);
    }
    expect(run(ops.elu, [list([inf, -inf, -1e30, nan])], { alpha: 2 })).to.deep.equal([inf, -2, -2, nan]);
    expect(run(ops.leakyRelu, [list([inf, -inf, -2, nan])], { slope: 0.5 })).to.deep.equal([inf, -inf, -1, nan]);
    expect(of(ops.relu6, -1, 0, 3, 6, 7, inf, -inf, nan)).to.deep.equal([0, 0, 3, 6, 6, 6, 0, nan]);
  });

  it("gradients of activations have their limits at the infinities", () => {
    const [x, dy] = [list([inf, 1e30, -inf, -1e30, nan]), list([3, 3, 3, 3, 3])];
    for (const op of [
      ops.siluGradient,
      ops.geluGradient,
      ops.geluTanhGradient,
      ops.quickGeluGradient,
      ops.mishGradient,
    ])
      expect(run(op, [x, dy]).map(Math.abs), op.name).to.deep.equal([3, 3, 0, 0, nan]);
    expect(run(ops.eluGradient, [x, dy], { alpha: 2 }).map(Math.abs)).to.deep.equal([3, 3, 0, 0, nan]);
    expect(run(ops.eluGradient, [list([0]), list([3])], { alpha: 2 })).to.deep.equal([6]);
    expect(run(ops.relu6Gradient, [list([0, 6, 3]), list([1, 1, 1])])).to.deep.equal([0, 0, 1]);
  });

  it("powers as in C", () => {
    const pow = (a: number, b: number) => run(ops.pow, [list([a]), list([b])])[0];
    for (const [a, b, y] of [
      [0, 0, 1],
      [nan, 0, 1],
      [1, nan, 1],
      [-1, inf, 1],
      [-1, -inf, 1],
      [-2, 3, -8],
      [-2, 2, 4],
      [-2, 0.5, nan],
      [-0, 3, -0],
      [-0, -3, -inf],
      [0, -2, inf],
      [0.5, inf, 0],
      [2, inf, inf],
      [-inf, 3, -inf],
      [-inf, -3, -0],
      [7, 3, 343],
      [2, nan, nan],
    ])
      expect(pow(a, b), `${a} ** ${b}`).to.deep.equal(y);
  });

  it("comparisons: false with NaN, but for inequality", () => {
    const [a, b] = [list([1, 2, 3, nan, nan, inf]), list([2, 2, 2, 1, nan, inf])];
    expect(run(ops.equal, [a, b])).to.deep.equal([0, 1, 0, 0, 0, 1]);
    expect(run(ops.notEqual, [a, b])).to.deep.equal([1, 0, 1, 1, 1, 0]);
    expect(run(ops.less, [a, b])).to.deep.equal([1, 0, 0, 0, 0, 0]);
    expect(run(ops.lessEqual, [a, b])).to.deep.equal([1, 1, 0, 0, 0, 1]);
    expect(run(ops.greater, [a, b])).to.deep.equal([0, 0, 1, 0, 0, 0]);
    expect(run(ops.greaterEqual, [a, b])).to.deep.equal([0, 1, 1, 0, 0, 1]);
  });

  it("maximum and minimum: NaN wins on either side; int32", () => {
    const [a, b] = [list([1, nan, 1, -inf]), list([2, 1, nan, inf])];
    expect(run(ops.maximum, [a, b])).to.deep.equal([2, nan, nan, inf]);
    expect(run(ops.minimum, [a, b])).to.deep.equal([1, nan, nan, -inf]);
    const [i, j] = [ints([-1, 5]), ints([2147483647, -2147483648])];
    expect(run(ops.maximum, [i, j])).to.deep.equal([2147483647, 5]);
    expect(run(ops.minimum, [i, j])).to.deep.equal([-1, -2147483648]);
  });

  it("where takes any condition but 0, and looks at nothing that it does not choose", () => {
    const [a, b] = [list([1, nan, 3]), list([nan, 5, nan])];
    expect(run(ops.where, [ints([1, 0, -7]), a, b])).to.deep.equal([1, 5, 3]);
  });

  it("clamp: infinite bounds, NaN, gradient at the bounds, int32", () => {
    const x = list([-inf, -1, 0.5, 2, inf, nan]);
    expect(run(ops.clamp, [x], { min: -1, max: inf })).to.deep.equal([-1, -1, 0.5, 2, inf, nan]);
    expect(run(ops.clamp, [x], { min: -inf, max: 2 })).to.deep.equal([-inf, -1, 0.5, 2, 2, nan]);
    const ones = list([1, 1, 1, 1, 1, 1]);
    expect(run(ops.clampGradient, [x, ones], { min: -1, max: 2 })).to.deep.equal([0, 1, 1, 1, 0, 0]);
    const tenth = list([0.1]);
    expect(run(ops.clampGradient, [tenth, list([1])], { min: -inf, max: 0.1 })).to.deep.equal([1]);
    expect(run(ops.clamp, [ints([-9, 0, 9])], { min: -inf, max: 5 })).to.deep.equal([-9, 0, 5]);
  });
}

describe("edges of element-wise ops", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => edgesOf(subject));
});
