// einsum: known equations, what is refused, and random equations against a naive sum.

import { expect } from "chai";
import fc from "fast-check";
import type { Tensor } from "langevin";
import { ArgumentError, ShapeError, arange, einsum, ones, tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

/** Small integers, whose products and sums are exact; `salt` makes operands differ. */
function counting(shape: readonly number[], salt = 0): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  return tensor(
    Array.from({ length: size }, (_, i) => ((i * 5 + salt * 3) % 7) - 3),
    { shape },
  );
}

/** Visits every assignment of positions to letters. */
function eachPosition(
  letters: readonly string[],
  sizes: Record<string, number>,
  visit: (at: Record<string, number>) => void,
) {
  const at: Record<string, number> = {};
  const go = (i: number): void => {
    if (i === letters.length) return visit(at);
    for (at[letters[i]] = 0; at[letters[i]] < sizes[letters[i]]; at[letters[i]]++) go(i + 1);
  };
  go(0);
}

async function naive(
  inputs: readonly string[],
  output: string,
  sizes: Record<string, number>,
  operands: readonly Tensor[],
): Promise<number[]> {
  const elements = await Promise.all(operands.map((operand) => operand.data()));
  const place = (subscripts: string, at: Record<string, number>) =>
    [...subscripts].reduce((sum, s) => sum * sizes[s] + at[s], 0);
  const result = new Array<number>([...output].reduce((n, s) => n * sizes[s], 1)).fill(0);
  eachPosition([...new Set(inputs.join(""))], sizes, (at) => {
    const term = inputs.reduce((product, subscripts, i) => product * elements[i][place(subscripts, at)], 1);
    result[place(output, at)] += term;
  });
  return result;
}

const letters = ["a", "b", "c", "d", "e"];
const equations = fc
  .record({
    sizes: fc.tuple(...letters.map(() => fc.integer({ min: 1, max: 3 }))),
    inputs: fc.array(fc.shuffledSubarray(letters, { maxLength: 4 }), { minLength: 1, maxLength: 3 }),
    order: fc.shuffledSubarray(letters, { minLength: 5 }),
    kept: fc.shuffledSubarray(letters),
  })
  .map(({ sizes, inputs, order, kept }) => ({
    sizes: Object.fromEntries(letters.map((letter, i) => [letter, sizes[i]])),
    inputs: inputs.map((subscripts) => subscripts.join("")),
    output: order.filter((s) => kept.includes(s) && inputs.some((subscripts) => subscripts.includes(s))).join(""),
  }));

onEveryDevice("einsum", () => {
  it("multiplies matrices and vectors, transposes and sums", () => {
    const [a, b] = [counting([2, 3]), counting([3, 4], 1)];
    expect(einsum("ij,jk->ik", a, b).toArray()).to.deep.equal(a.matmul(b).toArray());
    expect(einsum("ij , jk", a, b).toArray()).to.deep.equal(a.matmul(b).toArray());
    expect(einsum("ba", a).toArray()).to.deep.equal(a.transpose().toArray());
    expect(einsum("ij->", a).item()).to.equal(a.sum().item());
    expect(einsum("i,i", ones([4]), arange(4).to("float32")).item()).to.equal(6);
    expect(einsum("i,j->ij", ones([2]), ones([3])).shape).to.deep.equal([2, 3]);
    expect(einsum(",->", tensor(2), tensor(3)).item()).to.equal(6);
    expect(einsum("ij->ji", arange(6).reshape([2, 3])).dtype).to.equal("int32");
  });

  it("broadcasts the axes of ...", () => {
    const [a, b] = [counting([2, 1, 3, 4]), counting([5, 4, 2], 1)];
    const product = a.matmul(b);
    expect(einsum("...ij,...jk->...ik", a, b).toArray()).to.deep.equal(product.toArray());
    expect(einsum("...ij,...jk", a, b).toArray()).to.deep.equal(product.toArray());
    expect(einsum("...ij,...jk->k", a, b).toArray()).to.deep.equal(product.sum([0, 1, 2]).toArray());
    expect(einsum("i...->...i", a).shape).to.deep.equal([1, 3, 4, 2]);
    expect(einsum("...,...->...", counting([3]), counting([2, 1])).shape).to.deep.equal([2, 3]);
    expect(einsum("...a,a...->...", counting([1, 2]), counting([2, 1, 1])).shape).to.deep.equal([1, 1]);
    const eight = counting([1, 2, 1, 2, 1, 2, 1, 2]);
    expect(einsum("...,...->...", eight, eight).toArray()).to.deep.equal(eight.square().toArray());
  });

  it("equals the naive sum for random equations", async () => {
    await fc.assert(
      fc.asyncProperty(equations, async ({ sizes, inputs, output }) => {
        const operands = inputs.map((subscripts, i) =>
          counting(
            [...subscripts].map((s) => sizes[s]),
            i,
          ),
        );
        const y = einsum(`${inputs.join(",")}->${output}`, ...operands);
        expect(y.shape).to.deep.equal([...output].map((s) => sizes[s]));
        const expected = await naive(inputs, output, sizes, operands);
        expect(Array.from(await y.data(), (v) => v + 0)).to.deep.equal(expected.map((v) => v + 0));
      }),
      { numRuns: 300, seed: 2 },
    );
  });

  it("passes gradients on", () => {
    const a = counting([2, 3]).requireGrad();
    const b = counting([3, 4], 1).requireGrad();
    einsum("ij,jk->k", a, b).sum().backward();
    expect(a.grad!.toArray()).to.deep.equal(ones([2, 1]).mul(b.sum(1)).toArray());
    expect(b.grad!.toArray()).to.deep.equal(
      a
        .sum(0)
        .reshape([3, 1])
        .mul(ones([1, 4]))
        .toArray(),
    );
  });

  it("says what is wrong with an equation", () => {
    const [a, b] = [ones([2, 3]), ones([3, 4])];
    const refused = (equation: string, ...operands: Tensor[]) => failure(() => einsum(equation, ...operands));
    expect(refused("ij,jk->iz", a, b)).to.be.instanceOf(ArgumentError);
    expect(refused("ij,jk->iz", a, b).message).to.equal(
      'einsum: "ij,jk->iz": the output has the subscript z, which no operand has.',
    );
    expect(refused("ij,jk->ik", a).message).to.equal('einsum: "ij,jk->ik": 2 operands are named, 1 given.');
    expect(refused("ijk,jk->ik", a, b).message).to.match(/"ijk" names 3 axes, operand 0 has shape \[2, 3\]\./);
    expect(refused("ii->i", ones([2, 2])).message).to.match(/"ii" has the subscript i twice\. Diagonals/);
    expect(refused("i1->i", a).message).to.match(/"i1" is not made of letters/);
    expect(refused("ij->i->j", a).message).to.match(/"->" occurs more than once/);
    const sizes = refused("ij,ik->jk", a, b);
    expect(sizes).to.be.instanceOf(ShapeError);
    expect(sizes.message).to.equal('einsum: "ij,ik->jk": subscript i has size 2 in operand 0 and 3 in operand 1.');
    expect(refused("...i,...i->...", a, ones([4, 3])).message).to.match(
      /axis -1 of \.\.\. has size 2 in operand 0 and 4 in operand 1\./,
    );
  });
});
