// Grids of sigmas against their definitions, the beta distribution against closed forms, and interpolation.

import { expect } from "chai";
import fc from "fast-check";
import {
  ArgumentError,
  betaSigmas,
  edmGrid,
  exponentialSigmas,
  flowMatchGrid,
  interpolate,
  karrasSigmas,
  shiftTimes,
  stretchTimes,
  timestepsOfSigmas,
} from "langevin";
import { betaQuantile } from "../../../ts/diffusion/beta-distribution.ts";
import { failure } from "../../failure.ts";

const range = { steps: 9, sigmaMin: 0.002, sigmaMax: 80 };

describe("grids of sigmas", () => {
  for (const [name, grid] of Object.entries({ karrasSigmas, exponentialSigmas, betaSigmas })) {
    it(`${name} falls from sigmaMax to sigmaMin, and one step is sigmaMax`, () => {
      const sigmas = grid(range);
      expect(sigmas.length).to.equal(9);
      expect(sigmas[0]).to.be.closeTo(80, 1e-11);
      expect(sigmas[8]).to.be.closeTo(0.002, 1e-15);
      for (let i = 1; i < 9; i++) expect(sigmas[i]).to.be.lessThan(sigmas[i - 1]);
      expect(grid({ ...range, steps: 1 })[0]).to.be.closeTo(80, 1e-11);
    });

    it(`${name} refuses what is no range`, () => {
      for (const wrong of [
        { sigmaMin: 0 },
        { sigmaMax: 0.001 },
        { sigmaMax: Infinity },
        { sigmaMin: NaN },
        { steps: 0 },
      ])
        // prettier-ignore
        expect(failure(() => grid({ ...range, ...wrong }))).to.be.instanceOf(ArgumentError);
      expect(failure(() => grid({ ...range, sigmaMin: 0 })).message).to.equal(
        `${name}: sigmas go from 80 down to 0, expected 0 < sigmaMin <= sigmaMax.`,
      );
    });
  }

  it("karras is even in sigma^(1 / rho), exponential in the logarithm", () => {
    const even = (values: Float64Array): void => {
      for (let i = 1; i < 8; i++) expect(2 * values[i]).to.be.closeTo(values[i - 1] + values[i + 1], 1e-13);
    };
    even(karrasSigmas({ ...range, rho: 3 }).map((sigma) => sigma ** (1 / 3)));
    even(karrasSigmas(range).map((sigma) => sigma ** (1 / 7)));
    even(exponentialSigmas(range).map(Math.log));
  });

  it("beta is the quantiles of the distribution: even for the uniform one", () => {
    const sigmas = betaSigmas({ ...range, alpha: 1, beta: 1 });
    sigmas.forEach((sigma, i) => expect(sigma).to.be.closeTo(80 + (i / 8) * (0.002 - 80), 1e-11));
  });
});

describe("betaQuantile", () => {
  it("is what closed forms are", () => {
    for (const p of [1e-6, 0.01, 0.3, 0.5, 0.77, 0.999]) {
      expect(betaQuantile(p, 1, 1)).to.be.closeTo(p, 1e-13);
      expect(betaQuantile(p, 0.5, 0.5)).to.be.closeTo(Math.sin((Math.PI * p) / 2) ** 2, 1e-13);
      expect(betaQuantile(p, 2, 1)).to.be.closeTo(Math.sqrt(p), 1e-13);
      expect(betaQuantile(p, 1, 3)).to.be.closeTo(1 - Math.cbrt(1 - p), 1e-13);
      expect(betaQuantile(p, 0.6, 0.6) + betaQuantile(1 - p, 0.6, 0.6)).to.be.closeTo(1, 1e-13);
    }
    expect([betaQuantile(0, 0.6, 0.6), betaQuantile(1, 0.6, 0.6)]).to.deep.equal([0, 1]);
  });
});

