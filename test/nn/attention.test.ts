// MultiHeadAttention: names, shapes, its definition, images and contexts, what is refused.

import { expect } from "chai";
import type { Tensor } from "langevin";
import { ArgumentError, MultiHeadAttention, Sequential, manualSeed, randn, tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

function expectNear(x: Tensor, y: Tensor): void {
  expect(x.shape).to.deep.equal(y.shape);
  const difference = x.sub(y).abs().reshape([x.size]).toArray() as number[];
  expect(Math.max(...difference)).to.be.below(1e-5);
}

onEveryDevice("MultiHeadAttention", () => {
  it("has the names of diffusers' Attention", () => {
    const layer = new MultiHeadAttention(8, 2, { contextDim: 6, bias: false, outBias: true });
    const shapes = [...layer.namedParameters()].map(([name, parameter]) => [name, parameter.shape]);
    expect(Object.fromEntries(shapes)).to.deep.equal({
      "to_q.weight": [8, 8],
      "to_k.weight": [6, 8],
      "to_v.weight": [6, 8],
      "to_out.0.weight": [8, 8],
      "to_out.0.bias": [8],
    });
    expect(new MultiHeadAttention(8, 2).namedParameters().size).to.equal(8);
    expect(new MultiHeadAttention(8, 2, { bias: false }).namedParameters().size).to.equal(4);
  });

  it("is linear layers around softmax(q kᵀ / sqrt(D)) v in each head", () => {
    manualSeed(4);
    const layer = new MultiHeadAttention(6, 2, { contextDim: 5 });
    const [x, context] = [randn([2, 3, 6], { seed: 1 }), randn([2, 4, 5], { seed: 2 })];
    const mask = tensor([1, 1, 0, 1], { dtype: "int32" });
    const heads = (h: Tensor): Tensor => h.reshape([2, h.shape[1], 2, 3]).permute([0, 2, 1, 3]);
    const [q, k, v] = [layer.to_q.forward(x), layer.to_k.forward(context), layer.to_v.forward(context)].map(heads);
    const scores = q.matmul(k.transpose()).div(Math.sqrt(3));
    const y = scores
      .add(tensor([0, 0, -1e9, 0]))
      .softmax()
      .matmul(v);
    const expected = layer.to_out[0].forward(y.permute([0, 2, 1, 3]).reshape([2, 3, 6]));
    expectNear(layer.forward(x, context, { mask }), expected);
  });

  it("takes the pixels of images as positions", () => {
    const layer = new Sequential(new MultiHeadAttention(4, 1));
    const image = randn([2, 3, 5, 4], { seed: 1 });
    expectNear(layer.forward(image), layer.forward(image.reshape([2, 15, 4])).reshape([2, 3, 5, 4]));
  });

  it("reaches all its parameters with gradients", () => {
    const layer = new MultiHeadAttention(4, 2);
    layer
      .forward(randn([1, 3, 4], { seed: 1 }))
      .square()
      .sum()
      .backward();
    for (const [name, parameter] of layer.namedParameters()) expect(parameter.grad, name).to.not.equal(undefined);
  });

  it("refuses heads that do not divide the channels, and inputs without positions", () => {
    const error = failure(() => new MultiHeadAttention(10, 4));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(
      "MultiHeadAttention: heads is 4, expected an integer >= 1 that divides the 10 channels.",
    );
    expect(failure(() => new MultiHeadAttention(4, 2).forward(randn([3, 4]))).message).to.equal(
      "multiHeadAttention: MultiHeadAttention: x has shape [3, 4], expected [N, ..., channels].",
    );
  });
});
