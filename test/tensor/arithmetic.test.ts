// Element-wise arithmetic and functions through the tensor's methods, int32's rules, and losses.

import { expect } from "chai";
import { ArgumentError, DTypeError, ShapeError, arange, embedding, linear, mse, tensor, zeros } from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

function expectNear(x: Tensor, expected: readonly number[]): void {
  const values = x.toArray() as number[];
  expect(values).to.have.length(expected.length);
  values.forEach((value, i) => {
    expect(value, `element ${i}`).to.be.closeTo(expected[i], 1e-6 * Math.max(1, Math.abs(expected[i])));
  });
}

onEveryDevice("arithmetic", () => {
  it("takes tensors and numbers on the right", () => {
    const x = tensor([1, -2, 4]);
    expect(x.add(1).toArray()).to.deep.equal([2, -1, 5]);
    expect(x.sub(tensor([1, 1, 1])).toArray()).to.deep.equal([0, -3, 3]);
    expect(x.mul(-2).toArray()).to.deep.equal([-2, 4, -8]);
    expect(x.div(2).toArray()).to.deep.equal([0.5, -1, 2]);
    expect(x.div(0).toArray()).to.deep.equal([Infinity, -Infinity, Infinity]);
  });

  it("leaves its operands as they were", () => {
    const [a, b] = [tensor([1, 2]), tensor([3, 4])];
    a.add(b);
    a.mul(b).relu();
    expect([a.toArray(), b.toArray()]).to.deep.equal([
      [1, 2],
      [3, 4],
    ]);
  });

  it("gives the functions their usual values", () => {
    const x = [-2, -0.5, 0, 0.5, 3];
    const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
    const t = tensor(x);
    expectNear(t.neg(), [2, 0.5, 0, -0.5, -3]);
    expectNear(t.abs(), [2, 0.5, 0, 0.5, 3]);
    expectNear(t.sign(), [-1, -1, 0, 1, 1]);
    expectNear(t.square(), [4, 0.25, 0, 0.25, 9]);
    expectNear(t.exp(), x.map(Math.exp));
    expectNear(t.relu(), [0, 0, 0, 0.5, 3]);
    expectNear(t.sigmoid(), x.map(sigmoid));
    expectNear(t.tanh(), x.map(Math.tanh));
    expectNear(
      t.silu(),
      x.map((v) => v * sigmoid(v)),
    );
    expectNear(tensor([0.25, 1, 9]).sqrt(), [0.5, 1, 3]);
    expectNear(tensor([0.25, 1, 9]).log(), [0.25, 1, 9].map(Math.log));
  });

  it("multiplies matrices", () => {
    const a = tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(a.matmul(tensor([[1, 0, 2], [0, 1, 3]])).toArray()).to.deep.equal([[1, 2, 8], [3, 4, 18], [5, 6, 28]]); // prettier-ignore
    expect(failure(() => a.matmul(a))).to.be.instanceOf(ShapeError);
  });

  it("applies linear to the last axis of any rank", () => {
    const weight = tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const bias = tensor([100, 200]);
    expect(linear(tensor([1, 1, 1]), weight, bias).toArray()).to.deep.equal([109, 212]);
    expect(linear(tensor([[[[1, 0, 0]], [[0, 0, 1]]]]), weight).toArray()).to.deep.equal([[[[1, 2]], [[5, 6]]]]);
    expect(failure(() => linear(tensor([[1, 2]]), weight)).message).to.equal(
      "linear: expected 3 input features, got 2 (x [1, 2], weight [3, 2]).",
    );
  });

  it("refuses results of more than 8 axes, or of more elements than can be counted", () => {
    const deep = zeros([1, 1, 1, 1, 1, 1, 1, 1], { dtype: "int32" });
    expect(failure(() => embedding(zeros([2, 3]), deep)).message).to.match(/^embedding: .* has rank 9/);
    expect(failure(() => zeros([60000, 1]).add(zeros([1, 60000]))).message).to.match(/^add: .* 3600000000 elements/);
  });

  it("marks rows of an embedding that do not exist with NaN", () => {
    const table = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(embedding(table, arange(2)).toArray()).to.deep.equal([
      [1, 2],
      [3, 4],
    ]);
    const rows = embedding(table, tensor([1, 2, -1], { dtype: "int32" })).toArray() as number[][];
    expect(rows[0]).to.deep.equal([3, 4]);
    for (const value of [...rows[1], ...rows[2]]) expect(value).to.be.NaN;
  });

  it("refuses to mix dtypes, naming both", () => {
    const error = failure(() => arange(3).add(tensor([1, 2, 3])));
    expect(error).to.be.instanceOf(DTypeError);
    expect(error.message).to.equal(
      "add: a is int32 and b is float32. Convert one of them with .to(...): there is no implicit conversion.",
    );
    expect(failure(() => embedding(tensor([[1]]), tensor([0]))).message).to.equal(
      'embedding: index is float32, expected int32. Convert it with .to("int32").',
    );
  });
});