describe("times of flow matching", () => {
  it("shifted by s have s times the ratio of noise to signal; the ends stay", () => {
    const shifted = shiftTimes(Float64Array.of(1, 0.5, 0.2, 0), 3);
    expect([shifted[0], shifted[3]]).to.deep.equal([1, 0]);
    for (const [i, t] of [
      [1, 0.5],
      [2, 0.2],
    ] as const)
      // prettier-ignore
      expect(shifted[i] / (1 - shifted[i])).to.be.closeTo((3 * t) / (1 - t), 1e-14);
    expect(failure(() => shiftTimes(Float64Array.of(1), 0)).message).to.equal(
      "shiftTimes: shift is 0, expected a positive number.",
    );
  });

  it("stretched end where they are to, and start where they did", () => {
    const stretched = stretchTimes(Float64Array.of(1, 0.6, 0.3), 0.1);
    expect(stretched[0]).to.equal(1);
    expect(stretched[2]).to.be.closeTo(0.1, 1e-15);
    expect(failure(() => stretchTimes(Float64Array.of(1), 0.1))).to.be.instanceOf(ArgumentError);
    expect(failure(() => stretchTimes(Float64Array.of(1, 0.5), 1))).to.be.instanceOf(ArgumentError);
  });

  it("go from 1 to 0, or the other way", () => {
    const { timesteps, sigmas } = flowMatchGrid({ steps: 3 });
    expect([...sigmas!]).to.deep.equal([1, (1 + 1e-3) / 2, 1e-3, 0].map((t) => expectNear(t, sigmas!)));
    expect(timesteps[0]).to.equal(1000);
    const inverted = flowMatchGrid({ steps: 3, invert: true }).sigmas!;
    sigmas!.forEach((sigma, i) => expect(inverted[i]).to.be.closeTo(1 - sigma, 1e-15));
  });

  it("are refused where they do not fall from 1 towards 0", () => {
    for (const times of [[], [1.2, 0.5], [0.5, 0.5], [0.5, 0], [NaN]])
      expect(failure(() => flowMatchGrid({ times })).message).to.match(/^flowMatchGrid: times are \[/);
    expect(failure(() => flowMatchGrid({ times: [1], steps: 1 })).message).to.equal(
      "flowMatchGrid: times are [1] and steps is 1. Expected times that descend from 1 at most towards 0, and no steps beside them.",
    );
    expect(failure(() => flowMatchGrid({}))).to.be.instanceOf(ArgumentError);
  });
});

/** The entry that is near a number. */
function expectNear(value: number, among: Float64Array): number {
  const found = among.find((entry) => Math.abs(entry - value) < 1e-15);
  expect(found, `${value}`).to.not.equal(undefined);
  return found!;
}

describe("edmGrid", () => {
  it("asks the network at ln(sigma) / 4 and starts from sqrt(sigmaMax² + 1)", () => {
    const { timesteps, sigmas, initialNoise } = edmGrid({ steps: 4, sigmaMax: 20 });
    expect([timesteps.length, sigmas!.length, sigmas![4]]).to.deep.equal([4, 5, 0]);
    expect(timesteps[0]).to.be.closeTo(Math.log(20) / 4, 1e-14);
    expect(initialNoise).to.be.closeTo(Math.sqrt(401), 1e-13);
    const ended = edmGrid({ steps: 4, spacing: "exponential", finalSigma: "sigma_min" }).sigmas!;
    expect(ended[4]).to.equal(ended[3]);
  });
});

describe("interpolation between training timesteps", () => {
  const table = Float64Array.of(1, 2, 4, 8);

  it("is linear and constant beyond the ends", () => {
    expect([...interpolate(table, Float64Array.of(0, 0.5, 2.25, 3, 7, -1))]).to.deep.equal([1, 1.5, 5, 8, 8, 1]);
    expect([...interpolate(Float64Array.of(5), Float64Array.of(0, 2))]).to.deep.equal([5, 5]);
  });

  it("back is linear in the logarithm and bounded by the ends", () => {
    const sigmas = Float64Array.of(1, 2, Math.SQRT2, 8, 16, 0.5, 0);
    timestepsOfSigmas(sigmas, table).forEach((t, i) => {
      expect(t).to.be.closeTo([0, 1, 0.5, 3, 3, 0, 0][i], 1e-14);
    });
  });

  it("back from the table is its index", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.01, max: 2, noNaN: true }), { minLength: 2, maxLength: 30 }), (steps) => {
        let sigma = 0.01;
        const ascending = Float64Array.from(steps, (step) => (sigma += step));
        timestepsOfSigmas(ascending, ascending).forEach((t, i) => expect(t).to.be.closeTo(i, 1e-9));
      }),
    );
  });
});
