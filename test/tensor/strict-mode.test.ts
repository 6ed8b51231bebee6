// Strict mode finds the first operation that makes a NaN, and errors of operations tell their operands.

import { expect } from "chai";
import { NumericsError, Parameter, ShapeError, crossEntropy, embedding, setStrictMode, tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

onEveryDevice("strict mode", () => {
  afterEach(() => {
    setStrictMode(false);
  });

  it("is off by default", () => {
    expect(tensor([-1]).log().item()).to.be.NaN;
  });

  it("names the operation, the place and whether an operand had a NaN already", () => {
    const bad = tensor([
      [1, NaN],
      [2, 3],
    ]);
    setStrictMode(true);
    expect(tensor([1, 2]).log().toArray()).to.have.length(2);
    const made = failure(() => tensor([[4], [-1]]).sqrt());
    expect(made).to.be.instanceOf(NumericsError);
    expect(made.message).to.equal(
      "sqrt: element [1, 0] of the result (shape [2, 1]) is NaN. No operand has a NaN: look for a division by 0, " +
        "the logarithm or root of a negative number, or infinities that meet.",
    );
    expect(failure(() => tensor([0, 0]).add(bad)).message).to.equal(
      "add: element [0, 1] of the result (shape [2, 2]) is NaN. Operand 2 of 2 has one already: look at where it comes from.",
    );
  });

  it("tells of indexes out of range", () => {
    const x = tensor([[1, 2], [3, 4]]); // prettier-ignore
    const index = (...places: number[]) => tensor(places, { dtype: "int32" });
    setStrictMode(true);
    const advice =
      "No operand has a NaN: look for an index out of range; indexes go from 0 to n - 1 and do not count from the end.";
    expect(failure(() => embedding(x, index(0, 2))).message).to.equal(
      `embedding: element [1, 0] of the result (shape [2, 2]) is NaN. ${advice}`,
    );
    for (const pick of [
      () => x.gather(1, index(-1, 0).reshape([2, 1])),
      () => x.indexSelect(0, index(0, 5)),
      () => crossEntropy(x, index(1, 2)),
    ])
      expect(failure(pick).message).to.match(/^gather: element .* is NaN\. .*index out of range/);
    expect(failure(() => x.scatterAdd(0, index(0, 0).reshape([1, 2]), tensor([[NaN, 0]]))).message).to.match(
      /^scatterAdd: .* Operand 2 of 2 has one already/,
    );
  });

  it("lets infinities pass", () => {
    setStrictMode(true);
    expect(tensor([0]).log().item()).to.equal(-Infinity);
  });

  it("looks at backward, too", () => {
    const x = new Parameter(tensor([0, 4]));
    setStrictMode(true);
    const y = x
      .sqrt()
      .mul(tensor([0, 1]))
      .sum();
    expect(failure(() => y.backward()).message).to.match(/^div: element \[0\] of the result \(shape \[2\]\) is NaN/);
  });

  it("looks at what is written in place", () => {
    const x = new Parameter(tensor([1, 2]));
    setStrictMode(true);
    expect(failure(() => x.assign(tensor([NaN, 1]))).message).to.match(/^assign: element \[0\] .* Operand 2 of 2/);
  });
});

onEveryDevice("errors of operations", () => {
  it("carry the operands by name", () => {
    const refused = failure(() => tensor([[1, 2]]).matmul(tensor([[1, 2, 3]])));
    expect(refused).to.be.instanceOf(ShapeError);
    expect((refused as ShapeError).operands).to.deep.equal([
      { name: "a", shape: [1, 2], dtype: "float32" },
      { name: "b", shape: [1, 3], dtype: "float32" },
    ]);
  });
});
