// Initial weights: the distributions of PyTorch's defaults, and reproducibility.

import { expect } from "chai";
import { Conv2d, ConvTranspose2d, Embedding, Linear, manualSeed, xavierUniform } from "langevin";
import type { Module, Tensor, WeightInit } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { cpuIsBuilt, onEveryDevice } from "../tensor/devices.ts";

function valuesOf(x: Tensor | undefined): number[] {
  return [x!.toArray()].flat(9) as number[];
}

function moments(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, deviation: Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length) };
}

function weightsOf(model: Module): string {
  return model
    .parameters()
    .map((parameter) => String(parameter.toArray()))
    .join("; ");
}

onEveryDevice("initial weights", () => {
  beforeEach(() => {
    manualSeed(2);
  });
  after(() => {
    manualSeed(0);
  });

  // Bounds of torch.nn.Conv2d, ConvTranspose2d and Linear: +-1 / sqrt(fan-in), where ConvTranspose2d's fan-in is that of
  // axis 1 of its [in, out, kh, kw] weight.
  const uniform: [string, () => { weight: Tensor; bias: Tensor | undefined }, number][] = [
    ["Conv2d(20, 50, 3)", () => new Conv2d(20, 50, 3), 1 / Math.sqrt(20 * 9)],
    ["Conv2d(40, 90, [1, 3])", () => new Conv2d(40, 90, [1, 3]), 1 / Math.sqrt(40 * 3)],
    ["ConvTranspose2d(90, 30, 2)", () => new ConvTranspose2d(90, 30, 2), 1 / Math.sqrt(30 * 4)],
    ["Linear(64, 150)", () => new Linear(64, 150), 1 / Math.sqrt(64)],
  ];
  for (const [name, make, bound] of uniform)
    it(`of ${name} are uniform in +-${bound.toFixed(4)}`, () => {
      const layer = make();
      const weights = valuesOf(layer.weight);
      const { mean, deviation } = moments(weights);
      const sigma = bound / Math.sqrt(3);
      expect(Math.max(...weights)).to.be.within(0.99 * bound, bound);
      expect(Math.min(...weights)).to.be.within(-bound, -0.99 * bound);
      expect(mean).to.be.closeTo(0, (4 * sigma) / Math.sqrt(weights.length));
      expect(deviation).to.be.closeTo(sigma, (4 * sigma) / Math.sqrt(2 * weights.length));
      const biases = valuesOf(layer.bias);
      expect(Math.max(...biases.map(Math.abs))).to.be.within(0.8 * bound, bound);
      expect(Math.abs(moments(biases).mean)).to.be.lessThan((4 * sigma) / Math.sqrt(biases.length));
    });

  it("of Embedding are standard normal", () => {
    const values = valuesOf(new Embedding(500, 40).weight);
    const { mean, deviation } = moments(values);
    expect(mean).to.be.closeTo(0, 4 / Math.sqrt(values.length));
    expect(deviation).to.be.closeTo(1, 4 / Math.sqrt(2 * values.length));
    expect(Math.max(...values.map(Math.abs))).to.be.greaterThan(3.2);
  });

  it("of any layer are what its option init says, and the bias is 0", () => {
    const { uniform } = xavierUniform(40, 60) as { uniform: number };
    expect(uniform).to.equal(Math.sqrt(0.06));
    const layers = [
      (init: WeightInit) => new Linear(40, 60, { init }),
      (init: WeightInit) => new Conv2d(20, 30, 2, { init }),
      (init: WeightInit) => new ConvTranspose2d(20, 30, 2, { init }),
    ];
    for (const make of layers) {
      const weights = valuesOf(make({ uniform }).weight);
      expect(Math.max(...weights)).to.be.within(0.99 * uniform, uniform);
      expect(Math.min(...weights)).to.be.within(-uniform, -0.99 * uniform);
      expect(moments(valuesOf(make({ normal: 0.3 }).weight)).deviation).to.be.closeTo(0.3, 0.03);
      const zero = make("zeros");
      expect(
        new Set([...valuesOf(zero.weight), ...valuesOf(zero.bias), ...valuesOf(make({ uniform }).bias)]),
      ).to.deep.equal(new Set([0]));
    }
    expect(moments(valuesOf(new Embedding(50, 40, { init: { normal: 0.02 } }).weight)).deviation).to.be.closeTo(
      0.02,
      0.001,
    );
    expect(new Linear(2, 2, { init: "zeros", bias: false }).bias).to.equal(undefined);
  });

  it("are the same after the same manualSeed, and other after another or none", () => {
    const make = () => weightsOf(new TutorialUNet({ imageChannels: 1, channels: [2, 3, 4], timeDim: 3, steps: 5 }));
    const first = make();
    expect(make()).not.to.equal(first);
    manualSeed(2);
    expect(make()).to.equal(first);
    manualSeed(3);
    expect(make()).not.to.equal(first);
  });

  it("differ between layers of equal shape, and between weight and bias", () => {
    const [a, b] = [new Linear(4, 4), new Linear(4, 4)];
    const [wa, wb, ba] = [valuesOf(a.weight), valuesOf(b.weight), valuesOf(a.bias)];
    expect(wa.filter((value) => wb.includes(value))).to.deep.equal([]);
    expect(wa.filter((value) => ba.includes(value))).to.deep.equal([]);
    expect(new Set(wa).size).to.equal(16);
  });

  it("are the same on every device", function () {
    if (!cpuIsBuilt) return this.skip();
    const make = (device: "ts" | "cpu") => {
      manualSeed(9);
      return valuesOf(new Conv2d(3, 5, 3, { device }).weight);
    };
    expect(make("cpu")).to.deep.equal(make("ts"));
  });
});
