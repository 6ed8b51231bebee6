// Reshaping, slicing, permuting, broadcasting and joining: values, views, and what is refused.

import { expect } from "chai";
import { ArgumentError, Parameter, ShapeError, arange, concat, tensor, zeros } from "langevin";
import type { SliceRange, Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

/** 0, 1, 2, ... in this shape. */
function counting(...shape: number[]): Tensor {
  return arange(
    shape.reduce((a, b) => a * b, 1),
    { dtype: "float32" },
  ).reshape(shape);
}

onEveryDevice("shapes", () => {
  describe("reshape", () => {
    it("keeps the elements and their order", () => {
      expect(counting(2, 3).reshape([3, 2]).toArray()).to.deep.equal([
        [0, 1],
        [2, 3],
        [4, 5],
      ]);
      expect(tensor([7]).reshape([]).item()).to.equal(7);
      expect(tensor(7).reshape([1, 1]).toArray()).to.deep.equal([[7]]);
    });

    it("computes one size given as -1", () => {
      const x = counting(2, 3, 4);
      expect(x.reshape([-1]).shape).to.deep.equal([24]);
      expect(x.reshape([4, -1]).shape).to.deep.equal([4, 6]);
      expect(x.reshape([2, -1, 1, 3]).shape).to.deep.equal([2, 4, 1, 3]);
      expect(tensor(1).reshape([-1]).shape).to.deep.equal([1]);
      expect(zeros([0, 3]).reshape([-1, 3]).shape).to.deep.equal([0, 3]);
    });

    for (const shape of [[-1, -1], [5, -1], [5], [2, 3], [-2, -12], [2.5, -1], [0, -1]])
      it(`refuses [${shape.join(", ")}] for [2, 3, 4]`, () => {
        const error = failure(() => counting(2, 3, 4).reshape(shape));
        expect(error).to.be.instanceOf(ShapeError);
        expect(error.message).to.match(/^reshape: \[.*\]/);
      });

    it("shares memory", () => {
      const weight = new Parameter(zeros([2, 3]));
      const view = weight.detach().reshape([3, 2]);
      weight.assign(counting(2, 3));
      expect(view.toArray()).to.deep.equal([
        [0, 1],
        [2, 3],
        [4, 5],
      ]);
      expect(view.place("test").storage).to.equal(weight.place("test").storage);
    });
  });

  describe("slice", () => {
    const cases: [string, SliceRange[], number[], unknown][] = [
      ["the first rows", [[0, 2]], [2, 4], [[0, 1, 2, 3], [4, 5, 6, 7]]],
      ["one row, whose axis goes", [1], [4], [4, 5, 6, 7]],
      ["the last row", [-1], [4], [8, 9, 10, 11]],
      ["positions from the end", [[-2, -1]], [1, 4], [[4, 5, 6, 7]]],
      ["a column", [null, 2], [3], [2, 6, 10]],
      ["columns", [null, [1, 3]], [3, 2], [[1, 2], [5, 6], [9, 10]]],
      ["every other column from 1", [null, [1, 4, 2]], [3, 2], [[1, 3], [5, 7], [9, 11]]],
      ["steps in both", [[0, 3, 2], [0, 4, 3]], [2, 2], [[0, 3], [8, 11]]],
      ["one element", [2, 3], [], 11],
      ["everything", [], [3, 4], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]],
      ["no rows", [[1, 1]], [0, 4], []],
    ]; // prettier-ignore
    for (const [name, ranges, shape, values] of cases)
      it(`takes ${name}`, () => {
        const part = counting(3, 4).slice(...ranges);
        expect(part.shape).to.deep.equal(shape);
        expect(part.toArray()).to.deep.equal(values);
      });

    it("of leading rows shares memory, and of columns copies", () => {
      const weight = new Parameter(zeros([4, 3]));
      const [rows, row, column] = [weight.slice([1, 3]), weight.slice(2), weight.slice(null, 1)];
      const shares = [rows, row, column].map((part) => part.place("test").storage === weight.place("test").storage);
      expect(shares).to.deep.equal([true, true, false]);
      weight.assign(counting(4, 3));
      expect(rows.toArray()).to.deep.equal([
        [3, 4, 5],
        [6, 7, 8],
      ]);
      expect(row.toArray()).to.deep.equal([6, 7, 8]);
      expect(column.toArray()).to.deep.equal([0, 0, 0, 0]);
    });

    it("without a stop goes to the end", () => {
      expect(counting(4, 2).slice([2]).toArray()).to.deep.equal([[4, 5], [6, 7]]); // prettier-ignore
      expect(counting(4).slice([1, null, 2]).toArray()).to.deep.equal([1, 3]);
      expect(counting(4).slice([-1]).toArray()).to.deep.equal([3]);
    });

    it("takes null or nothing for what a range has by default", () => {
      const x = counting(4);
      expect(x.slice([null, 3]).toArray()).to.deep.equal([0, 1, 2]);
      expect(x.slice([undefined, -1]).toArray()).to.deep.equal([0, 1, 2]);
      expect(x.slice([null, null, 2]).toArray()).to.deep.equal([0, 2]);
      expect(x.slice([null]).toArray()).to.deep.equal([0, 1, 2, 3]);
      expect(x.slice([1, 3, null]).toArray()).to.deep.equal([1, 2]);
      expect(counting(2, 3).slice(null, [null, 1]).toArray()).to.deep.equal([[0], [3]]);
    });

    it("of a slice counts from the slice", () => {
      expect(counting(5, 2).slice([1, 5]).slice([1, 3]).slice(1).toArray()).to.deep.equal([6, 7]);
    });

    it("outlives the tensor that it was taken of", () => {
      const x = counting(3, 2);
      const row = x.slice(1);
      x.dispose();
      expect(row.toArray()).to.deep.equal([2, 3]);
    });

    const wrong: [string, SliceRange[]][] = [
      ["an index too large", [3]],
      ["an index too small", [-4]],
      ["a fractional index", [0.5]],
      ["a stop beyond the end", [[0, 4]]],
      ["a start after the stop", [[2, 1]]],
      ["a step of 0", [[0, 2, 0]]],
      ["a negative step", [[0, 2, -1]]],
      ["more ranges than axes", [null, null, 0]],
    ];
    for (const [name, ranges] of wrong)
      it(`refuses ${name}`, () => {
        const error = failure(() => counting(3, 4).slice(...ranges));
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.match(/^slice: /);
      });
  });

  describe("permute and transpose", () => {
    it("reorder axes", () => {
      const x = counting(2, 3, 4);
      const y = x.permute([2, 0, 1]);
      expect(y.shape).to.deep.equal([4, 2, 3]);
      expect(y.slice(1, 1, 2).item()).to.equal(x.slice(1, 2, 1).item());
      expect(x.permute([-1, 0, 1]).toArray()).to.deep.equal(y.toArray());
      expect(counting(2, 3).transpose().toArray()).to.deep.equal([
        [0, 3],
        [1, 4],
        [2, 5],
      ]);
      expect(x.transpose(0, -1).shape).to.deep.equal([4, 3, 2]);
    });

    it("refuse axes that do not exist, are missing or repeated", () => {
      const x = counting(2, 3);
      for (const axes of [[0], [0, 0], [0, 2], [0, 1, 2]])
        expect(
          failure(() => x.permute(axes)),
          axes.join(),
        ).to.be.instanceOf(ArgumentError);
      expect(failure(() => x.transpose(0, 2)).message).to.equal(
        "transpose: axes 0 and 2 of a tensor of shape [2, 3]. Axes go from -2 to 1.",
      );
      expect(failure(() => tensor([1]).transpose())).to.be.instanceOf(ArgumentError);
    });
  });

  describe("broadcasting", () => {
    it("repeats axes of size 1 and prepends axes", () => {
      const sum = tensor([[1], [2]]).add(tensor([10, 20, 30]));
      expect(sum.toArray()).to.deep.equal([
        [11, 21, 31],
        [12, 22, 32],
      ]);
      expect(tensor([1, 2]).broadcastTo([2, 2]).toArray()).to.deep.equal([
        [1, 2],
        [1, 2],
      ]);
      expect(tensor(3).mul(counting(2, 2)).toArray()).to.deep.equal([
        [0, 3],
        [6, 9],
      ]);
      expect(zeros([0, 3]).add(tensor([1])).shape).to.deep.equal([0, 3]);
    });

    it("refuses sizes that differ, with both shapes and the axis", () => {
      const error = failure(() => zeros([2, 3]).add(zeros([2, 4])));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(
        "add: shapes [2, 3] and [2, 4] do not broadcast: sizes 3 and 4 at axis -1. Sizes of an axis must be equal, or one of them 1.",
      );
      expect(failure(() => zeros([2, 3]).broadcastTo([3]))).to.be.instanceOf(ShapeError);
      expect(zeros([1, 3]).broadcastTo([4, 2, -1]).shape).to.deep.equal([4, 2, 3]);
      expect(failure(() => zeros([3]).broadcastTo([-1, 3]))).to.be.instanceOf(ShapeError);
    });
  });

  describe("concat", () => {
    it("joins along any axis", () => {
      const [a, b] = [counting(2, 2), counting(2, 1)];
      expect(concat([a, b], -1).toArray()).to.deep.equal([
        [0, 1, 0],
        [2, 3, 1],
      ]);
      expect(concat([a, a], 0).shape).to.deep.equal([4, 2]);
      expect(concat([a], 1).toArray()).to.deep.equal(a.toArray());
      expect(concat([zeros([0, 2]), a], 0).toArray()).to.deep.equal(a.toArray());
    });

    it("refuses sizes, dtypes and axes that do not fit, and an empty list", () => {
      expect(failure(() => concat([counting(2, 2), counting(3, 1)], 1)).message).to.equal(
        "concat: x[1] has shape [3, 1], x[0] has [2, 2]. All sizes but that of axis 1 must be equal.",
      );
      expect(failure(() => concat([counting(2), arange(2)], 0)).message).to.equal(
        "concat: x[0] is float32 and x[1] is int32. Convert one of them with .to(...): there is no implicit conversion.",
      );
      expect(failure(() => concat([counting(2)], 1))).to.be.instanceOf(ArgumentError);
      expect(failure(() => concat([], 0)).message).to.equal("concat: no tensors were given.");
    });
  });

  describe("sums and means", () => {
    it("reduce the axes that are named, or all", () => {
      const x = counting(2, 3);
      expect(x.sum().item()).to.equal(15);
      expect(x.sum(0).toArray()).to.deep.equal([3, 5, 7]);
      expect(x.sum([-1], { keepDims: true }).toArray()).to.deep.equal([[3], [12]]);
      expect(x.mean(1).toArray()).to.deep.equal([1, 4]);
      expect(x.sum([]).toArray()).to.deep.equal(x.toArray());
      expect(tensor(4).mean().item()).to.equal(4);
    });

    it("of nothing are 0 and NaN", () => {
      expect(zeros([0, 2]).sum(0).toArray()).to.deep.equal([0, 0]);
      expect(zeros([0]).sum().item()).to.equal(0);
      expect(zeros([0]).mean().item()).to.be.NaN;
    });

    it("refuse axes that do not exist or come twice", () => {
      expect(failure(() => counting(2, 3).sum(2)).message).to.equal(
        "sum: axis 2 does not exist in a tensor of rank 2. Axes go from -2 to 1.",
      );
      expect(failure(() => counting(2, 3).sum([1, -1]))).to.be.instanceOf(ArgumentError);
    });
  });
});
