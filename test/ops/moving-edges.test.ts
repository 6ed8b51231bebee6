// What ops that accumulate, pick and move elements do at their edges, on every executor: zeros, indexes out of range,
// sizes of zero, and operands that are refused.

import { expect } from "chai";

import { ArgumentError, DTypeError, ShapeError } from "../../ts/errors/index.ts";
import type { AnyAttributes, AnyOp, DType, Shape } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import { failure } from "../failure.ts";
import type { Value } from "./draw.ts";
import { generator, valueOf } from "./draw.ts";
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

  it("running sums: NaN and infinities stay from where they come on, int32 wraps around", () => {
    const x = floats([2, 3], [1, inf, -inf, nan, 2, 3]);
    expect(run(ops.cumsum, [x], { axis: 1, reverse: false })).to.deep.equal([1, inf, nan, nan, nan, nan]);
    expect(run(ops.cumsum, [x], { axis: 1, reverse: true })).to.deep.equal([nan, nan, -inf, nan, 5, 3]);
    const big = ints([3], [2147483647, 1, 1]);
    expect(run(ops.cumsum, [big], { axis: 0, reverse: false })).to.deep.equal([2147483647, -2147483648, -2147483647]);
  });

  it("long running sums are as good as their last rounding", () => {
    const count = 100_000;
    const x = floats([count], new Array<number>(count).fill(Math.fround(0.1)));
    const last = run(ops.cumsum, [x], { axis: 0, reverse: false })[count - 1];
    expect(last / (count * Math.fround(0.1))).to.be.closeTo(1, 1e-7);
  });

  it("the gradient of running products is exact with zeros", () => {
    const gradient = (x: number[], dy: number[]) => {
      const [row, slope] = [x, dy].map((values) => floats([1, values.length], values));
      const [column, slopes] = [x, dy].map((values) => floats([values.length, 1], values));
      const result = run(ops.cumprodGradient, [row, slope], { axis: 1 });
      expect(run(ops.cumprodGradient, [column, slopes], { axis: 0 })).to.deep.equal(result);
      return result;
    };
    expect(gradient([2, 0, 3], [1, 1, 1])).to.deep.equal([1, 8, 0]);
    expect(gradient([0, 5, 0, 7], [1, 1, 1, 1])).to.deep.equal([6, 0, 0, 0]);
    expect(gradient([2, 3, 5], [1, 10, 100])).to.deep.equal([1531, 1020, 600]);
  });

  it("an index outside gives NaN, or the smallest int32, and adds to nothing", () => {
    const index = ints([5], [2, -1, 0, 3, 2147483647]);
    expect(run(ops.gather, [floats([3], [5, 6, 7]), index], { axis: 0 })).to.deep.equal([7, nan, 5, nan, nan]);
    const low = -2147483648;
    expect(run(ops.gather, [ints([3], [5, 6, 7]), index], { axis: 0 })).to.deep.equal([7, low, 5, low, low]);
    const x = floats([5], [1, 2, 4, 8, 16]);
    expect(run(ops.scatterAdd, [index, x], { axis: 0, shape: [3] })).to.deep.equal([4, 0, 1]);
  });

  it("equal indexes add up in their order", () => {
    const random = generator(3);
    const count = 3000;
    const values = Array.from({ length: count }, () => Math.fround(random() * 1e6));
    const round = float === "float32" && open().name !== "ts" ? Math.fround : (v: number) => v;
    const inOrder = values.reduce((sum, value) => round(sum + value), 0);
    const zeros = ints([count], new Array<number>(count).fill(0));
    const [sum] = run(ops.scatterAdd, [zeros, floats([count], values)], { axis: 0, shape: [1] });
    expect(sum).to.equal(float === "float32" ? Math.fround(inOrder) : inOrder);
  });

  it("a smaller index picks from the corner", () => {
    const x = floats([3, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    const index = ints([1, 2], [2, 1]);
    expect(run(ops.gather, [x, index], { axis: 0 })).to.deep.equal([6, 4]);
    expect(run(ops.gather, [x, index], { axis: 1 })).to.deep.equal([2, 1]);
    const added = run(ops.scatterAdd, [index, floats([1, 2], [5, 7])], { axis: 0, shape: [3, 3] });
    expect(added).to.deep.equal([0, 0, 0, 0, 7, 0, 5, 0, 0]);
  });

  it("moved elements keep their bits", () => {
    const tiny = 2 ** -149;
    const x = floats([2, 2], [nan, -0, inf, tiny]);
    expect(run(ops.flip, [x], { axes: [0, 1] })).to.deep.equal([tiny, inf, -0, nan]);
    expect(run(ops.triangle, [x], { part: "upper", diagonal: 0 })).to.deep.equal([nan, -0, 0, tiny]);
    const border = { shape: [1, 4], starts: [0, 1], steps: [1, 1], value: -inf };
    expect(run(ops.place, [floats([1, 2], [nan, 3])], border)).to.deep.equal([-inf, nan, 3, -inf]);
  });

  it("diagonals outside the matrix keep all or nothing", () => {
    const x = floats([2, 3], [1, 2, 3, 4, 5, 6]);
    const all = [1, 2, 3, 4, 5, 6];
    const none = [0, 0, 0, 0, 0, 0];
    expect(run(ops.triangle, [x], { part: "lower", diagonal: 9 })).to.deep.equal(all);
    expect(run(ops.triangle, [x], { part: "lower", diagonal: -9 })).to.deep.equal(none);
    expect(run(ops.triangle, [x], { part: "upper", diagonal: -9 })).to.deep.equal(all);
    expect(run(ops.triangle, [x], { part: "upper", diagonal: 9 })).to.deep.equal(none);
  });

  it("sizes of zero", () => {
    const none = floats([2, 0], []);
    for (const axis of [0, 1]) {
      expect(run(ops.cumsum, [none], { axis, reverse: false })).to.deep.equal([]);
      expect(run(ops.cumprodGradient, [none, none], { axis })).to.deep.equal([]);
    }
    expect(run(ops.flip, [none], { axes: [0, 1] })).to.deep.equal([]);
    expect(run(ops.triangle, [none], { part: "lower", diagonal: 0 })).to.deep.equal([]);
    const around = { shape: [2, 2], starts: [0, 1], steps: [1, 1], value: 7 };
    expect(run(ops.place, [none], around)).to.deep.equal([7, 7, 7, 7]);
    expect(run(ops.gather, [none, ints([2, 0], [])], { axis: 1 })).to.deep.equal([]);
    expect(run(ops.gather, [none, ints([2, 1], [0, 0])], { axis: 1 })).to.deep.equal([nan, nan]);
    const added = run(ops.scatterAdd, [ints([2, 0], []), none], { axis: 1, shape: [2, 2] });
    expect(added).to.deep.equal([0, 0, 0, 0]);
  });
}

const type = (shape: Shape, dtype: DType = "float32") => ({ shape, dtype });

describe("edges of moving ops", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => edgesOf(subject));

  const refused: [string, () => unknown, new (...args: never[]) => Error, RegExp][] = [
    ["a float index", () => ops.gather.infer([type([3]), type([2])], { axis: 0 }), DTypeError, /index is float32/],
    [
      "an index of another rank",
      () => ops.gather.infer([type([3, 2]), type([2], "int32")], { axis: 0 }),
      ShapeError,
      /^gather: index has shape \[2\], x \[3, 2\]\. Ranks must be equal/,
    ],
    [
      "an index larger than x beside the axis",
      () => ops.gather.infer([type([3, 2]), type([9, 3], "int32")], { axis: 0 }),
      ShapeError,
      /no size of index but that of axis 0 may exceed x's/,
    ],
    [
      "values of another shape than the index",
      () => ops.scatterAdd.infer([type([2], "int32"), type([3])], { axis: 0, shape: [4] }),
      ShapeError,
      /^scatterAdd: x has shape \[3\], expected \[2\] as index/,
    ],
    [
      "an axis that does not exist",
      () => ops.cumsum.infer([type([3, 2])], { axis: 2, reverse: false }),
      ArgumentError,
      /^cumsum: axis 2 does not exist/,
    ],
    ["int32 products", () => ops.cumprod.infer([type([3], "int32")], { axis: 0 }), DTypeError, /^cumprod: x is int32/],
    [
      "an axis flipped twice",
      () => ops.flip.infer([type([3, 2])], { axes: [0, -2] }),
      ArgumentError,
      /name an axis twice/,
    ],
    [
      "the triangle of a vector",
      () => ops.triangle.infer([type([3])], { part: "lower", diagonal: 0 }),
      ShapeError,
      /expected matrices \[\.\.\., M, N\]/,
    ],
    [
      "half a diagonal",
      () => ops.triangle.infer([type([3, 3])], { part: "lower", diagonal: 0.5 }),
      ArgumentError,
      /diagonal is 0.5/,
    ],
    [
      "what does not fit where it is placed",
      () => ops.place.infer([type([3])], { shape: [5], starts: [1], steps: [2], value: 0 }),
      ShapeError,
      /^place: \[3\] at \[1\] in steps of \[2\] does not fit into \[5\]/,
    ],
    [
      "a fraction around integers",
      () => ops.place.infer([type([3], "int32")], { shape: [5], starts: [1], steps: [1], value: 0.5 }),
      ArgumentError,
      /^place: the value is 0.5, which int32 does not hold/,
    ],
  ];
  for (const [name, call, kind, text] of refused)
    it(`refuses ${name}`, () => {
      const error = failure(call);
      expect(error).to.be.instanceOf(kind);
      expect(error.message).to.match(text);
    });
});
