// Softmax and normalisations at the ends of their ranges, on every executor.

import { expect } from "chai";

import type { AnyAttributes, AnyOp, Shape } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import type { Value } from "./draw.ts";
import { generator, valueOf } from "./draw.ts";
import type { Subject } from "./executors.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate } from "./run-op.ts";

const nan = NaN;
const inf = Infinity;

function softmaxEdges({ float, open }: Subject): void {
  const run = (op: AnyOp, shape: Shape, elements: readonly number[], axis: number): number[] =>
    Array.from(evaluate(open(), { op, inputs: [valueOf(float, shape, elements)], attributes: { axis } }).elements);
  const digits = float === "float32" ? 1e-7 : 1e-15;

  it("softmax of huge and far apart numbers is finite", () => {
    expect(run(ops.softmax, [2, 3], [3e38, 3e38, -3e38, -1e30, 0, 5000], 1)).to.deep.equal([0.5, 0.5, 0, 0, 0, 1]);
    const logs = run(ops.logSoftmax, [3], [-1e30, 0, 5000], 0);
    expect(logs[0] / 1e30).to.be.closeTo(-1, digits);
    expect(logs.slice(1)).to.deep.equal([-5000, 0]);
  });

  it("-Infinity has no part in softmax; a line of nothing else is NaN, as is one with Infinity or NaN", () => {
    for (const [shape, axis] of [
      [[3], 0],
      [[3, 1], 0],
    ] as const) {
      expect(run(ops.softmax, shape, [-inf, 2, 2], axis)).to.deep.equal([0, 0.5, 0.5]);
      expect(run(ops.logSoftmax, shape, [-inf, -inf, 7], axis)).to.deep.equal([-inf, -inf, 0]);
      for (const line of [
        [-inf, -inf, -inf],
        [0, inf, 1],
        [0, nan, 1],
        [nan, -inf, 1],
      ])
        for (const op of [ops.softmax, ops.logSoftmax])
          expect(run(op, shape, line, axis)).to.satisfy((y: number[]) => Number.isNaN(y[1]) && y.some(Number.isNaN));
      expect(run(ops.softmax, shape, [0, nan, 1], axis)).to.deep.equal([nan, nan, nan]);
    }
  });

  it("NaN stays in its line", () => {
    expect(run(ops.softmax, [2, 2], [nan, 0, 1, 1], 1)).to.deep.equal([nan, nan, 0.5, 0.5]);
    expect(run(ops.softmax, [2, 2], [nan, 0, 1, 0], 0)).to.deep.equal([nan, 0.5, nan, 0.5]);
  });

  it("softmax of long lines adds up to 1", () => {
    const random = generator(7);
    for (const [shape, axis] of [
      [[70_001, 1], 0],
      [[1, 70_001], 1],
      [[35_000, 2], 0],
    ] as const) {
      const x = Array.from({ length: shape[0] * shape[1] }, () => 20 * random() - 10);
      const y = run(ops.softmax, shape, x, axis);
      const lines = shape[0] * shape[1] === 70_000 ? 2 : 1;
      expect(y.reduce((sum, v) => sum + v, 0) / lines).to.be.closeTo(1, float === "float32" ? 1e-7 : 1e-13);
    }
  });

  it("sizes of zero", () => {
    expect(run(ops.softmax, [0, 3], [], 1)).to.deep.equal([]);
    expect(run(ops.softmax, [3, 0], [], 1)).to.deep.equal([]);
    expect(run(ops.logSoftmax, [3, 0], [], 0)).to.deep.equal([]);
  });
}

