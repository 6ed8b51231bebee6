// The layer of dropout: what it drops, when, and that no two layers or forwards drop alike.

import { expect } from "chai";
import { ArgumentError, Dropout, Linear, Module, dropout, draws, manualSeed, ones, rand } from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

const numbers = (x: Tensor): number[] => x.toArray() as number[];

onEveryDevice("Dropout", () => {
  beforeEach(() => manualSeed(3));
  after(() => manualSeed(0));

  it("drops a share p of the elements and keeps the mean", () => {
    const y = new Dropout(0.25).forward(ones([1, 40_000]).reshape([40_000]));
    const zeros = numbers(y).filter((value) => value === 0).length;
    expect(zeros / 40_000).to.be.closeTo(0.25, 0.01);
    expect(new Set(numbers(y))).to.deep.equal(new Set([0, Math.fround(1 / 0.75)]));
    expect(y.mean().item()).to.be.closeTo(1, 0.02);
  });

  it("passes the gradient where it passed the value", () => {
    const x = ones([50]).requireGrad();
    const y = new Dropout(0.5).forward(x);
    y.sum().backward();
    expect(numbers(x.grad!)).to.deep.equal(numbers(y));
  });

  it("passes everything in use", () => {
    const layer = new Dropout(0.9).eval();
    const x = ones([5]);
    expect(layer.forward(x)).to.equal(x);
    expect(layer.step).to.equal(0);
    expect(numbers(layer.train().forward(ones([100]))).includes(0)).to.equal(true);
  });

  it("drops others in each forward and each layer, and the same again under the same seed", () => {
    const run = (): number[][] => {
      manualSeed(8);
      const [a, b] = [new Dropout(), new Dropout()];
      return [a, a, b, b].map((layer) => numbers(layer.forward(ones([64]))));
    };
    const once = run();
    expect(run()).to.deep.equal(once);
    expect(new Set(once.map(String)).size).to.equal(4);
  });

  it("draws at its own number, at the step of its forwards", () => {
    const [, layer] = [new Dropout(), new Dropout(0.3, { seed: 5 })];
    layer.step = 7;
    const place = { seed: 5, draw: draws.dropout + 1, step: 7 };
    const kept = numbers(rand([9, 5], place).reshape([45])).map((u) => (u >= 0.3 ? Math.fround(1 / 0.7) : 0));
    expect(numbers(layer.forward(ones([9, 5])).reshape([45]))).to.deep.equal(kept);
    expect(numbers(dropout(ones([9, 5]), 0.3, place).reshape([45]))).to.deep.equal(kept);
    expect(layer.step).to.equal(8);
  });

  it("as a function shares no numbers with rand", () => {
    expect(numbers(dropout(ones([64]), 0.5)).map((value) => value > 0)).to.not.deep.equal(
      numbers(rand([64])).map((u) => u >= 0.5),
    );
  });

  it("refuses what is no probability", () => {
    const error = failure(() => new Dropout(1.5));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal("Dropout: p is 1.5, expected a probability from 0 to 1.");
    expect(failure(() => dropout(ones([1]), NaN)).message).to.match(/^dropout: p is NaN/);
  });
});

onEveryDevice("modules", () => {
  class Block extends Module {
    linear = new Linear(2, 2);
    dropout = new Dropout(0.5);
    forward(x: Tensor): Tensor {
      return this.dropout.forward(this.linear.forward(x));
    }
  }
  class Net extends Module {
    blocks = [new Block(), new Block()];
    shared = this.blocks[0].linear;
    forward(x: Tensor): Tensor {
      return this.blocks.reduce((h, block) => block.forward(h), x);
    }
  }

  it("switch all below them between training and use", () => {
    const net = new Net();
    const modes = (): boolean[] => [...net.namedModules().values()].map(({ training }) => training);
    expect(modes()).to.deep.equal(new Array(7).fill(true));
    expect(net.eval()).to.equal(net);
    expect(modes()).to.deep.equal(new Array(7).fill(false));
    net.blocks[1].train();
    expect(modes()).to.deep.equal([false, false, false, false, true, true, true]);
    expect(net.train()).to.equal(net);
    expect(modes()).to.deep.equal(new Array(7).fill(true));
  });

  it("list the modules below them, each once", () => {
    const net = new Net();
    expect([...net.namedModules().keys()]).to.deep.equal([
      "",
      ...[0, 1].flatMap((i) => [`blocks.${i}`, `blocks.${i}.linear`, `blocks.${i}.dropout`]),
    ]);
    expect(net.children()).to.deep.equal([...net.blocks, net.shared]);
  });

  it("freeze and unfreeze all parameters", () => {
    const net = new Net();
    expect(
      net
        .freeze()
        .parameters()
        .some((p) => p.requiresGrad),
    ).to.equal(false);
    expect(net.blocks[1].unfreeze()).to.equal(net.blocks[1]);
    expect(net.parameters().map((p) => p.requiresGrad)).to.deep.equal([false, false, true, true]);
  });
});
