// Layers that normalise: names and first values of their weights, what they compute, and what they refuse.

import { expect } from "chai";
import { ArgumentError, GroupNorm, LayerNorm, RMSNorm, ShapeError, randn, tensor } from "langevin";
import type { Module, Tensor } from "langevin";
import { onEveryDevice } from "../tensor/devices.ts";

const valuesOf = (x: Tensor): number[] => [x.toArray()].flat(9) as number[];
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

onEveryDevice("layers that normalise", () => {
  it("have PyTorch's names, weights of 1 and biases of 0", () => {
    const state = (layer: Module) => [...layer.namedParameters()].map(([name, p]) => [name, p.toArray()]);
    const both = [
      ["weight", [1, 1, 1, 1]],
      ["bias", [0, 0, 0, 0]],
    ];
    expect(state(new GroupNorm(2, 4))).to.deep.equal(both);
    expect(state(new LayerNorm(4))).to.deep.equal(both);
    expect(state(new RMSNorm(4))).to.deep.equal(both.slice(0, 1));
    for (const layer of [new GroupNorm(2, 4, { affine: false }), new LayerNorm([3, 4], { affine: false })])
      expect(state(layer)).to.deep.equal([]);
    expect(new LayerNorm([3, 4]).weight!.shape).to.deep.equal([3, 4]);
  });

  it("give mean 0 and mean square 1, and gradients to their weights", () => {
    const x = randn([2, 6, 5, 8], { seed: 1 }).mul(3).add(10);
    for (const layer of [new GroupNorm(1, 8), new LayerNorm([6, 5, 8])]) {
      const y = layer.forward(x);
      expect(mean(valuesOf(y))).to.be.closeTo(0, 1e-5);
      expect(mean(valuesOf(y.square()))).to.be.closeTo(1, 1e-4);
      y.square().sum().backward();
      expect(layer.weight!.grad!.shape).to.deep.equal(layer.weight!.shape);
      expect(layer.bias!.grad!.shape).to.deep.equal(layer.bias!.shape);
    }
    const root = new RMSNorm(2, { epsilon: 0 }).forward(tensor([[1, 7]]));
    valuesOf(root).forEach((v, i) => expect(v).to.be.closeTo([0.2, 1.4][i], 1e-6));
  });

  it("have the last of their sizes as channels", () => {
    for (const layer of [new LayerNorm(8), new LayerNorm([6, 5, 8]), new RMSNorm([5, 8]), new GroupNorm(2, 8)])
      expect([layer.inChannels, layer.outChannels]).to.deep.equal([8, 8]);
  });

  it("refuse groups that do not divide the channels, and inputs of another shape", () => {
    expect(() => new GroupNorm(3, 8)).to.throw(ArgumentError, "8 channels do not divide into 3 groups");
    expect(() => new GroupNorm(0, 8)).to.throw(ArgumentError, "groups is 0");
    expect(() => new LayerNorm([])).to.throw(ArgumentError, "no axis");
    expect(() => new LayerNorm([4, 0])).to.throw(ArgumentError, "LayerNorm: a size is 0, expected an integer >= 1.");
    expect(() => new RMSNorm("4" as never)).to.throw(
      ArgumentError,
      'RMSNorm: shape is "4", expected a size or a list of sizes.',
    );
    expect(() => new LayerNorm(4).forward(randn([2, 5], { seed: 1 }))).to.throw(ShapeError, "[2, 5]");
    expect(() => new GroupNorm(2, 4).forward(randn([2, 3, 6], { seed: 1 }))).to.throw(ShapeError, "weight");
  });
});