function normEdges({ float, open }: Subject): void {
  const floats = (shape: Shape, elements: ArrayLike<number>) => valueOf(float, shape, Array.from(elements));
  const run = (op: AnyOp, inputs: readonly (Value | undefined)[], attributes: AnyAttributes): number[] =>
    Array.from(evaluate(open(), { op, inputs, attributes }).elements);
  const groupNorm = (x: Value, groups: number, epsilon = 1e-5) =>
    run(ops.groupNorm, [x, undefined, undefined], { groups, epsilon });
  const layerNorm = (x: Value, epsilon = 1e-5, center = true) =>
    run(ops.layerNorm, [x, undefined, undefined], { axes: 1, epsilon, center });
  const gradient = (op: AnyOp, x: Value, dy: Value, attributes: AnyAttributes) =>
    run(op, [x, dy, undefined], attributes);
  const group = { groups: 2, epsilon: 1e-5 };
  const layer = { axes: 1, epsilon: 1e-5, center: true };

  it("what does not vary becomes 0 and the bias", () => {
    const x = floats([1, 2, 4], [7, 7, -3, -3, 7, 7, -3, -3]);
    const rows = [floats([4], [2, 2, 2, 2]), floats([4], [1, 2, 3, 4])];
    expect(run(ops.groupNorm, [x, ...rows], group)).to.deep.equal([1, 2, 3, 4, 1, 2, 3, 4]);
    expect(run(ops.layerNorm, [floats([2, 4], new Array<number>(8).fill(1e30)), ...rows], layer)).to.deep.equal([
      1, 2, 3, 4, 1, 2, 3, 4,
    ]);
    const dy = floats([1, 2, 4], [1, 2, 3, 4, 5, 6, 7, 9]);
    const finite = gradient(ops.groupNormGradient, x, dy, group);
    expect(finite.every(Number.isFinite)).to.equal(true);
    expect(finite.slice(8)).to.deep.equal([0, 0, 0, 0, 6, 8, 10, 13]);
  });

  it("a group of one element is 0, and passes no gradient on", () => {
    const x = floats([2, 3], [1, -2, 3, 4, 5, 6e10]);
    expect(groupNorm(x, 3)).to.deep.equal([0, 0, 0, 0, 0, 0]);
    expect(layerNorm(floats([2, 1], [5, -7]))).to.deep.equal([0, 0]);
    const dx = gradient(ops.groupNormGradient, x, floats([2, 3], [1, 2, 3, 4, 5, 6]), { groups: 3, epsilon: 1e-5 });
    // 1 / sqrt(epsilon) times what rounding left of dy - dy.
    dx.slice(0, 6).forEach((v) => expect(v).to.be.closeTo(0, 1e-3));
  });

  it("neither a large mean, nor huge nor tiny numbers lose digits", () => {
    const random = generator(3);
    for (const [mean, spread, epsilon] of [
      [1e4, 1, 1e-6],
      [-3e6, 40, 1e-5],
      [0, 1e25, 1e-5],
      [0, 1e-25, 0],
      [1e-3, 1e-7, 0],
    ]) {
      const x = floats(
        [1, 30, 30, 4],
        Array.from({ length: 3600 }, () => Math.fround(mean + spread * (random() - 0.5))),
      );
      const dy = floats(
        x.type.shape,
        Array.from({ length: 3600 }, () => random() - 0.5),
      );
      const rows = { ...x, type: { ...x.type, shape: [4, 900] } };
      const exact = { open: oracle.open, of: (v: Value) => valueOf("float64", v.type.shape, Array.from(v.elements)) };
      const close = (got: number[], expected: ArrayLike<number>, what: string) => {
        const largest = Math.max(...Array.from(expected, Math.abs));
        got.forEach((v, i) => expect(Math.abs(v - expected[i]) / largest, `${what}[${i}]`).to.be.below(2e-6));
      };
      const reference = (op: AnyOp, inputs: readonly (Value | undefined)[], attributes: AnyAttributes) =>
        evaluate(exact.open(), { op, inputs: inputs.map((v) => v && exact.of(v)), attributes }).elements;
      const none = [undefined, undefined];
      const [grouping, trailing] = [
        { groups: 2, epsilon },
        { axes: 1, epsilon, center: true },
      ];
      close(groupNorm(x, 2, epsilon), reference(ops.groupNorm, [x, ...none], grouping), "groupNorm");
      close(layerNorm(rows, epsilon), reference(ops.layerNorm, [rows, ...none], trailing), "layerNorm");
      const dx = gradient(ops.groupNormGradient, x, dy, grouping).slice(0, 3600);
      const expected = reference(ops.groupNormGradient, [x, dy, undefined], grouping).slice(0, 3600);
      close(dx, expected, "gradient of groupNorm");
    }
  });

  it("NaN stays in its group, in its image", () => {
    const x = floats([2, 2, 4], [nan, 1, 2, 3, 4, 5, 6, 8, 1, 2, 3, 4, 5, 6, 7, 9]);
    expect(groupNorm(x, 2).map(Number.isNaN)).to.deep.equal(
      [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(Boolean),
    );
    const dx = gradient(ops.groupNormGradient, x, floats([2, 2, 4], new Array<number>(16).fill(1)), group);
    expect(dx.slice(2, 4).concat(dx.slice(8, 16)).some(Number.isNaN)).to.equal(false);
    expect(layerNorm(floats([2, 2], [nan, 1, 1, 3])).map(Number.isNaN)).to.deep.equal([true, true, false, false]);
  });

  it("RMS norm leaves the mean where it is", () => {
    const digits = float === "float32" ? 1e-7 : 1e-15;
    layerNorm(floats([2], [3, 4]), 0, false).forEach((v, i) =>
      expect(v).to.be.closeTo([3, 4][i] / Math.sqrt(12.5), digits),
    );
  });

  it("sizes of zero", () => {
    expect(groupNorm(floats([0, 3, 4], []), 2)).to.deep.equal([]);
    expect(groupNorm(floats([2, 0, 4], []), 2)).to.deep.equal([]);
    expect(layerNorm(floats([0, 4], []))).to.deep.equal([]);
    expect(layerNorm(floats([4, 0], []))).to.deep.equal([]);
    const empty = floats([0, 3, 4], []);
    expect(gradient(ops.groupNormGradient, empty, empty, group)).to.deep.equal(new Array<number>(8).fill(0));
    expect(gradient(ops.layerNormGradient, empty, empty, layer)).to.deep.equal(new Array<number>(8).fill(0));
  });
}

describe("edges of normalisations", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => normEdges(subject));
});

describe("edges of softmax", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => softmaxEdges(subject));
});
