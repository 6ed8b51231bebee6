// Reading tensors back: in order with queued work, after dispose, and as text.

import { inspect } from "node:util";
import { expect } from "chai";
import { LifetimeError, Parameter, ShapeError, arange, full, ones, scope, tensor, zeros } from "langevin";
import type { Tensor } from "langevin";
import { failure, rejection } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

onEveryDevice("reading", (device) => {
  it("gives typed arrays of the dtype's kind", async () => {
    expect(await tensor([1, 2]).data()).to.deep.equal(new Float32Array([1, 2]));
    expect(await arange(2).data()).to.deep.equal(new Int32Array([0, 1]));
    expect(await zeros([0, 3]).data()).to.deep.equal(new Float32Array(0));
  });

  it("reads a view from its place", async () => {
    const x = tensor([[1, 2], [3, 4], [5, 6]]); // prettier-ignore
    expect([...(await x.slice([1, 3]).data())]).to.deep.equal([3, 4, 5, 6]);
    expect(x.slice(2, [1, 2]).item()).to.equal(6);
  });

  it("waits for all work before it, and sees none after it", async () => {
    const weight = new Parameter(zeros([300, 300]));
    const reads: Promise<ArrayLike<number>>[] = [];
    for (let k = 1; k <= 5; k++) {
      weight.assign(
        ones([300, 300])
          .mul(k)
          .matmul(full([300, 300], 1 / 300)),
      );
      reads.push(weight.data());
    }
    const seen = await Promise.all(reads);
    seen.forEach((values, i) => {
      expect(values[0]).to.be.closeTo(i + 1, 1e-4);
      expect(values[300 * 300 - 1]).to.be.closeTo(i + 1, 1e-4);
    });
  });

  it("is not disturbed when the tensor is disposed while the read is under way", async () => {
    const x = full([1000], 3).mul(2);
    const pending = x.data();
    x.dispose();
    full([1000], 9); // takes over the memory if it was freed too early
    expect([...(await pending)].every((value) => value === 6)).to.equal(true);
  });

  it("item refuses more or less than one element", () => {
    expect(tensor([[5]]).item()).to.equal(5);
    expect(failure(() => tensor([1, 2]).item()).message).to.equal(
      "item: the tensor has shape [2], not one element. Use toArray() or data().",
    );
    expect(failure(() => zeros([0]).item())).to.be.instanceOf(ShapeError);
  });

  it("toString shows the elements as numpy does, then shape, dtype and device", () => {
    expect(String(tensor([1, 0.1]))).to.equal(`tensor([1. , 0.1], shape [2], float32, ${device})`);
    expect(String(tensor([[1, -2], [3, 4]], { dtype: "int32" }))).to.equal(
      `tensor([[ 1, -2],\n        [ 3,  4]], shape [2, 2], int32, ${device})`,
    ); // prettier-ignore
    expect(String(tensor(NaN))).to.equal(`tensor(nan, shape [], float32, ${device})`);
    expect(String(zeros([0, 3]))).to.equal(`tensor([], shape [0, 3], float32, ${device})`);
  });

  it("toString begins a new line where shape, dtype and device do not fit", () => {
    expect(String(arange(20))).to.equal(
      `tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16,\n` +
        `        17, 18, 19], shape [20], int32, ${device})`,
    );
    const lines = String(arange(17)).split("\n");
    expect(lines).to.deep.equal([
      "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16],",
      `       shape [17], int32, ${device})`,
    ]);
  });

  it("toString of a large tensor shows both ends of each axis", () => {
    const x = arange(1_000_000).reshape([1000, 1000]);
    expect(String(x).split("\n")).to.deep.equal([
      "tensor([[     0,      1,      2, ...,    997,    998,    999],",
      "        [  1000,   1001,   1002, ...,   1997,   1998,   1999],",
      "        [  2000,   2001,   2002, ...,   2997,   2998,   2999],",
      "        ...,",
      "        [997000, 997001, 997002, ..., 997997, 997998, 997999],",
      "        [998000, 998001, 998002, ..., 998997, 998998, 998999],",
      "        [999000, 999001, 999002, ..., 999997, 999998, 999999]],",
      `       shape [1000, 1000], int32, ${device})`,
    ]);
  });

  it("console.log shows the same", () => {
    expect(inspect(tensor([1, 2]))).to.equal(`tensor([1., 2.], shape [2], float32, ${device})`);
    expect(inspect({ x: new Parameter(tensor([1])) })).to.equal(`{ x: tensor([1.], shape [1], float32, ${device}) }`);
  });
});

onEveryDevice("a disposed tensor", () => {
  function disposed(): Tensor {
    const x = tensor([[1, 2]]);
    x.dispose();
    return x;
  }
  const text =
    "a tensor of shape [1, 2] was used after it was disposed. Return it from its scope, call keep() on it, or make it outside.";

  it("still tells what it was", () => {
    const x = disposed();
    expect([x.shape, x.dtype, x.disposed]).to.deep.equal([[1, 2], "float32", true]);
    expect(String(x)).to.equal(`tensor(disposed, shape [1, 2], float32, ${x.device})`);
  });

  it("may be disposed again", () => {
    const [x, other] = [disposed(), tensor([5])];
    x.dispose();
    x[Symbol.dispose]();
    expect(other.item()).to.equal(5);
  });

  const uses: [string, (x: Tensor) => unknown][] = [
    ["add", (x) => x.add(1)],
    ["mul", (x) => ones([1, 2]).mul(x)],
    ["reshape", (x) => x.reshape([2])],
    ["slice", (x) => x.slice(0)],
    ["detach", (x) => x.detach()],
    ["toArray", (x) => x.toArray()],
    ["backward", (x) => x.backward()],
    ["assign", (x) => new Parameter(ones([1, 2])).assign(x)],
    ["Parameter", (x) => new Parameter(x)],
  ];
  for (const [op, use] of uses)
    it(`refuses ${op}`, () => {
      const error = failure(() => use(disposed()));
      expect(error).to.be.instanceOf(LifetimeError);
      expect(error.message).to.equal(`${op}: ${text}`);
    });

  it("rejects data()", async () => {
    const error = await rejection(disposed().data());
    expect(error).to.be.instanceOf(LifetimeError);
    expect(error.message).to.equal(`data: ${text}`);
  });

  it("is what a scope leaves behind", () => {
    let inner: Tensor | undefined;
    scope(() => {
      inner = tensor([1]);
    });
    expect(failure(() => inner!.item())).to.be.instanceOf(LifetimeError);
  });
});