onEveryDevice("int32 tensors", () => {
  it("add, multiply and divide whole numbers; division truncates", () => {
    const x = tensor([-7, -1, 0, 7], { dtype: "int32" });
    expect(x.add(1).toArray()).to.deep.equal([-6, 0, 1, 8]);
    expect(x.div(2).toArray()).to.deep.equal([-3, 0, 0, 3]);
    expect(x.mul(x).toArray()).to.deep.equal([49, 1, 0, 49]);
    expect(x.neg().toArray()).to.deep.equal([7, 1, 0, -7]);
    expect([x.sum().dtype, x.sum().item()]).to.deep.equal(["int32", -1]);
    expect(x.div(tensor([0, 1, 2, -7], { dtype: "int32" })).toArray()).to.deep.equal([0, -1, 0, -1]);
  });

  it("refuse fractional numbers", () => {
    expect(failure(() => arange(2).mul(0.5))).to.be.instanceOf(DTypeError);
    expect(failure(() => arange(2).mul(0.5)).message).to.equal(
      'mul: an int32 tensor with the number 0.5. Convert the tensor with .to("float32").',
    );
  });

  it("refuse functions of floating numbers", () => {
    for (const call of [() => arange(2).exp(), () => arange(2).relu(), () => arange(2).mean()])
      expect(failure(call)).to.be.instanceOf(DTypeError);
    expect(failure(() => arange(2).mean()).message).to.equal(
      'mean: x is int32, expected float32 or float64. Convert it with .to("float32").',
    );
  });

  it("convert to and from floating numbers", () => {
    const x = tensor([-1.9, 1.9, 3]);
    expect([x.to("int32").dtype, x.to("int32").toArray()]).to.deep.equal(["int32", [-1, 1, 3]]);
    expect(arange(2).to("float32").add(0.5).toArray()).to.deep.equal([0.5, 1.5]);
    expect(x.to("float32")).to.equal(x);
  });

  it("have no gradient", () => {
    expect(failure(() => arange(2).requireGrad())).to.be.instanceOf(DTypeError);
    expect(tensor([1, 2]).requireGrad().to("int32").requiresGrad).to.equal(false);
  });
});

onEveryDevice("mse", () => {
  it("is reduced to the mean, to the sum, or not at all", () => {
    const [a, b] = [tensor([[1, 2], [3, 4]]), tensor([[1, 0], [0, 0]])]; // prettier-ignore
    expect(mse(a, b).item()).to.equal(29 / 4);
    expect(mse(a, b, { reduction: "sum" }).item()).to.equal(29);
    expect(mse(a, b, { reduction: "none" }).toArray()).to.deep.equal([
      [0, 4],
      [9, 16],
    ]);
    expect(failure(() => mse(a, b, { reduction: "max" as "sum" }))).to.be.instanceOf(ArgumentError);
  });

  for (const reduction of ["mean", "sum", "none"] as const)
    it(`does not broadcast when reduced by "${reduction}"`, () => {
      const error = failure(() => mse(tensor([[1], [2]]), tensor([1, 2]), { reduction }));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.contain("target has shape [2], expected [2, 1]");
    });
});
