// The safety net: what neither a scope nor dispose frees is freed after the garbage collector found it.

import { expect } from "chai";
import { Adam, Linear, NoiseSchedule, Parameter, mse, ones, randn, scope, tensor, zeros } from "langevin";
import type { Tensor } from "langevin";
import { collectedDownTo, eventLoopTurn, liveMemory, onEveryDevice, referencedMemory } from "./devices.ts";

onEveryDevice("unreferenced memory", () => {
  /** Runs `make` where nothing on the stack can hold on to what it makes. */
  async function expectCollected(make: () => unknown): Promise<void> {
    const before = await referencedMemory();
    await eventLoopTurn();
    make();
    expect((await liveMemory()).buffers).to.be.greaterThan(before.buffers);
    await eventLoopTurn();
    expect((await collectedDownTo(before.buffers)).buffers).to.be.at.most(before.buffers);
  }

  it("of tensors is freed", () => expectCollected(() => ones([100]).add(1).reshape([10, 10])));

  it("of tensors that left their scope is freed", () =>
    expectCollected(() => {
      scope(() => [ones([3]), ones([4]).keep()]);
    }));

  it("of graphs that were never walked back is freed", () =>
    expectCollected(() => {
      const x = ones([10]).requireGrad();
      return x.tanh().mul(x).sum();
    }));

  it("of leaves with gradients is freed", () =>
    expectCollected(() => {
      const x = ones([10]).requireGrad();
      x.square().sum().backward();
    }));

  it("of models is freed", () => expectCollected(() => new Linear(3, 4)));

  it("of models with optimizers, gradients and their state is freed", () =>
    expectCollected(() => {
      const layer = new Linear(3, 4);
      const adam = new Adam(layer.parameters());
      for (let i = 0; i < 2; i++) {
        mse(layer.forward(randn([2, 3], { seed: 1 })), zeros([2, 4])).backward();
        adam.step();
      }
      layer
        .forward(ones([1, 3]))
        .sum()
        .backward();
    }));

  it("of a schedule's tables is freed", () =>
    expectCollected(() => {
      const schedule = new NoiseSchedule({ steps: 10, betaStart: 0.1, betaEnd: 0.5 });
      schedule.addNoise(ones([1, 2]), 3, ones([1, 2]));
    }));

  it("is not freed while a view, a graph or an optimizer still needs it", async () => {
    const view = scope(() => ones([4, 2]).slice([1, 3]));
    const weight = new Parameter(tensor([2]));
    const loss = weight
      .mul(tensor([3]))
      .square()
      .sum();
    const kept: Tensor[] = [];
    const layer = new Linear(2, 2);
    const adam = new Adam(layer.parameters());
    (() => kept.push(new Linear(1, 1).weight))();
    await referencedMemory();
    loss.backward();
    layer
      .forward(ones([1, 2]))
      .sum()
      .backward();
    adam.step();
    expect(weight.grad!.item()).to.equal(36);
    expect(view.toArray()).to.deep.equal([
      [1, 1],
      [1, 1],
    ]);
    expect(kept[0].item()).to.be.within(-1, 1);
  });
});
