// Module.summary: numbers worked out by hand for small models, those of the paper for DiT, memory as plans have it.

import { expect } from "chai";
import {
  Adam,
  Conv2d,
  DiT,
  Dropout,
  Embedding,
  Linear,
  Module,
  MultiHeadAttention,
  Sequential,
  SiLU,
  capture,
  defaultDevice,
  mse,
  noGrad,
  randn,
  repeat,
  tensor,
} from "langevin";
import type { DiTPreset, ModelSummary, Tensor } from "langevin";
import { openDevice } from "../../ts/device/devices.ts";
import { presets } from "../../ts/nn/dit/presets.ts";
import { failure } from "../failure.ts";
import { liveMemory, onEveryDevice } from "../tensor/devices.ts";

/** A denoiser of pictures [N, 4, 4, 2] with a little of everything. */
class Small extends Module {
  readonly embed = new Embedding(10, 6);
  readonly first = new Conv2d(2, 6, 3, { padding: 1 });
  readonly middle = [new MultiHeadAttention(6, 2), new MultiHeadAttention(6, 2)];
  readonly drop = new Dropout(0.5);
  readonly last = new Sequential(new SiLU(), new Linear(6, 2));

  forward(x: Tensor, t: Tensor): Tensor {
    const h = this.first.forward(x).add(this.embed.forward(t).reshape([x.shape[0], 1, 1, 6]));
    const attended = this.middle.reduce((y, layer) => layer.forward(y), h);
    return this.last.forward(this.drop.forward(attended));
  }
}

const rowOf = (summary: ModelSummary, path: string) => summary.layers.find((layer) => layer.path === path)!;

