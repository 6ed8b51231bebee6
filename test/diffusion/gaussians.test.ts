// Gaussians: their divergence against closed forms, and likelihoods of levels that add up to 1.

import { expect } from "chai";
import { DTypeError, Parameter, discretizedLogLikelihood, full, gaussianKl, tensor, zeros } from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";

const wide = (values: number[]): Tensor => tensor(values, { dtype: "float64", device: "ts" });
const gaussian = (mean: number, variance: number) => ({ mean: wide([mean]), logVariance: wide([Math.log(variance)]) });

describe("gaussianKl", () => {
  it("is 0 between equals, and else as in closed form", () => {
    expect(gaussianKl(gaussian(3, 0.1), gaussian(3, 0.1)).item()).to.equal(0);
    expect(gaussianKl(gaussian(1, 1), gaussian(-1, 1)).item()).to.be.closeTo(2, 1e-14);
    const wider = gaussianKl(gaussian(0, 1), gaussian(0, 4)).item();
    expect(wider).to.be.closeTo((Math.log(4) + 1 / 4 - 1) / 2, 1e-14);
  });

  it("broadcasts variances of images, and refuses mixed dtypes", () => {
    const p = { mean: full([2, 3], 1, { dtype: "float64", device: "ts" }), logVariance: wide([0, 0]).reshape([2, 1]) };
    const q = { mean: p.mean, logVariance: wide([0, 1]).reshape([2, 1]) };
    const [first, second] = gaussianKl(p, q).toArray() as number[][];
    expect(first).to.deep.equal([0, 0, 0]);
    expect(second[2]).to.be.closeTo((1 + Math.exp(-1) - 1) / 2, 1e-14);
    const mixed = () => gaussianKl(p, { ...q, mean: zeros([2, 3], { dtype: "float32", device: "ts" }) });
    expect(failure(mixed)).to.be.instanceOf(DTypeError);
  });
});

describe("discretizedLogLikelihood", () => {
  const levels = Array.from({ length: 256 }, (_, i) => (2 * i) / 255 - 1);

  for (const [mean, deviation] of [
    [0.003, 0.1],
    [0.3, 0.01],
    [-1.2, 0.3],
    [0.99, 2],
  ] as const)
    // prettier-ignore
    it(`gives all levels together the probability 1, with mean ${mean} and deviation ${deviation}`, () => {
      const same = (value: number): Tensor => full([256], value, { dtype: "float64", device: "ts" });
      const p = { mean: same(mean), logVariance: same(2 * Math.log(deviation)) };
      const logs = discretizedLogLikelihood(wide(levels), p).toArray() as number[];
      // Probabilities below 1e-12 count as that.
      expect(logs.reduce((sum, log) => sum + Math.exp(log), 0)).to.be.closeTo(1, 1e-9);
      const best = levels.reduce((near, x) => (Math.abs(x - mean) < Math.abs(near - mean) ? x : near));
      if (deviation < 1) expect(levels[logs.indexOf(Math.max(...logs))]).to.equal(best);
    });

  it("has finite gradients, also where a level is all but impossible", () => {
    const mean = new Parameter(tensor([0, 0, 0, 0.5]));
    const logVariance = new Parameter(tensor([-20, -20, -2, 0]));
    discretizedLogLikelihood(tensor([1, -1, 0.2, 0.5]), { mean, logVariance })
      .sum()
      .backward();
    for (const { grad } of [mean, logVariance])
      for (const value of grad!.toArray() as number[]) expect(value).to.satisfy(Number.isFinite);
    expect((mean.grad!.toArray() as number[])[2]).to.be.greaterThan(0);
  });
});
