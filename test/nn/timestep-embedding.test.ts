// Embeddings of timesteps: every option against loops in float64, plans, layers, and what they refuse.

import { expect } from "chai";
import {
  ArgumentError,
  DTypeError,
  GaussianFourierProjection,
  ShapeError,
  TimestepEmbedding,
  capture,
  randn,
  tensor,
  timestepEmbedding,
} from "langevin";
import type { Tensor, TimestepEmbeddingOptions } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

const times = [0, 1, 0.25, -3.5, 17, 999];

/** The equation of `timestepEmbedding`, row by row. */
function byLoops(t: readonly number[], dim: number, options: TimestepEmbeddingOptions): number[][] {
  const { flipSinToCos = false, freqShift = 1, scale = 1, maxPeriod = 10_000 } = options;
  const half = Math.floor(dim / 2);
  return t.map((time) => {
    const row = new Array<number>(dim).fill(0);
    for (let i = 0; i < half; i++) {
      const angle = scale * time * maxPeriod ** (-i / (half - freqShift));
      row[flipSinToCos ? half + i : i] = Math.sin(angle);
      row[flipSinToCos ? i : half + i] = Math.cos(angle);
    }
    return row;
  });
}

function expectNear(got: Tensor, expected: readonly (readonly number[])[], within: number): void {
  expect(got.shape).to.deep.equal([expected.length, expected[0].length]);
  const rows = got.toArray() as number[][];
  expected.forEach((row, n) => {
    row.forEach((value, i) => expect(rows[n][i]).to.be.closeTo(value, within));
  });
}

describe("timestepEmbedding in float64", () => {
  const options: readonly TimestepEmbeddingOptions[] = [
    {},
    { flipSinToCos: true },
    { freqShift: 0 },
    { freqShift: 0.5, scale: 1000 },
    { maxPeriod: 50, flipSinToCos: true, freqShift: 0 },
    { scale: -2.5, freqShift: -1 },
  ];
  for (const dim of [4, 5, 32])
    for (const given of options)
      it(`is the equation for dim ${dim} and ${JSON.stringify(given)}`, () => {
        const t = tensor(times, { device: "ts", dtype: "float64" });
        expectNear(timestepEmbedding(t, dim, given), byLoops(times, dim, given), 1e-8);
      });
});

onEveryDevice("timestepEmbedding", () => {
  it("takes integers, fractions and negative numbers", () => {
    const whole = [0, 1, 500, -7];
    expectNear(timestepEmbedding(tensor(whole, { dtype: "int32" }), 16), byLoops(whole, 16, {}), 1e-4);
    expectNear(timestepEmbedding(tensor(times), 16), byLoops(times, 16, {}), 1e-4);
  });

  it("gives the dtype of t, the default one for integers, or the one asked for", () => {
    const integers = tensor([1, 2], { dtype: "int32", device: "ts" });
    expect(timestepEmbedding(integers, 4).dtype).to.equal("float32");
    expect(timestepEmbedding(integers, 4, { dtype: "float64" }).dtype).to.equal("float64");
    expect(timestepEmbedding(integers.to("float64"), 4).dtype).to.equal("float64");
  });

  it("has the same bits in a plan, for whatever timesteps it is given", () => {
    const embed = (t: Tensor): Tensor => timestepEmbedding(t, 9, { flipSinToCos: true, scale: 3 });
    const planned = capture(embed, { poison: true });
    for (const t of [tensor([3, 4], { dtype: "int32" }), tensor([71, 2], { dtype: "int32" }), tensor([0.5, -8])])
      expect(planned(t).toArray()).to.deep.equal(embed(t).toArray());
    planned.dispose();
  });

  it("lets gradients through to floating timesteps", () => {
    const t = tensor([0.5]).requireGrad();
    timestepEmbedding(t, 4, { freqShift: 0, maxPeriod: 4 }).sum().backward();
    const slope = Math.cos(0.5) - Math.sin(0.5) + 0.5 * (Math.cos(0.25) - Math.sin(0.25));
    expect((t.grad!.toArray() as number[])[0]).to.be.closeTo(slope, 1e-6);
  });

  it("refuses what it cannot embed", () => {
    const t = tensor([1]);
    expect(() => timestepEmbedding(tensor([[1]]), 4)).to.throw(
      ShapeError,
      "timestepEmbedding: t has shape [1, 1], expected [N].",
    );
    expect(() => timestepEmbedding(3 as unknown as Tensor, 4)).to.throw(ArgumentError, "t is 3, expected a tensor.");
    expect(failure(() => timestepEmbedding(t, 2)).message).to.equal(
      "timestepEmbedding: freqShift is 1, expected a number below 1, the number of frequencies of dim 2. Give a larger dim, or freqShift: 0.",
    );
    expect(() => timestepEmbedding(t, 4, { dtype: "int32" })).to.throw(DTypeError, "dtype is int32");
    expect(() => timestepEmbedding(t, 1.5)).to.throw(ArgumentError, "dim");
    expect(() => timestepEmbedding(t, 4, { freqShift: NaN })).to.throw(ArgumentError, "freqShift is NaN");
    expect(() => timestepEmbedding(t, 4, { scale: Infinity })).to.throw(ArgumentError, "scale is Infinity");
    expect(() => timestepEmbedding(t, 4, { maxPeriod: 0 })).to.throw(ArgumentError, "maxPeriod is 0");
  });
});

onEveryDevice("layers after timesteps", () => {
  it("TimestepEmbedding has diffusers' names and is linear, SiLU, linear", () => {
    const layer = new TimestepEmbedding(6, 10);
    const names = ["linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"];
    expect([...layer.namedParameters().keys()]).to.deep.equal(names);
    const x = randn([3, 6], { seed: 1 });
    const expected = layer.linear_2.forward(layer.linear_1.forward(x).silu());
    expect(layer.forward(x).toArray()).to.deep.equal(expected.toArray());
  });

  it("GaussianFourierProjection is the equation, with frequencies that are not trained", () => {
    for (const [log, flipSinToCos] of [
      [true, false],
      [false, true],
    ]) {
      const layer = new GaussianFourierProjection(5, { scale: 3, log, flipSinToCos });
      expect(layer.weight.requiresGrad).to.equal(false);
      const levels = [0.02, 1, 7.5];
      const expected = levels.map((level) => {
        const angles = (layer.weight.toArray() as number[]).map(
          (w) => 2 * Math.PI * w * (log ? Math.log(level) : level),
        );
        const [sines, cosines] = [angles.map(Math.sin), angles.map(Math.cos)];
        return flipSinToCos ? [...cosines, ...sines] : [...sines, ...cosines];
      });
      expectNear(layer.forward(tensor(levels)), expected, 1e-4);
    }
    expect(() => new GaussianFourierProjection(4).forward(tensor([[1]]))).to.throw(ShapeError, "expected [N]");
  });

  it("GaussianFourierProjection draws frequencies of the scale's deviation", () => {
    const weights = new GaussianFourierProjection(20_000, { scale: 16 }).weight;
    expect(weights.std().item()).to.be.closeTo(16, 0.3);
    expect(weights.mean().item()).to.be.closeTo(0, 0.4);
  });
});
