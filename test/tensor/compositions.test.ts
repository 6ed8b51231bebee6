// Functions that are made of other operations, as PyTorch defines them: values by hand, gradients, and what is refused.

import { expect } from "chai";
import {
  AdaptiveAvgPool2d,
  Linear,
  PixelShuffle,
  PixelUnshuffle,
  Sequential,
  Softmax,
  arange,
  cosineSimilarity,
  noGrad,
  normalize,
  oneHot,
  ones,
  pixelShuffle,
  pixelUnshuffle,
  rand,
  randn,
  tensor,
  zeros,
} from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

const valuesOf = (x: Tensor): number[] => [x.toArray()].flat(9) as number[];

function expectNear(x: Tensor, values: readonly number[], distance = 1e-6): void {
  const got = valuesOf(x);
  expect(got).to.have.length(values.length);
  got.forEach((value, i) => expect(value, `element ${i}`).to.be.closeTo(values[i], distance));
}

/** 0, 1, 2, ... in this shape. */
const counting = (...shape: number[]): Tensor => arange(shape.reduce((n, m) => n * m, 1)).to("float32").reshape(shape); // prettier-ignore

/** The gradient at x of f's result, each element weighted by the one of `weights`. */
function gradientOf(x: Tensor, f: (x: Tensor) => Tensor, weights: readonly number[]): number[] {
  const leaf = x.detach().requireGrad();
  const y = f(leaf);
  y.backward(tensor(weights, { shape: y.shape }));
  return valuesOf(leaf.grad!);
}