onEveryDevice("Module.summary", () => {
  it("tells what the layers are, give and cost", () => {
    const model = new Small();
    const summary = model.summary({ size: [4, 4, 2], batch: 3 });
    const first = rowOf(summary, "small.first");
    const products = 3 * 16 * 6 * 18;
    expect(first).to.deep.equal({
      path: "small.first",
      depth: 1,
      type: "Conv2d",
      calls: 1,
      outputs: [[3, 4, 4, 6]],
      parameters: 18 * 6 + 6,
      multiplyAdds: products,
      flops: 2 * products,
    });
    // Four linear layers of 6 x 6 at 16 places, and 16 x 16 scores of all channels, twice.
    const attention = 3 * (4 * 16 * 36 + 2 * 256 * 6);
    expect(rowOf(summary, "small.middle[0]").multiplyAdds).to.equal(attention);
    expect(rowOf(summary, "small.middle[1].to_q").parameters).to.equal(42);
    expect(rowOf(summary, "small.last[0]").flops).to.equal(3 * 16 * 6);
    expect(rowOf(summary, "small.drop").flops).to.equal(0);
    const whole = products + 2 * attention + 3 * 16 * 12;
    expect(summary.layers[0]).to.deep.include({ path: "small", depth: 0, type: "Small", outputs: [[3, 4, 4, 2]] });
    expect(summary.multiplyAdds).to.equal(whole);
    // SiLU, and the embedding that is added.
    expect(summary.flops).to.equal(2 * whole + 2 * 3 * 16 * 6);
    expect(summary.parameters).to.equal(model.parameterCount());
    expect(summary.trainedParameters).to.equal(summary.parameters);
  });

  it("counts a backward as about twice a forward, and frozen layers less", () => {
    const model = new Small();
    const options = { size: [4, 4, 2] as const, batch: 8 };
    const trained = model.summary(options);
    expect(trained.trainingFlops / trained.flops).to.be.within(2.7, 3.4);
    model.first.freeze();
    model.middle.forEach((layer) => layer.freeze());
    const frozen = model.summary(options);
    expect(frozen.flops).to.equal(trained.flops);
    expect(frozen.trainingFlops).to.be.lessThan(trained.trainingFlops);
    const count = 18 * 6 + 6 + 2 * 4 * 42;
    expect(frozen.trainedParameters).to.equal(frozen.parameters - count);
    expect(frozen.trainingMemory.moments).to.equal(8 * frozen.trainedParameters);
    expect(frozen.trainingMemory.weights).to.equal(4 * frozen.parameters);
    model.freeze();
    const used = model.summary(options);
    expect(used.trainingMemory).to.include({ gradients: 0, moments: 0 });
  });

  it("has the memory of the plans that sample and train", () => {
    const model = new Small();
    const [x, noise] = [1, 2].map((seed) => randn([16, 4, 4, 2], { seed }));
    const t = tensor(new Array<number>(16).fill(4), { dtype: "int32" });
    const forward = capture((x: Tensor, t: Tensor) => noGrad(() => model.eval().forward(x, t)));
    const { samplingMemory: use, trainingMemory: train } = model.summary({ inputs: [x, t] });
    const inputs = 4 * (x.size + t.size);
    expect(use.activations).to.equal(forward.plan(x, t).bytes - inputs);
    expect(use.total).to.equal(4 * model.parameterCount() + use.activations);
    model.train();
    const adam = new Adam(model.parameters());
    const step = capture(() => {
      const loss = mse(model.forward(x, t), noise);
      loss.backward();
      adam.step();
      return loss.detach();
    });
    expect(train.activations).to.be.closeTo(step.plan().arenaBytes, 0.03 * train.activations);
    expect(train.activations).to.be.greaterThan(1.5 * use.activations);
    const [weights, gradients, moments] = [4, 4, 8].map((bytes) => bytes * model.parameterCount());
    expect(train).to.include({ weights, gradients, moments });
    expect(train.total).to.equal(weights + gradients + moments + train.activations);
    // With gradients collected in memory of their own, nothing changes.
    expect(model.summary({ inputs: [x, t] }).trainingMemory).to.deep.equal(train);
  });

  it("leaves everything as it was, and computes nothing", async () => {
    const model = new Small();
    model.middle[1].eval();
    const before = { memory: await liveMemory(), modes: [...model.namedModules().values()].map((m) => m.training) };
    model.summary({ size: [4, 4, 2], batch: 100 });
    expect(model.drop.step).to.equal(0);
    expect(model.parameters().some(({ grad }) => grad)).to.equal(false);
    expect([...model.namedModules().values()].map((m) => m.training)).to.deep.equal(before.modes);
    expect(await liveMemory()).to.deep.equal(before.memory);
    // A forward that fails leaves no trace either.
    expect(() => model.summary({ size: [4, 4, 3] })).to.throw("small.first: conv2d: expected 2 input channels, got 3");
    expect([...model.namedModules().values()].map((m) => m.training)).to.deep.equal(before.modes);
    expect(model.summary({ size: [4, 4, 2] }).layers[0].path).to.equal("small");
  });

  it("counts layers that run several times, and loops", () => {
    class Again extends Module {
      readonly layer = new Linear(4, 4);
      forward(x: Tensor): Tensor {
        let y = x;
        repeat(5, () => {
          this.layer.forward(x);
        });
        for (let i = 0; i < 3; i++) y = this.layer.forward(y);
        return y;
      }
    }
    const summary = new Again().summary({ inputs: [randn([2, 4])] });
    const layer = rowOf(summary, "again.layer");
    expect(layer.multiplyAdds).to.equal((5 + 3) * 2 * 16);
    expect(String(summary)).to.include(`layer (${layer.calls} times)`);
  });

  it("refuses what is no size of a picture", () => {
    const model = new Small();
    expect(failure(() => model.summary({ size: [4, 0, 2] })).message).to.equal(
      "summary: size is [4, 0, 2] and batch 1, expected [height, width, channels] and integers >= 1.",
    );
    expect(() => model.summary({ size: [4, 4, 2], batch: 0.5 })).to.throw("batch 0.5");
  });

  it("prints a table, with layers of a list that are alike in one row", () => {
    const text = String(new Small().summary({ size: [4, 4, 2] }));
    // Where commands run side by side, small results share no memory.
    const sideBySide = openDevice(defaultDevice()).sideBySide;
    const [forward, train] = sideBySide ? ["6.0", "15.3"] : ["2.0", "6.8"];
    const [sampling, training] = sideBySide ? ["8.0", "23.4"] : ["4.0", "14.9"];
    expect(text.split("\n").map((line) => line.trimEnd())).to.deep.equal([
      "layer               type                    result        parameters        FLOP",
      "small               Small                   [1, 4, 4, 2]         524      25.5 k",
      "  first             Conv2d                  [1, 4, 4, 6]         114       3.5 k",
      "  embed             Embedding               [1, 6]                60           0",
      "  middle[0] to [1]  2 x MultiHeadAttention  [1, 4, 4, 6]     2 x 168  2 x 10.8 k",
      "    to_q            Linear                  [1, 16, 6]            42       1.2 k",
      "    to_k            Linear                  [1, 16, 6]            42       1.2 k",
      "    to_v            Linear                  [1, 16, 6]            42       1.2 k",
      "    to_out[0]       Linear                  [1, 16, 6]            42       1.2 k",
      "  drop              Dropout                 [1, 4, 4, 6]           0           0",
      "  last              Sequential              [1, 4, 4, 2]          14         480",
      "    [0]             SiLU                    [1, 4, 4, 6]           0          96",
      "    [1]             Linear                  [1, 4, 4, 2]          14         384",
      "",
      "Parameters: 524.",
      "A forward: 25.5 k FLOP, of which 12.7 k multiply-adds are two each; with its backward: 80.8 k FLOP.",
      `Memory to sample: ${sampling} KiB (weights 2.0 KiB, activations ${forward} KiB).`,
      `Memory to train with Adam: ${training} KiB (weights 2.0 KiB, gradients 2.0 KiB, moments 4.1 KiB, activations ${train} KiB).`,
    ]);
  });
});

