// Reductions, indexing and rearranging as users call them: defaults, gradients where others divide by zero, and every
// refusal.

import { expect } from "chai";
import type { Tensor } from "langevin";
import {
  ArgumentError,
  DTypeError,
  ShapeError,
  arange,
  eye,
  fullLike,
  linspace,
  meshgrid,
  onesLike,
  pad,
  scope,
  stack,
  tensor,
  zeros,
  zerosLike,
} from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice, referencedMemory } from "./devices.ts";

const x = (): Tensor => tensor([[1, 2, 3], [4, 5, 9]]); // prettier-ignore

/** The gradient of the sum of f(x). */
function gradientOf(data: number[], f: (x: Tensor) => Tensor): number[] {
  const leaf = tensor(data).requireGrad();
  f(leaf).sum().backward();
  return leaf.grad!.toArray() as number[];
}

onEveryDevice("reductions", (device) => {
  it("quantile of all elements, and along any axis", () => {
    const y = tensor([[4, 1, 3], [0, 2, 8]]); // prettier-ignore
    expect(y.quantile(0.5).item()).to.equal(2.5);
    expect(y.quantile(0.5, -1).toArray()).to.deep.equal([3, 2]);
    expect(y.quantile(0.25, 0).toArray()).to.deep.equal([1, 1.25, 4.25]);
    expect([y.quantile(0).item(), y.quantile(1).item(), tensor(3).quantile(0.3).item()]).to.deep.equal([0, 8, 3]);
    expect(y.div(0).sub(y.div(0)).quantile(0.5, 0).toArray()).to.deep.equal([NaN, NaN, NaN]);
    expect(failure(() => y.quantile(1.5)).message).to.equal("quantile: q is 1.5, expected a number from 0 to 1.");
    expect(failure(() => y.quantile(0.5, 2)).message).to.match(/^quantile: axis 2 does not exist/);
  });

  it("are over all axes unless told otherwise, and may keep them", () => {
    expect(x().max().item()).to.equal(9);
    expect(x().min(0).toArray()).to.deep.equal([1, 2, 3]);
    expect(x().max([-1], { keepDims: true }).toArray()).to.deep.equal([[3], [9]]);
    expect(x().argmax().item()).to.equal(5);
    expect(x().argmin(undefined, { keepDims: true }).toArray()).to.deep.equal([[0]]);
    expect([x().argmax(1).dtype, x().argmax(1).toArray()]).to.deep.equal(["int32", [2, 2]]);
    expect(x().prod().item()).to.equal(1080);
    expect(x().prod(0).toArray()).to.deep.equal([4, 10, 27]);
    expect(tensor(7).max().item()).to.equal(7);
    expect(
      tensor([[3, -4]])
        .norm()
        .item(),
    ).to.equal(5);
  });

  it("all and any ask whether elements are not 0", () => {
    const y = tensor([[0, NaN], [2, -1], [0, 0]]); // prettier-ignore
    expect([y.all(1).dtype, y.all(1).toArray()]).to.deep.equal(["int32", [0, 1, 0]]);
    expect(y.any(1).toArray()).to.deep.equal([1, 1, 0]);
    expect(y.any(0, { keepDims: true }).toArray()).to.deep.equal([[1, 1]]);
    expect([y.all().item(), y.any().item()]).to.deep.equal([0, 1]);
    expect(x().less(10).all().item()).to.equal(1);
    const none = zeros([2, 0]);
    expect([none.all(1).toArray(), none.any(1).toArray()]).to.deep.equal([[1, 1], [0, 0]]); // prettier-ignore
  });

  it("variance and deviation are unbiased unless told otherwise", () => {
    expect(x().var(1).toArray()).to.deep.equal([1, 7]);
    expect(x().var(1, { correction: 0 }).slice(0).item()).to.be.closeTo(2 / 3, 1e-6);
    expect(x().std(1, { keepDims: true }).shape).to.deep.equal([2, 1]);
    expect(x().std([0, 1]).item()).to.be.closeTo(Math.sqrt(8), 1e-6);
    expect(tensor([1, 3]).std(0, { correction: 0 }).item()).to.equal(1);
    expect(tensor([5]).var().item()).to.be.NaN;
    expect(tensor([5]).std().item()).to.be.NaN;
    expect(
      tensor([1e6 + 1, 1e6 - 1])
        .var()
        .item(),
    ).to.equal(2);
  });

  it("norms of three kinds", () => {
    const y = tensor([[3, -4], [0, 12]]); // prettier-ignore
    expect(y.norm(1, { p: 1 }).toArray()).to.deep.equal([7, 12]);
    expect(y.norm(1).toArray()).to.deep.equal([5, 12]);
    expect(y.norm(undefined, { p: Infinity }).item()).to.equal(12);
    expect(y.norm(0, { p: Infinity, keepDims: true }).toArray()).to.deep.equal([[3, 12]]);
  });

  it("have the gradients that others lack", () => {
    expect(gradientOf([0, 0], (v) => v.norm())).to.deep.equal([0, 0]);
    expect(gradientOf([3, 4], (v) => v.norm())).to.deep.equal([3, 4].map((n) => Math.fround(n / 5)));
    expect(gradientOf([2, 2, 2], (v) => v.std())).to.deep.equal([0, 0, 0]);
    expect(gradientOf([0, 2, 3], (v) => v.prod())).to.deep.equal([6, 0, 0]);
    expect(gradientOf([0, 0, 3], (v) => v.prod())).to.deep.equal([0, 0, 0]);
    expect(gradientOf([1, 7, 7], (v) => v.max())).to.deep.equal([0, 1, 0]);
    expect(gradientOf([1, 1, 7], (v) => v.min())).to.deep.equal([1, 0, 0]);
    const [low, high] = gradientOf([0, 1000], (v) => v.logSumExp());
    expect([low, high]).to.deep.equal([0, 1]);
  });

  it("of nothing: sums are 0, products 1, and there is no largest", () => {
    const none = zeros([2, 0]);
    expect(none.sum(1).toArray()).to.deep.equal([0, 0]);
    expect(none.prod(1).toArray()).to.deep.equal([1, 1]);
    expect(none.prod(0).toArray()).to.deep.equal([]);
    expect(none.mean().item()).to.be.NaN;
    expect(none.logSumExp().item()).to.equal(-Infinity);
    expect(failure(() => none.max())).to.be.instanceOf(ShapeError);
    expect(failure(() => none.argmax()).message).to.match(/^argmax: axis 0 of \[0\] has no elements/);
  });

  it("compositions leave nothing behind", async () => {
    const y = x().requireGrad();
    const before = await referencedMemory();
    for (const f of [
      () => y.std(1),
      () => y.prod(),
      () => y.norm(0, { p: 1 }),
      () => y.argmax(),
      () => y.roll(1, 0),
      () => y.repeat([2, 2]),
      () => y.indexSelect(0, [1, 1]),
      () => pad(y, [[1, 1], [1, 1]], { mode: "reflect" }), // prettier-ignore
      () => stack([y, y]),
      () => eye(3),
    ])
      f().dispose();
    y.clearGrad();
    expect((await referencedMemory()).buffers).to.equal(before.buffers);
  });

  it("indexes may lie on the device or be listed", () => {
    const y = x();
    expect(y.indexSelect(1, [2, 0]).toArray()).to.deep.equal([[3, 1], [9, 4]]); // prettier-ignore
    expect(y.indexSelect(-2, tensor(Int32Array.of(1))).toArray()).to.deep.equal([[4, 5, 9]]);
    const best = y.argmax(1, { keepDims: true });
    expect(y.gather(1, best).toArray()).to.deep.equal([[3], [9]]);
    expect(
      zeros([3])
        .scatterAdd(0, tensor(Int32Array.of(1, 1)), tensor([2, 3]))
        .toArray(),
    ).to.deep.equal([0, 5, 0]);
    expect(y.device).to.equal(device);
  });

  it("pads images and others", () => {
    const image = tensor([1, 2, 3, 4], { shape: [1, 2, 2, 1] });
    const flat = (y: Tensor) => [y.shape.slice(-3, -1), Array.from(y.flatten().toArray() as number[])];
    expect(flat(pad(image, [0, 1, 1, 0], { value: 9 }))).to.deep.equal([
      [3, 3],
      [9, 1, 2, 9, 3, 4, 9, 9, 9],
    ]);
    expect(flat(pad(image, 1, { mode: "replicate" }))[1]).to.deep.equal(
      [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4], // prettier-ignore
    );
    expect(flat(pad(image, [0, 1], { mode: "reflect" }))[1]).to.deep.equal([2, 1, 2, 1, 4, 3, 4, 3]);
    expect(flat(pad(image.reshape([2, 2, 1]), [1, 0], { mode: "circular" }))[0]).to.deep.equal([4, 2]);
    expect(pad(tensor([1]), [[0, 2]]).toArray()).to.deep.equal([1, 0, 0]);
    expect(pad(tensor(Int32Array.of(1)), [[1, 0]], { value: -1 }).toArray()).to.deep.equal([-1, 1]);
    expect(pad(tensor(3), []).item()).to.equal(3);
  });

  it("counts, spaces and diagonals", () => {
    expect(arange(2, 5).toArray()).to.deep.equal([2, 3, 4]);
    expect(arange(5, 0, -2).toArray()).to.deep.equal([5, 3, 1]);
    expect(arange(2, 2).shape).to.deep.equal([0]);
    expect([arange(0, 1, 0.25).dtype, arange(0, 1, 0.25).toArray()]).to.deep.equal(["float32", [0, 0.25, 0.5, 0.75]]);
    expect(arange(0, 3, 1, { dtype: "float32" }).dtype).to.equal("float32");
    expect(linspace(-1, 1, 5).toArray()).to.deep.equal([-1, -0.5, 0, 0.5, 1]);
    expect(linspace(0, 0.7, 4).toArray()).to.have.property("3", Math.fround(0.7));
    expect([linspace(3, 9, 1).toArray(), linspace(3, 9, 0).shape]).to.deep.equal([[3], [0]]);
    expect(eye(2).toArray()).to.deep.equal([[1, 0], [0, 1]]); // prettier-ignore
    expect(eye(2, 3, { dtype: "int32" }).toArray()).to.deep.equal([[1, 0, 0], [0, 1, 0]]); // prettier-ignore
    expect([eye(3, 1).toArray(), eye(0).shape]).to.deep.equal([
      [[1], [0], [0]],
      [0, 0],
    ]);
    const ints = tensor(Int32Array.of(1, 2));
    expect(
      scope(() => [zerosLike, onesLike].map((like) => like(ints)).map((y) => [y.dtype, y.toArray()])),
    ).to.deep.equal([
      ["int32", [0, 0]],
      ["int32", [1, 1]],
    ]);
    expect(fullLike(ints, 0.5, { dtype: "float32" }).toArray()).to.deep.equal([0.5, 0.5]);
    const [rows, columns] = meshgrid(arange(2), arange(3));
    expect(rows.toArray()).to.deep.equal([[0, 0, 0], [1, 1, 1]]); // prettier-ignore
    expect(columns.toArray()).to.deep.equal([[0, 1, 2], [0, 1, 2]]); // prettier-ignore
  });

  const refused: [string, () => unknown, new (...args: never[]) => Error, RegExp][] = [
    ["an axis out of range", () => x().max(2), ArgumentError, /^max: axis 2 does not exist in a tensor of rank 2\./],
    ["an axis twice", () => x().prod([0, -2]), ArgumentError, /^prod: axes \[0, -2\] name an axis twice/],
    ["products of int32", () => arange(3).prod(), DTypeError, /^prod: the tensor is int32, expected float32/],
    ["the mean of int32", () => arange(3).mean(), DTypeError, /^mean: x is int32/],
    ["another norm", () => x().norm(0, { p: 3 }), ArgumentError, /^norm: p is 3\. Choose 1, 2 or Infinity\./],
    ["a negative correction", () => x().var(0, { correction: -1 }), ArgumentError, /^variance: correction is \[-1\]/],
    ["half a correction", () => x().std(0, { correction: 0.5 }), ArgumentError, /^std: correction is \[0\.5\]/],
    ["squeezing what is wide", () => x().squeeze(1), ShapeError, /^squeeze: axis 1 of \[2, 3\] has size 3, not 1\./],
    ["a new axis too far out", () => x().unsqueeze(3), ArgumentError, /^unsqueeze: axis 3 does not exist/],
    ["flattening backwards", () => x().flatten(1, 0), ArgumentError, /^flatten: axis 1 comes after 0/],
    ["pieces of no size", () => x().split(0), ArgumentError, /^split: the size is 0/],
    [
      "pieces that do not add up",
      () => x().split([1, 3], 1),
      ArgumentError,
      /^split: the sizes are \[1, 3\], expected sizes >= 0 that add up to 3\./,
    ],
    ["no chunks", () => x().chunk(0), ArgumentError, /^chunk: count is \[0\]/],
    ["half a place", () => x().roll(0.5, 0), ArgumentError, /^roll: shift is 0\.5/],
    ["too few counts", () => x().repeat([2]), ArgumentError, /^repeat: counts is \[2\], expected 2 integers >= 0/],
    ["a negative count", () => x().repeatInterleave(-1, 0), ArgumentError, /^repeatInterleave: count is \[-1\]/],
    [
      "a negative index",
      () => x().indexSelect(0, [0, -1]),
      ArgumentError,
      /^indexSelect: index -1 at position 1 on axis 0 of size 2\. Indexes are integers >= 0/,
    ],
    [
      "a table of indexes",
      () => x().indexSelect(0, zeros([1, 1], { dtype: "int32" })),
      ShapeError,
      /^indexSelect: index has shape \[1, 1\], expected \[n\]/,
    ],
    ["a float index", () => x().gather(0, x()), DTypeError, /^gather: index is float32/],
    ["stacking nothing", () => stack([]), ArgumentError, /^stack: no tensors/],
    [
      "stacking what differs",
      () => stack([x(), x().slice(0)]),
      ShapeError,
      /^stack: tensor 1 has shape \[3\], expected \[2, 3\] as tensor 0/,
    ],
    [
      "steps that lead away",
      () => arange(0, 3, -1),
      ArgumentError,
      /^arange: no numbers go from 0 to 3 in steps of -1/,
    ],
    ["steps of 0", () => arange(0, 3, 0), ArgumentError, /^arange: no numbers go/],
    ["a negative count of numbers", () => linspace(0, 1, -1), ArgumentError, /^linspace: count is \[-1\]/],
    ["a grid over tables", () => meshgrid(x()), ShapeError, /^meshgrid: vector 0 has shape \[2, 3\]/],
    ["padding that is negative", () => pad(x(), [[-1, 0], [0, 0]]), ArgumentError, /^pad: padding is \[\[-1,0\],\[0,0\]\]/], // prettier-ignore
    ["padding of too few axes", () => pad(x(), [[1, 1]]), ArgumentError, /Give \[before, after\] >= 0 for every axis/],
    ["images that are none", () => pad(x(), 1), ShapeError, /^pad: x has shape \[2, 3\], expected images/],
    [
      "a mirror wider than the picture",
      () => pad(x(), [[2, 0], [0, 0]], { mode: "reflect" }), // prettier-ignore
      ShapeError,
      /^pad: axis 0 of \[2, 3\] is too short for a reflect margin of \[2, 0\]\./,
    ],
    [
      "an unknown mode",
      () => pad(x(), [[1, 0], [0, 0]], { mode: "mirror" as "reflect" }), // prettier-ignore
      ArgumentError,
      /^pad: mode is mirror\. Choose "constant"/,
    ],
    [
      "a stop beyond the end",
      () => x().slice([0, 3]),
      ArgumentError,
      /^slice: 0:3:1 on axis 0 of \[2, 3\]\. Expected 0 <= start <= stop <= 2 and step >= 1; without a stop a range goes to the end\./,
    ],
    [
      "an index beyond the end",
      () => x().slice(2),
      ArgumentError,
      /Expected -2 to 1; negative ones count from the end/,
    ],
  ];
  for (const [name, call, kind, text] of refused)
    it(`refuses ${name}`, () => {
      const error = failure(call);
      expect(error).to.be.instanceOf(kind);
      expect(error.message).to.match(text);
    });
});
