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

  it("toString shows shape, dtype, device and the first elements", () => {
    expect(String(tensor([1, 0.1]))).to.equal(`Tensor([2], float32, ${device}: 1, 0.1)`);
    expect(arange(20).toString()).to.equal(`Tensor([20], int32, ${device}: 0, 1, 2, 3, 4, 5, 6, 7, ... 12 more)`);
    expect(String(tensor(NaN))).to.equal(`Tensor([], float32, ${device}: NaN)`);
  });

  it("console.log shows the same", () => {
    expect(inspect(tensor([1, 2]))).to.equal(`Tensor([2], float32, ${device}: 1, 2)`);
    expect(inspect({ x: new Parameter(tensor([1])) })).to.equal(`{ x: Tensor([1], float32, ${device}: 1) }`);
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
    expect(String(x)).to.equal("Tensor(disposed, shape [1, 2])");
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
