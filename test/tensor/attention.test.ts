// Attention as functions: against its definition in single operations, in both layouts; gradients; what is refused.

import { expect } from "chai";
import type { Tensor } from "langevin";
import { GradientError, ShapeError, attention, rand, randn, scaledDotProductAttention, tensor, zeros } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

function expectNear(x: Tensor, y: Tensor): void {
  expect(x.shape).to.deep.equal(y.shape);
  const difference = x.sub(y).abs().reshape([x.size]).toArray() as number[];
  expect(Math.max(...difference)).to.be.below(1e-5);
}

const normal = (shape: readonly number[], image: number): Tensor => randn(shape, { seed: 3, image });

/** softmax(q kᵀ / sqrt(D) + added) v with heads as an axis. */
function definition(q: Tensor, k: Tensor, v: Tensor, added: Tensor | number = 0): Tensor {
  const scores = q.matmul(k.transpose()).div(Math.sqrt(q.shape[q.rank - 1]));
  return scores.add(added).softmax().matmul(v);
}

/** [B, H, L, D] as [B, L, H D], and back. */
const join = (x: Tensor): Tensor => x.permute([0, 2, 1, 3]).reshape([x.shape[0], x.shape[2], x.shape[1] * x.shape[3]]);
const split = (x: Tensor, heads: number): Tensor =>
  x.reshape([x.shape[0], x.shape[1], heads, x.shape[2] / heads]).permute([0, 2, 1, 3]);

onEveryDevice("attention", () => {
  const q = () => normal([2, 3, 5, 4], 1);
  const k = () => normal([2, 3, 7, 4], 2);
  const v = () => normal([2, 3, 7, 6], 3);

  it("is its definition, with heads in the channels or as an axis", () => {
    const expected = definition(q(), k(), v());
    expectNear(scaledDotProductAttention(q(), k(), v()), expected);
    expectNear(split(attention(join(q()), join(k()), join(v()), { heads: 3 }), 3), expected);
    expectNear(scaledDotProductAttention(q(), k(), v(), { scale: 0.5 }), expected);
    const one = [q(), k(), v()].map((x) => x.slice(0, 1)) as [Tensor, Tensor, Tensor];
    expectNear(scaledDotProductAttention(...one), expected.slice(0, 1));
  });

  it("broadcasts masks over batch, heads, queries and keys", () => {
    for (const shape of [[7], [5, 1], [5, 7], [3, 1, 7], [1, 1, 7], [2, 1, 5, 7], [1, 3, 5, 1], [2, 3, 5, 7]]) {
      const mask = normal(shape, 4);
      const expected = definition(q(), k(), v(), mask);
      expectNear(scaledDotProductAttention(q(), k(), v(), { mask }), expected);
      expectNear(split(attention(join(q()), join(k()), join(v()), { heads: 3, mask }), 3), expected);
    }
  });

  it("hides keys where an integer mask is 0, and later ones when causal", () => {
    const mask = tensor([1, 0, 1, 1, 0, 0, 1], { dtype: "int32" });
    const added = tensor([0, -1e9, 0, 0, -1e9, -1e9, 0]);
    expectNear(scaledDotProductAttention(q(), k(), v(), { mask }), definition(q(), k(), v(), added));
    const future = tensor(Array.from({ length: 35 }, (_, i) => (i % 7 > Math.floor(i / 7) ? -1e9 : 0))).reshape([5, 7]);
    const causal = scaledDotProductAttention(q(), k(), v(), { causal: true });
    expectNear(causal, definition(q(), k(), v(), future));
    expectNear(causal.slice(null, null, 0), v().slice(null, null, 0));
  });

  it("gives the gradients of its definition", () => {
    const added = normal([5, 7], 5);
    const gradientsOf = (f: (q: Tensor, k: Tensor, v: Tensor) => Tensor): Tensor[] => {
      const leaves = [q(), k(), v()].map((x) => x.requireGrad());
      const y = f(leaves[0], leaves[1], leaves[2]);
      y.backward(rand(y.shape, { seed: 8 }));
      return leaves.map((leaf) => leaf.grad!);
    };
    const expected = gradientsOf((q, k, v) => definition(q, k, v, added));
    gradientsOf((q, k, v) => scaledDotProductAttention(q, k, v, { mask: added })).forEach((gradient, i) => {
      expectNear(gradient, expected[i]);
    });
    const inChannels = { heads: 3, mask: added };
    gradientsOf((q, k, v) => split(attention(join(q), join(k), join(v), inChannels), 3)).forEach((gradient, i) => {
      expectNear(gradient, expected[i]);
    });
  });

  it("refuses operands that do not fit, naming them", () => {
    const refused = (f: () => unknown) => failure(f);
    const x = zeros([2, 5, 6]);
    expect(refused(() => attention(x, x, x, { heads: 4 })).message).to.equal(
      "attention: 6 channels of q and k and 6 of v cannot be shared out evenly to 4 heads.",
    );
    expect(refused(() => attention(x, zeros([2, 7, 4]), x)).message).to.equal(
      "attention: k has shape [2, 7, 4], expected [2, 7, 6] (batch and channels of q).",
    );
    expect(refused(() => attention(x, x, x, { mask: zeros([5, 6]) })).message).to.equal(
      "attention: mask has shape [5, 6], which does not broadcast to [batch, heads, queries, keys] = [2, 1, 5, 5].",
    );
    expect(refused(() => attention(x, x, x, { mask: zeros([5]).requireGrad() }))).to.be.instanceOf(GradientError);
    const error = refused(() => scaledDotProductAttention(zeros([2, 3, 5, 4]), zeros([2, 5, 4]), zeros([2, 3, 5, 4])));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.equal(
      "scaledDotProductAttention: k has shape [2, 5, 4], expected [2, 3, length, channels]. " +
        "The axes before the last two must be those of q.",
    );
  });

  it("speaks of the shapes as they were given, where heads are an axis", () => {
    const [q, k] = [zeros([2, 3, 5, 4]), zeros([2, 3, 7, 4])];
    const refused = (f: () => unknown) => failure(f).message;
    const axes = "Its last axes are queries and keys, those before them the leading ones of q.";
    for (const shape of [[5, 6], [3, 1, 5, 7], [1, 2, 3, 5, 7], [2, 1, 1, 6], [4]])
      expect(refused(() => scaledDotProductAttention(q, k, k, { mask: zeros(shape) }))).to.equal(
        `scaledDotProductAttention: mask has shape [${shape.join(", ")}], which does not broadcast to [2, 3, 5, 7]. ${axes}`,
      ); // prettier-ignore
    for (const shape of [[], [7], [5, 1], [3, 5, 7], [2, 1, 1, 7]])
      expect(scaledDotProductAttention(q, k, k, { mask: zeros(shape) }).shape).to.deep.equal([2, 3, 5, 4]);
    expect(refused(() => scaledDotProductAttention(q, zeros([2, 3, 7, 6]), k))).to.equal(
      "scaledDotProductAttention: k has shape [2, 3, 7, 6], expected [2, 3, 7, 4] (channels of q).",
    );
    expect(refused(() => scaledDotProductAttention(q, k, q))).to.equal(
      "scaledDotProductAttention: v has shape [2, 3, 5, 4], expected [2, 3, 7, 4] (length of k).",
    );
    expect(refused(() => scaledDotProductAttention(q, k.to("int32"), k))).to.match(
      /^scaledDotProductAttention: q is float32 and k is int32\./,
    );
  });
});