onEveryDevice("compositions", (device) => {
  it("log2 and tan", () => {
    expectNear(tensor([1, 8, 0.125, 10]).log2(), [0, 3, -3, Math.log2(10)]);
    expect(valuesOf(tensor([0, -1, Infinity]).log2())).to.deep.equal([-Infinity, NaN, Infinity]);
    expectNear(tensor([0, 0.5, -1.25, 3]).tan(), [0, 0.5, -1.25, 3].map(Math.tan));
    expect(gradientOf(tensor([2]), (x) => x.log2(), [1])[0]).to.be.closeTo(1 / (2 * Math.LN2), 1e-6);
    expect(gradientOf(tensor([0.5]), (x) => x.tan(), [1])[0]).to.be.closeTo(1 / Math.cos(0.5) ** 2, 1e-5);
  });

  it("isInf", () => {
    const x = tensor([1, NaN, Infinity, -Infinity]);
    expect([x.isInf().dtype, x.isInf().toArray()]).to.deep.equal(["int32", [0, 0, 1, 1]]);
    expect(arange(2).isInf().toArray()).to.deep.equal([0, 0]);
  });

  it("dot and outer, of integers too", () => {
    const [a, b] = [tensor([1, 2, 3]), tensor([4, -5, 6])];
    expect([a.dot(b).shape, a.dot(b).item()]).to.deep.equal([[], 12]);
    expect(arange(4).dot(arange(4)).item()).to.equal(14);
    expect(
      zeros([0])
        .dot(zeros([0]))
        .item(),
    ).to.equal(0);
    expect(gradientOf(a, (x) => x.dot(b), [1])).to.deep.equal([4, -5, 6]);
    expect(gradientOf(a, (x) => x.dot(x), [1])).to.deep.equal([2, 4, 6]);
    expect(a.outer(tensor([1, 10])).toArray()).to.deep.equal([[1, 10], [2, 20], [3, 30]]); // prettier-ignore
    expect(arange(2).outer(arange(3)).toArray()).to.deep.equal([[0, 0, 0], [0, 1, 2]]); // prettier-ignore
    expect(a.outer(zeros([0])).shape).to.deep.equal([3, 0]);
    expect(gradientOf(a, (x) => x.outer(b), [1, 0, 0, 0, 2, 0, 0, 0, 3])).to.deep.equal([4, -10, 18]);
  });

  it("unbind", () => {
    const x = counting(2, 3);
    expect(x.unbind().map((row) => row.toArray())).to.deep.equal([[0, 1, 2], [3, 4, 5]]); // prettier-ignore
    expect(x.unbind(-1).map((column) => column.toArray())).to.deep.equal([[0, 3], [1, 4], [2, 5]]); // prettier-ignore
    expect(tensor([7, 8]).unbind().map((one) => one.item())).to.deep.equal([7, 8]); // prettier-ignore
    expect(zeros([0, 3]).unbind()).to.deep.equal([]);
    const part = x.unbind()[1];
    expect(part.place("test").storage).to.equal(x.place("test").storage);
    expect(gradientOf(x, (leaf) => leaf.unbind(1)[2], [1, 2])).to.deep.equal([0, 0, 1, 0, 0, 2]);
  });

  it("diag makes matrices of vectors", () => {
    const x = tensor([1, 2]);
    expect(x.diag().toArray()).to.deep.equal([[1, 0], [0, 2]]); // prettier-ignore
    expect(x.diag(1).toArray()).to.deep.equal([[0, 1, 0], [0, 0, 2], [0, 0, 0]]); // prettier-ignore
    expect(x.diag(-2).toArray()).to.deep.equal([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0]]); // prettier-ignore
    expect(arange(2).diag().toArray()).to.deep.equal([[0, 0], [0, 1]]); // prettier-ignore
    expect(zeros([0]).diag().shape).to.deep.equal([0, 0]);
    expect(zeros([0]).diag(-1).toArray()).to.deep.equal([[0]]);
    expect(gradientOf(x, (leaf) => leaf.diag(-1), [0, 0, 0, 5, 0, 0, 0, 6, 0])).to.deep.equal([5, 6]);
  });

  it("diag takes vectors from matrices", () => {
    const x = counting(3, 4);
    const expected = { "-4": [], "-3": [], "-2": [8], "-1": [4, 9], "0": [0, 5, 10], "1": [1, 6, 11], "2": [2, 7], "3": [3], "4": [], "9": [] }; // prettier-ignore
    for (const [diagonal, values] of Object.entries(expected)) {
      expect(x.diag(Number(diagonal)).toArray(), diagonal).to.deep.equal(values);
      const wanted = valuesOf(x.transpose().diag(-Number(diagonal)));
      expect(wanted, diagonal).to.deep.equal(values);
    }
    expect(zeros([0, 3]).diag().shape).to.deep.equal([0]);
    expect(gradientOf(counting(2, 3), (leaf) => leaf.diag(1), [7, 8])).to.deep.equal([0, 7, 0, 0, 0, 8]);
  });

  it("oneHot", () => {
    const classes = tensor([[2, 0], [1, 3]], { dtype: "int32" }); // prettier-ignore
    const rows = oneHot(classes, 3);
    expect([rows.dtype, rows.shape, rows.device]).to.deep.equal(["int32", [2, 2, 3], device]);
    expect(rows.toArray()).to.deep.equal([[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]]); // prettier-ignore
    expect(oneHot(tensor(1, { dtype: "int32" }), 2).toArray()).to.deep.equal([0, 1]);
    expect(oneHot(tensor([-1], { dtype: "int32" }), 2).toArray()).to.deep.equal([[0, 0]]);
  });

  it("normalize gives vectors length 1 along an axis, and leaves zeros", () => {
    const x = tensor([[3, 4], [0, 0], [-5, 12]]); // prettier-ignore
    expectNear(normalize(x), [0.6, 0.8, 0, 0, -5 / 13, 12 / 13]);
    expectNear(normalize(x, { p: 1 }), [3 / 7, 4 / 7, 0, 0, -5 / 17, 12 / 17]);
    expectNear(normalize(x, { p: Infinity }), [0.75, 1, 0, 0, -5 / 12, 1]);
    expectNear(normalize(x.slice([0, 1]), { epsilon: 10 }), [0.3, 0.4]);
    expectNear(normalize(x, { axis: 0 }).norm(0), [1, 1]);
    // (g - y (y . g)) / norm; at zeros PyTorch's, too, is g / epsilon.
    const gradient = gradientOf(tensor([3, 4]), (leaf) => normalize(leaf), [1, 0]);
    [(1 - 0.36) / 5, -0.48 / 5].forEach((expected, i) => expect(gradient[i]).to.be.closeTo(expected, 1e-6));
    expect(gradientOf(zeros([1]), (leaf) => normalize(leaf, { epsilon: 0.5 }), [1])).to.deep.equal([2]);
  });

  it("cosineSimilarity", () => {
    const a = tensor([[1, 0], [1, 1], [0, 0]]); // prettier-ignore
    expectNear(cosineSimilarity(a, tensor([[2, 0], [-3, -3], [1, 1]])), [1, -1, 0]); // prettier-ignore
    expectNear(cosineSimilarity(a, tensor([0, 5])), [0, Math.SQRT1_2, 0]);
    expectNear(cosineSimilarity(a, tensor([2, 7]), { axis: 0 }), [Math.sqrt(2 / 3), Math.sqrt(1 / 3)]);
    // An axis of size 1 is repeated before anything is measured.
    expectNear(cosineSimilarity(tensor([[1, 2, 2]]), tensor([[4]])), [5 / (3 * Math.sqrt(3))]);
    expect(cosineSimilarity(ones([2, 1, 3]), ones([4, 3])).shape).to.deep.equal([2, 4]);
    const [x, y] = [randn([3, 5], { seed: 1 }), randn([3, 5], { seed: 2 })];
    expectNear(cosineSimilarity(x, y).sub(normalize(x).mul(normalize(y)).sum(1)), [0, 0, 0]);
    const gradient = gradientOf(tensor([3, 4]), (leaf) => cosineSimilarity(leaf, tensor([2, 0])), [1]);
    [(1 - 0.36) / 5, -0.48 / 5].forEach((expected, i) => expect(gradient[i]).to.be.closeTo(expected, 1e-6));
  });

  it("pixelShuffle is PyTorch's but for the layout, and pixelUnshuffle undoes it", () => {
    const [n, c, h, w, r] = [2, 3, 2, 4, 3];
    const nchw = counting(n, c * r * r, h, w);
    const toNHWC = (x: Tensor): Tensor => x.permute([0, 2, 3, 1]);
    const toNCHW = (x: Tensor): Tensor => x.permute([0, 3, 1, 2]);
    const shuffled = toNCHW(pixelShuffle(toNHWC(nchw), r));
    expect(shuffled.shape).to.deep.equal([n, c, h * r, w * r]);
    // torch.nn.PixelShuffle's definition: output[k, y, x] of input channel k r^2 + (y mod r) r + (x mod r).
    const [from, to] = [valuesOf(nchw), valuesOf(shuffled)];
    to.forEach((value, at) => {
      const [x, y, k] = [at % (w * r), Math.floor(at / (w * r)) % (h * r), Math.floor(at / (w * r * h * r)) % c];
      const image = Math.floor(at / (c * h * r * w * r));
      const channel = k * r * r + (y % r) * r + (x % r);
      const source = ((image * c * r * r + channel) * h + Math.floor(y / r)) * w + Math.floor(x / r);
      expect(value).to.equal(from[source]);
    });
    const back = toNCHW(pixelUnshuffle(toNHWC(shuffled), r));
    expect(back.toArray()).to.deep.equal(nchw.toArray());
  });

  it("pixelShuffle takes one image or many axes of them, and any dtype", () => {
    expect(pixelShuffle(counting(1, 1, 4), 2).toArray()).to.deep.equal([[[0], [1]], [[2], [3]]]); // prettier-ignore
    expect(pixelUnshuffle(counting(2, 2, 1), 2).toArray()).to.deep.equal([[[0, 1, 2, 3]]]);
    expect(pixelShuffle(zeros([2, 3, 4, 5, 8], { dtype: "int32" }), 2).shape).to.deep.equal([2, 3, 8, 10, 2]);
    expect(pixelUnshuffle(zeros([0, 4, 6, 2]), 2).shape).to.deep.equal([0, 2, 3, 8]);
    const weights = [1, 2, 3, 4, 5, 6, 7, 8];
    expect(gradientOf(zeros([1, 2, 4]), (x) => pixelShuffle(x, 2), weights)).to.deep.equal([1, 2, 5, 6, 3, 4, 7, 8]);
    expect(gradientOf(zeros([2, 4, 1]), (x) => pixelUnshuffle(x, 2), weights)).to.deep.equal([1, 2, 5, 6, 3, 4, 7, 8]);
  });

  it("as layers", () => {
    const x = rand([2, 4, 6, 8], { seed: 3 });
    const same = (a: Tensor, b: Tensor): unknown => expect(a.toArray()).to.deep.equal(b.toArray());
    same(new Softmax().forward(x), x.softmax(-1));
    same(new Softmax(1).forward(x), x.softmax(1));
    expect(new AdaptiveAvgPool2d([2, 3]).forward(x).shape).to.deep.equal([2, 2, 3, 8]);
    expectNear(new AdaptiveAvgPool2d(1).forward(ones([1, 3, 5, 1])), [1]);
    same(new PixelShuffle(2).forward(x), pixelShuffle(x, 2));
    same(new PixelUnshuffle(2).forward(x), pixelUnshuffle(x, 2));
    const net = new Sequential(new PixelUnshuffle(2), new AdaptiveAvgPool2d(1), new Linear(32, 5), new Softmax());
    expectNear(noGrad(() => net.forward(x).sum(-1)), [1, 1]); // prettier-ignore
    const wrong: [() => unknown, string][] = [
      [() => new PixelShuffle(0), "PixelShuffle: factor is [0], expected 1 integer >= 1."],
      [() => new PixelUnshuffle(1.5), "PixelUnshuffle: factor is [1.5], expected 1 integer >= 1."],
      [() => new AdaptiveAvgPool2d([1, 0]), "AdaptiveAvgPool2d: size is [1, 0], expected 2 integers >= 1."],
      [() => new Softmax("1" as never), 'Softmax: axis is "1", expected an integer.'],
      [() => new PixelShuffle(3).forward(x), "pixelShuffle: pixelShuffle: x has shape [2, 4, 6, 8], whose 8 channels 3^2 does not divide."],
    ]; // prettier-ignore
    for (const [call, text] of wrong) expect(failure(call).message).to.equal(text);
  });
});
