// Matrix products through the tensor's method: vectors, batches, what is refused; and against a naive product.

import { expect } from "chai";
import fc from "fast-check";
import type { Tensor } from "langevin";
import { ShapeError, ones, tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

/** Small integers, whose products and sums are exact. */
function counting(shape: readonly number[]): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  return tensor(
    Array.from({ length: size }, (_, i) => ((i * 7) % 11) - 5),
    { shape },
  );
}

/** All subscripts of a shape in row-major order. */
function subscripts(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (lists, n) => lists.flatMap((list) => Array.from({ length: n }, (_, i) => [...list, i])),
    [[]],
  );
}

/** The element at the end of `subscript`, where axes of size 1 repeat and missing ones lead. */
function elementAt(x: Tensor, elements: ArrayLike<number>, subscript: readonly number[]): number {
  const own = subscript.slice(subscript.length - x.rank);
  return elements[x.shape.reduce((at, n, axis) => at * n + (n === 1 ? 0 : own[axis]), 0)];
}

async function naive(a: Tensor, b: Tensor, shape: readonly number[]): Promise<number[]> {
  const [left, right] = [await a.data(), await b.data()];
  const terms = a.shape[a.rank - 1];
  return subscripts(shape).map((s) => {
    const [batch, row, col] = [s.slice(0, -2), s[s.length - 2], s[s.length - 1]];
    let sum = 0;
    for (let k = 0; k < terms; k++)
      sum += elementAt(a, left, [...batch, row, k]) * elementAt(b, right, [...batch, k, col]);
    return sum + 0;
  });
}

/** A batch, and two shapes that broadcast to it. */
const batches = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom("both", "left", "right")), { maxLength: 3 })
  .chain((axes) =>
    fc.record({
      batch: fc.constant(axes.map(([n]) => n)),
      left: fc.constant(axes.map(([n, has]) => (has === "right" ? 1 : n))),
      right: fc.constant(axes.map(([n, has]) => (has === "left" ? 1 : n))),
      bare: fc.boolean(),
    }),
  )
  .map(({ batch, left, right, bare }) => {
    // Leading ones may as well be missing.
    const ones = right.findIndex((n) => n !== 1);
    return { batch, left, right: bare ? right.slice(ones < 0 ? right.length : ones) : right };
  });

onEveryDevice("matmul", () => {
  it("takes a vector as a row on the left and as a column on the right", () => {
    const [v, m] = [tensor([1, 2]), tensor([[1, 2, 3], [4, 5, 6]])]; // prettier-ignore
    expect(v.matmul(m).toArray()).to.deep.equal([9, 12, 15]);
    expect(m.matmul(tensor([1, 0, -1])).toArray()).to.deep.equal([-2, -2]);
    expect(v.matmul(tensor([3, 4])).toArray()).to.equal(11);
    const batch = counting([3, 2, 2]);
    expect(v.matmul(batch).shape).to.deep.equal([3, 2]);
    expect(batch.matmul(v).shape).to.deep.equal([3, 2]);
  });

  it("equals the naive product for all batches that broadcast", async () => {
    const size = fc.integer({ min: 1, max: 5 });
    await fc.assert(
      fc.asyncProperty(batches, size, size, size, async ({ batch, left, right }, m, k, n) => {
        const [a, b] = [counting([...left, m, k]), counting([...right, k, n])];
        const y = a.matmul(b);
        expect(y.shape).to.deep.equal([...batch, m, n]);
        expect(Array.from(await y.data(), (v) => v + 0)).to.deep.equal(await naive(a, b, y.shape));
      }),
      { numRuns: 150, seed: 1 },
    );
  });

  it("sums the gradient of a matrix that was broadcast", () => {
    const a = ones([3, 2, 4]).requireGrad();
    const b = ones([4, 5]).requireGrad();
    const c = ones([2, 1, 5, 1]).requireGrad();
    a.matmul(b).matmul(c).sum().backward();
    expect(a.grad!.toArray()).to.deep.equal(ones([3, 2, 4]).mul(10).toArray());
    expect(b.grad!.toArray()).to.deep.equal(ones([4, 5]).mul(12).toArray());
    expect(c.grad!.toArray()).to.deep.equal(ones([2, 1, 5, 1]).mul(24).toArray());
  });

  it("says which sizes do not fit", () => {
    const refused = (a: readonly number[], b: readonly number[]) => failure(() => ones(a).matmul(ones(b)));
    expect(refused([2, 3], [2, 3])).to.be.instanceOf(ShapeError);
    expect(refused([2, 3], [2, 3]).message).to.equal("matmul: inner sizes 3 and 2 differ: a [2, 3], b [2, 3].");
    expect(refused([2, 4, 3], [5, 3, 4]).message).to.equal(
      "matmul: the batches of a [2, 4, 3] and b [5, 3, 4] do not broadcast: sizes 2 and 5 at axis -3. " +
        "All axes but the last two must be equal, or one of them 1.",
    );
    expect(refused([], [3, 4]).message).to.match(/^matmul: a has shape \[\], expected \[\.\.\., M, K\]\./);
  });
});
