// Softmax at the ends of its range, on every executor.

import { expect } from "chai";

import type { AnyOp, Shape } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
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

describe("edges of softmax", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => softmaxEdges(subject));
});
