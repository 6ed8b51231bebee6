// Comparisons, masks, where, lerp, powers and bounds as users call them.

import { expect } from "chai";
import { ArgumentError, DTypeError, ShapeError, arange, lerp, tensor, where, zeros } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

onEveryDevice("selection", () => {
  it("compares with tensors and numbers, giving int32 masks", () => {
    const x = tensor([1, 2, 3]);
    expect([x.greater(2).dtype, x.greater(2).toArray()]).to.deep.equal(["int32", [0, 0, 1]]);
    expect(x.greaterEqual(2).toArray()).to.deep.equal([0, 1, 1]);
    expect(x.less(tensor([[2], [3]])).toArray()).to.deep.equal([[1, 0, 0], [1, 1, 0]]); // prettier-ignore
    expect(x.lessEqual(2).toArray()).to.deep.equal([1, 1, 0]);
    expect(arange(3).equal(1).toArray()).to.deep.equal([0, 1, 0]);
    expect(x.notEqual(x).toArray()).to.deep.equal([0, 0, 0]);
    expect(x.requireGrad().equal(1).requiresGrad).to.equal(false);
    expect(failure(() => x.greater(tensor([1, 2]))).message).to.match(/^greater: shapes \[3\] and \[2\]/);
  });

  it("combines masks", () => {
    const [a, b] = [tensor([0, 0, 2, 3]), tensor([0, 5, 0, 7])];
    expect(a.logicalNot().toArray()).to.deep.equal([1, 1, 0, 0]);
    expect(a.logicalAnd(b).toArray()).to.deep.equal([0, 0, 0, 1]);
    expect(a.logicalOr(b).toArray()).to.deep.equal([0, 1, 1, 1]);
    const x = tensor([1, NaN, Infinity, -Infinity]);
    expect(x.isNaN().toArray()).to.deep.equal([0, 1, 0, 0]);
    expect(x.isFinite().toArray()).to.deep.equal([1, 0, 0, 0]);
    expect(arange(2).isFinite().toArray()).to.deep.equal([1, 1]);
  });

  it("where takes tensors and numbers, and gives each its gradient", () => {
    const mask = tensor([1, 0, 1], { dtype: "int32" });
    const a = tensor([1, 2, 3]).requireGrad();
    const b = tensor(5).requireGrad();
    where(mask, a, b).sum().backward();
    expect([a.grad!.toArray(), b.grad!.item()]).to.deep.equal([[1, 0, 1], 1]);
    expect(where(mask, a, 0).toArray()).to.deep.equal([1, 0, 3]);
    expect(where(mask, 0, a).toArray()).to.deep.equal([0, 2, 0]);
    expect(where(mask, 1, -1).toArray()).to.deep.equal([1, -1, 1]);
    expect(a.maskedFill(mask, -Infinity).toArray()).to.deep.equal([-Infinity, 2, -Infinity]);
    expect(failure(() => where(a, a, b))).to.be.instanceOf(DTypeError);
    expect(failure(() => where(mask, zeros([2]), b))).to.be.instanceOf(ShapeError);
  });

  it("maximum and minimum share the gradient of equals", () => {
    const a = tensor([1, 2, 3]).requireGrad();
    const b = tensor([2, 2, 2]).requireGrad();
    a.maximum(b).sum().backward();
    expect([a.grad!.toArray(), b.grad!.toArray()]).to.deep.equal([[0, 0.5, 1], [1, 0.5, 0]]); // prettier-ignore
    a.clearGrad();
    a.minimum(2).sum().backward();
    expect(a.grad!.toArray()).to.deep.equal([1, 0.5, 0]);
  });

  it("pow has gradients at 0, and refuses integers", () => {
    const x = tensor([0, 0, 0, 2]).requireGrad();
    const y = tensor([0, 1, 2, 3]).requireGrad();
    x.pow(y).sum().backward();
    expect(x.grad!.toArray()).to.deep.equal([0, 1, 0, 12]);
    const [p, q, r, s] = y.grad!.toArray() as number[];
    expect([p, q, r]).to.deep.equal([0, 0, 0]);
    expect(s).to.be.closeTo(8 * Math.LN2, 1e-5);
    expect(tensor([-3, 3]).pow(2).toArray()).to.deep.equal([9, 9]);
    expect(tensor([-3, 3]).pow(3).toArray()).to.deep.equal([-27, 27]);
    expect(failure(() => arange(2).pow(3))).to.be.instanceOf(DTypeError);
  });

  it("clamp takes either bound, also of integers", () => {
    expect(tensor([-2, 0, 2]).clamp({ min: -1 }).toArray()).to.deep.equal([-1, 0, 2]);
    expect(arange(4).clamp({ max: 2 }).toArray()).to.deep.equal([0, 1, 2, 2]);
    expect(failure(() => tensor([1]).clamp({ min: 2, max: 1 }))).to.be.instanceOf(ArgumentError);
    expect(failure(() => arange(2).clamp({ min: 0.5 })).message).to.equal(
      "clamp: min is 0.5 and max is Infinity for an int32 tensor.",
    );
  });

  it("lerp is exact at both ends", () => {
    const [a, b] = [tensor([0.1, -7, 1e8]), tensor([0.3, 9, 1])];
    expect(lerp(a, b, 0).toArray()).to.deep.equal(a.toArray());
    expect(lerp(a, b, 1).toArray()).to.deep.equal(b.toArray());
    expect(lerp(a, b, tensor([0, 1, 0.5])).toArray()).to.deep.equal(
      [a.slice(0).item(), 9, 50000000.5].map(Math.fround),
    );
  });

  it("gelu comes in two forms", () => {
    const x = tensor([1]);
    expect(x.gelu().item()).to.be.closeTo(0.8413447, 1e-6);
    expect(x.gelu({ approximate: "tanh" }).item()).to.be.closeTo(0.841192, 1e-6);
    expect(failure(() => x.gelu({ approximate: "erf" as "none" }))).to.be.instanceOf(ArgumentError);
  });
});
