// What ops do with NaN, infinities, ties, indexes out of range and sizes of zero, on every executor.

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
  const ints = (shape: Shape, elements: readonly number[]) => valueOf("int32", shape, elements);
  const run = (op: AnyOp, inputs: readonly (Value | undefined)[], attributes: AnyAttributes = {}): number[] =>
    Array.from(evaluate(open(), { op, inputs, attributes }).elements);
  const vector = (op: AnyOp, ...elements: number[]) => run(op, [floats([elements.length], elements)]);

  it("int32 division truncates, and by 0 gives 0", () => {
    const a = ints([6], [7, -7, 7, -7, 5, 0]);
    expect(run(ops.div, [a, ints([6], [2, 2, -2, -2, 0, 0])])).to.deep.equal([3, -3, -3, 3, 0, 0]);
  });

  it("int32 arithmetic wraps around", () => {
    const big = ints([2], [2147483647, -2147483648]);
    expect(run(ops.add, [big, ints([2], [1, -1])])).to.deep.equal([-2147483648, 2147483647]);
    expect(run(ops.sub, [big, ints([2], [-1, 1])])).to.deep.equal([-2147483648, 2147483647]);
    expect(run(ops.mul, [big, ints([2], [2147483647, 3])])).to.deep.equal([1, -2147483648]);
    expect(run(ops.sum, [big], { axes: [0], keepDims: false })).to.deep.equal([-1]);
    expect(run(ops.neg, [big])).to.deep.equal([-2147483647, -2147483648]);
  });

  it("float division by 0", () => {
    expect(run(ops.div, [floats([3], [1, -1, 0]), floats([], [0])])).to.deep.equal([inf, -inf, nan]);
  });

  it("cast to int32 truncates and saturates, NaN becomes 0", () => {
    const x = floats([9], [1.9, -1.9, 0.5, nan, inf, -inf, 3e9, -3e9, 2147483520]);
    const expected = [1, -1, 0, 0, 2147483647, -2147483648, 2147483647, -2147483648, 2147483520];
    expect(run(ops.cast, [x], { dtype: "int32" })).to.deep.equal(expected);
  });

  it("cast of int32 to float rounds to nearest even", () => {
    const x = ints([4], [16777217, 16777219, -16777217, 2147483647]);
    const exact = Array.from(x.elements);
    expect(run(ops.cast, [x], { dtype: float })).to.deep.equal(float === "float32" ? exact.map(Math.fround) : exact);
  });

  it("functions at their ends", () => {
    expect(vector(ops.exp, 1000, -1000, inf, -inf, nan, 0)).to.deep.equal([inf, 0, inf, 0, nan, 1]);
    expect(vector(ops.log, 0, -1, inf, nan, 1)).to.deep.equal([-inf, nan, inf, nan, 0]);
    expect(vector(ops.sqrt, 4, -1, inf, nan)).to.deep.equal([2, nan, inf, nan]);
    expect(vector(ops.sigmoid, 1000, -1000, inf, -inf, nan, 0)).to.deep.equal([1, 0, 1, 0, nan, 0.5]);
    expect(vector(ops.tanh, 1000, -1000, inf, -inf, nan)).to.deep.equal([1, -1, 1, -1, nan]);
    expect(vector(ops.relu, -2, 3, nan, inf, -inf)).to.deep.equal([0, 3, nan, inf, 0]);
    expect(vector(ops.sign, -2, 0, 3, nan, -inf)).to.deep.equal([-1, 0, 1, nan, -1]);
    expect(vector(ops.abs, -2, nan, -inf)).to.deep.equal([2, nan, inf]);
    expect(vector(ops.silu, 1000, nan, inf).concat(vector(ops.silu, -1000).map(Math.abs))).to.deep.equal([
      1000,
      nan,
      inf,
      0,
    ]);
    expect(vector(ops.exp, -100)[0]).to.be.closeTo(Math.exp(-100), float === "float32" ? 1e-45 : 1e-57);
  });

  it("relu's gradient at 0 is 0", () => {
    expect(run(ops.reluGradient, [floats([3], [0, 1, -1]), floats([3], [5, 6, 7])])).to.deep.equal([0, 6, 0]);
  });

  it("max pooling: NaN wins, padding never does, the first of equals takes the gradient", () => {
    const pool = { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] };
    const x = floats([1, 2, 6, 1], [1, 2, nan, 5, 4, 4, 3, 2, 7, nan, 4, 4]);
    const dy = floats([1, 1, 3, 1], [10, 20, 30]);
    expect(run(ops.maxPool2d, [x], pool)).to.deep.equal([3, nan, 4]);
    expect(run(ops.maxPool2dGradient, [x, dy], pool)).to.deep.equal([0, 0, 20, 0, 30, 0, 10, 0, 0, 0, 0, 0]);
    const negative = floats([1, 2, 2, 1], [-5, -6, -inf, -8]);
    const padded = { kernel: [3, 3], stride: [2, 2], padding: [1, 0, 1, 0] };
    expect(run(ops.maxPool2d, [negative], padded)).to.deep.equal([-5]);
    const lowest = floats([1, 2, 2, 1], [-inf, -inf, -inf, -inf]);
    expect(run(ops.maxPool2d, [lowest], pool)).to.deep.equal([-inf]);
    expect(run(ops.maxPool2dGradient, [lowest, floats([1, 1, 1, 1], [3])], pool)).to.deep.equal([3, 0, 0, 0]);
  });

  it("embedding: an index outside the table gives NaN, its gradient leaves it out", () => {
    const table = floats([2, 2], [1, 2, 3, 4]);
    const index = ints([5], [1, -1, 0, 2, 1]);
    expect(run(ops.embedding, [table, index])).to.deep.equal([3, 4, nan, nan, 1, 2, nan, nan, 3, 4]);
    const dy = floats([5, 2], [1, 2, 9, 9, 3, 4, 9, 9, 5, 6]);
    expect(run(ops.embeddingGradient, [index, dy], { rows: 2 })).to.deep.equal([3, 4, 6, 8]);
  });

  it("a timestep outside the table gives NaN", () => {
    const t = ints([3], [0, 5, -1]);
    const x = floats([3, 2], [1, 2, 3, 4, 5, 6]);
    const noisy = run(ops.addNoise, [x, x, t, floats([2, 2], [1, 0, 0.5, 0.5])]);
    expect(noisy).to.deep.equal([1, 2, nan, nan, nan, nan]);
    const key = { seed: 1n, draw: 0, image: 0, step: 0 };
    const stepped = run(ops.ddpmStep, [x, x, t, floats([1, 3], [1, 0.5, 0]), x], key);
    expect(stepped).to.deep.equal([0.5, 1, nan, nan, nan, nan]);
  });

  it("the last step of DDPM adds no noise, whatever z and sigma hold", () => {
    const key = { seed: 1n, draw: 0, image: 0, step: 0 };
    const x = floats([2, 2], [4, 8, 4, 8]);
    const zero = floats([2, 2], [0, 0, 0, 0]);
    const z = floats([2, 2], [nan, inf, 1, 2]);
    const table = floats([2, 3], [0.5, 1, nan, 0.5, 1, 2]);
    expect(run(ops.ddpmStep, [x, zero, ints([2], [0, 1]), table, z], key)).to.deep.equal([2, 4, 4, 8]);
    const drawn = run(ops.ddpmStep, [x, zero, ints([2], [0, 0]), table, undefined], key);
    expect(drawn).to.deep.equal([2, 4, 2, 4]);
  });

  it("convolution: NaN and infinity stay where they are read", () => {
    const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] };
    const x = floats([1, 1, 4, 1], [nan, 0, 0, 1]);
    const weight = floats([3, 3, 1, 1], new Array<number>(9).fill(1));
    expect(run(ops.conv2d, [x, weight, undefined], window)).to.deep.equal([nan, nan, 1, 1]);
  });

  it("attention: a query that may look nowhere gives 0, and 0 gradients", () => {
    const attributes = { heads: 1, scale: 1, causal: false };
    const x = floats([1, 2, 2], [1, 2, 3, 4]);
    const nowhere = [ints([2, 1], [0, 1]), floats([2, 1], [-inf, 0])];
    for (const mask of nowhere) {
      const y = run(ops.attention, [x, x, x, mask], attributes);
      expect(y.slice(0, 2)).to.deep.equal([0, 0]);
      expect(y[2]).to.be.closeTo(3, 1e-4);
      const gradients = run(ops.attentionGradient, [x, x, x, x, mask], attributes);
      expect(gradients.slice(0, 2)).to.deep.equal([0, 0]);
      expect(gradients.every(Number.isFinite)).to.equal(true);
    }
    const empty = floats([1, 0, 2], []);
    expect(run(ops.attention, [x, empty, empty, undefined], attributes)).to.deep.equal([0, 0, 0, 0]);
    expect(run(ops.attentionGradient, [x, empty, empty, x, undefined], attributes)).to.deep.equal([0, 0, 0, 0]);
    expect(run(ops.attention, [empty, x, x, undefined], attributes)).to.deep.equal([]);
    expect(run(ops.attentionGradient, [empty, x, x, empty, undefined], attributes)).to.deep.equal([
      0, 0, 0, 0, 0, 0, 0, 0,
    ]);
  });

  it("attention: keys before the first one in sight, tiles away, leave no trace", () => {
    const keys = 600;
    const k = floats([1, keys, 1], new Array<number>(keys).fill(1));
    const v = floats(
      [1, keys, 1],
      Array.from({ length: keys }, (_, i) => i),
    );
    const only = ints(
      [keys],
      Array.from({ length: keys }, (_, i) => Number(i === 590)),
    );
    const one = floats([1, 1, 1], [1]);
    const attributes = { heads: 1, scale: 1, causal: false };
    expect(run(ops.attention, [one, k, v, only], attributes)).to.deep.equal([590]);
  });

  it("attention: scores of 10,000 choose one key", () => {
    const attributes = { heads: 1, scale: 1, causal: false };
    const q = floats([1, 2, 1], [100, -100]);
    const k = floats([1, 3, 1], [100, 90, -100]);
    const v = floats([1, 3, 2], [1, 2, 3, 4, 5, 6]);
    expect(run(ops.attention, [q, k, v, undefined], attributes)).to.deep.equal([1, 2, 5, 6]);
    const gradients = run(ops.attentionGradient, [q, k, v, floats([1, 2, 2], [1, 1, 1, 1]), undefined], attributes);
    gradients.slice(0, 5).forEach((gradient) => expect(gradient).to.be.closeTo(0, 1e-30));
    expect(gradients.slice(5).map(Math.abs)).to.deep.equal([1, 1, 0, 0, 1, 1]);
    const masked = run(ops.attention, [q, k, v, floats([3], [-1e9, 0, -inf])], attributes);
    expect(masked).to.deep.equal([3, 4, 3, 4]);
  });

  it("attention: NaN in a query stays with it", () => {
    const x = floats([1, 2, 1], [nan, 1]);
    const ones = floats([1, 2, 1], [1, 1]);
    const y = run(ops.attention, [x, ones, ones, undefined], { heads: 1, scale: 1, causal: false });
    expect(y).to.deep.equal([nan, 1]);
  });

  it("uniform numbers and integers fill their range", () => {
    const at = { seed: 9n, draw: 2, image: 0, step: 0, shape: [100, 100] };
    const expectRange = (values: number[], low: number, high: number) => {
      expect(Math.min(...values)).to.be.within(low, low + (high - low) / 1000);
      expect(Math.max(...values)).to.be.within(high - (high - low) / 1000, high);
      const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
      expect(mean).to.be.closeTo((low + high) / 2, (high - low) / 50);
    };
    expectRange(run(ops.rand, [], { ...at, dtype: float, low: -0.25, high: 0.75 }), -0.25, 0.75);
    expectRange(run(ops.rand, [], { ...at, dtype: float, low: 3, high: 4 }), 3, 4);
    expectRange(run(ops.randint, [], { ...at, low: -50_000, high: 20_000 }), -50_000, 19_999);
    expectRange(run(ops.randint, [], { ...at, low: -(2 ** 31), high: 2 ** 31 - 1 }), -(2 ** 31), 2 ** 31 - 2);
    expect(new Set(run(ops.randint, [], { ...at, low: -1, high: 2 }))).to.deep.equal(new Set([-1, 0, 1]));
  });

  it("sizes of zero", () => {
    expect(run(ops.sum, [floats([0, 3], [])], { axes: [0], keepDims: false })).to.deep.equal([0, 0, 0]);
    expect(run(ops.sum, [floats([0, 3], [])], { axes: [1], keepDims: false })).to.deep.equal([]);
    expect(run(ops.mean, [floats([0], [])], { axes: [0], keepDims: false })).to.deep.equal([nan]);
    expect(run(ops.add, [floats([0, 3], []), floats([3], [1, 2, 3])])).to.deep.equal([]);
    const plain = { transposeA: false, transposeB: false };
    const bias = floats([2], [5, 6]);
    expect(run(ops.matmul, [floats([2, 0], []), floats([0, 2], []), bias], plain)).to.deep.equal([5, 6, 5, 6]);
    expect(run(ops.matmul, [floats([0, 3], []), floats([3, 2], [1, 2, 3, 4, 5, 6]), undefined], plain)).to.deep.equal(
      [],
    );
    expect(run(ops.concat, [floats([2, 0], []), floats([2, 1], [1, 2])], { axis: 1 })).to.deep.equal([1, 2]);
    const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], kernel: [1, 1] };
    const gradient = run(ops.conv2dWeightGradient, [floats([0, 1, 1, 1], []), floats([0, 3, 3, 2], [])], window);
    expect(gradient).to.deep.equal([0, 0]);
  });
}

describe("edges", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => edgesOf(subject));
});