describe("Module.summary of DiT", () => {
  // Peebles and Xie 2023, table 4: Gflops, by which it means 10^9 multiply-adds, of one latent image of 32 x 32 x 4. Its
  // count of what is no product, such as norms, differs a little.
  const paper: Record<DiTPreset, number> = {
    "dit-s/8": 0.36,
    "dit-s/4": 1.41,
    "dit-s/2": 6.06,
    "dit-b/8": 1.42,
    "dit-b/4": 5.56,
    "dit-b/2": 23.01,
    "dit-l/8": 5.01,
    "dit-l/4": 19.7,
    "dit-l/2": 80.71,
    "dit-xl/8": 7.39,
    "dit-xl/4": 29.05,
    "dit-xl/2": 118.64,
  };
  /** Parameters and multiply-adds of a model so deep. */
  const measured = (preset: DiTPreset, depth: number): readonly [number, number] => {
    const model = new DiT({ ...presets[preset], depth, imageSize: 32, inChannels: 4, classes: 1000 });
    const { parameters, multiplyAdds } = model.summary({ size: [32, 32, 4], conditions: { classLabels: null } });
    model.dispose();
    return [parameters, multiplyAdds];
  };
  for (const [name, gflops] of Object.entries(paper) as [DiTPreset, number][])
    it(`has the paper's ${gflops} Gflops for ${name}`, () => {
      // Blocks are all alike: two models with few of them tell of any number.
      const { depth } = presets[name];
      const [one, two] = [measured(name, 1), measured(name, 2)];
      const [parameters, multiplyAdds] = [0, 1].map((i) => one[i] + (depth - 1) * (two[i] - one[i]));
      expect(multiplyAdds / 1e9).to.be.closeTo(gflops, 0.005 + 0.0005 * gflops);
      if (name === "dit-xl/2") expect(parameters).to.equal(675_129_632);
      if (name === "dit-s/2") expect(parameters).to.equal(32_963_360);
    });
});
