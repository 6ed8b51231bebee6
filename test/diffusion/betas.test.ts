// Beta schedules: their shapes, zero terminal SNR, and the errors of what makes no schedule.

import { expect } from "chai";
import fc from "fast-check";
import type { NoiseScheduleOptions } from "langevin";
import { ArgumentError, NoiseSchedule, ones } from "langevin";
import { rescaleZeroTerminalSnr } from "../../ts/diffusion/betas.ts";
import { linearGrid, roundHalfToEven } from "../../ts/diffusion/grids/linear-grid.ts";
import { failure } from "../failure.ts";

const range = { steps: 1000, betaStart: 0.00085, betaEnd: 0.012 };

describe("beta schedules", () => {
  it("scaled_linear is linear in sqrt(beta)", () => {
    const roots = new NoiseSchedule({ ...range, schedule: "scaled_linear" }).beta.map(Math.sqrt);
    for (let t = 1; t < 999; t++) expect(2 * roots[t]).to.be.closeTo(roots[t - 1] + roots[t + 1], 1e-15);
    expect(roots[0] ** 2).to.be.closeTo(0.00085, 1e-18);
    expect(roots[999] ** 2).to.be.closeTo(0.012, 1e-17);
  });

  it("sigmoid is symmetric about the mean of its ends", () => {
    const { beta } = new NoiseSchedule({ ...range, schedule: "sigmoid" });
    for (let t = 0; t < 1000; t++) expect(beta[t] + beta[999 - t]).to.be.closeTo(0.00085 + 0.012, 1e-16);
  });

  it("squaredcos_cap_v2 follows the squared cosine, and its betas are capped at 0.999", () => {
    const { alphaBar, beta } = new NoiseSchedule({ steps: 1000, schedule: "squaredcos_cap_v2" });
    const cosine = (time: number): number => Math.cos((((time + 0.008) / 1.008) * Math.PI) / 2) ** 2;
    for (let t = 0; t < 999; t++) expect(alphaBar[t]).to.be.closeTo(cosine((t + 1) / 1000) / cosine(0), 1e-13);
    expect(Math.max(...beta)).to.equal(0.999);
  });

  it("exp ends at e^-12, and laplace passes sqrt(1/2) in its middle", () => {
    const exp = new NoiseSchedule({ steps: 500, schedule: "exp" });
    expect(exp.alphaBar[499] / Math.exp(-12)).to.be.closeTo(1, 1e-12);
    const laplace = new NoiseSchedule({ steps: 500, schedule: "laplace" });
    const start = 1 / Math.sqrt(1 + 1e-6 ** 0.5);
    expect(laplace.alphaBar[249] * start).to.be.closeTo(Math.SQRT1_2, 1e-6);
  });

  it("take any betas", () => {
    const { alphaBar, beta, schedule, steps } = new NoiseSchedule({ betas: [0.1, 0.2, 0.5] });
    expect([schedule, steps]).to.deep.equal(["custom", 3]);
    expect([...beta]).to.deep.equal([0.1, 0.2, 0.5]);
    expect(alphaBar[2]).to.be.closeTo(0.9 * 0.8 * 0.5, 1e-16);
  });

  it("fall from step to step, whatever the schedule", () => {
    for (const options of [
      { ...range, schedule: "linear" },
      { ...range, schedule: "scaled_linear" },
      { ...range, schedule: "sigmoid" },
      { steps: 1000, schedule: "squaredcos_cap_v2" },
      { steps: 1000, schedule: "exp" },
      { steps: 1000, schedule: "laplace" },
    ] as const)
      for (const rescaleZeroTerminalSnr of [false, true]) {
        const { alphaBar, beta } = new NoiseSchedule({ ...options, rescaleZeroTerminalSnr });
        for (let t = 1; t < 1000; t++) expect(alphaBar[t], `${options.schedule} ${t}`).to.be.lessThan(alphaBar[t - 1]);
        expect(alphaBar[999] === 0).to.equal(rescaleZeroTerminalSnr);
        expect(beta[999] === 1).to.equal(rescaleZeroTerminalSnr);
      }
  });

  it("take a betas of undefined for none", () => {
    const options = { ...range, betas: undefined } as unknown as NoiseScheduleOptions;
    expect(new NoiseSchedule(options).schedule).to.equal("linear");
  });

  const steps = "steps is 0, expected an integer >= 1.";
  for (const [text, options] of [
    [steps, { steps: 0, schedule: "exp" }],
    ["betaStart is undefined, expected 0 < betaStart < 1.", { steps: 2, schedule: "sigmoid" }],
    [
      "betaEnd does not enter the schedule exp. Leave it out, or choose another schedule.",
      { steps: 2, schedule: "exp", betaEnd: 0.1 },
    ],
    [
      'the schedule is "cosine". Expected "linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2", "exp" or "laplace".',
      { steps: 2, schedule: "cosine" },
    ],
    ["betas is empty.", { betas: [] }],
    [
      "betas[1] is 1, expected 0 < beta < 1. Only the last beta may be 1: then x_T is noise alone.",
      { betas: [0.1, 1, 0.2] },
    ],
    [
      "one step cannot be rescaled to zero terminal SNR: alphaBar does not fall. Rescaling keeps the first alphaBar and brings the last to 0, which takes two steps or more.",
      { betas: [0.1], rescaleZeroTerminalSnr: true },
    ],
  ] as const)
    it(`are refused: ${text.slice(0, 40)}`, () => {
      const error = failure(() => new NoiseSchedule(options as unknown as NoiseScheduleOptions));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(`NoiseSchedule: ${text}`);
    });
});

describe("zero terminal SNR", () => {
  const zero = new NoiseSchedule({ ...range, rescaleZeroTerminalSnr: true });

  it("keeps the first alphaBar, ends at exactly 0 and is linear in sqrt(alphaBar) of before", () => {
    const { alphaBar: before } = new NoiseSchedule(range);
    expect(zero.alphaBar[0]).to.be.closeTo(before[0], 1e-15);
    expect(zero.alphaBar[999]).to.equal(0);
    const slope = (t: number): number =>
      (Math.sqrt(zero.alphaBar[t]) - Math.sqrt(zero.alphaBar[0])) / (Math.sqrt(before[t]) - Math.sqrt(before[0]));
    for (const t of [1, 10, 500, 998]) expect(slope(t) / slope(999)).to.be.closeTo(1, 1e-9);
  });

  it("is the same twice", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-4, max: 0.5, noNaN: true }), { minLength: 2, maxLength: 20 }),
        (list) => {
          const once = rescaleZeroTerminalSnr(Float64Array.from(list));
          rescaleZeroTerminalSnr(once).forEach((beta, t) => {
            expect(beta).to.be.closeTo(once[t], 1e-9);
          });
        },
      ),
    );
  });

  it("has no ratio of noise to signal unless something stands for the 0", () => {
    const error = failure(() => zero.noiseToSignal());
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(
      "NoiseSchedule.noiseToSignal: alphaBar is 0 at t = 999: the ratio of noise to signal is infinite there. Give terminalAlphaBar (diffusers takes 2 ** -24), or do not rescale to zero terminal SNR.",
    );
    const sigmas = zero.noiseToSignal({ terminalAlphaBar: 2 ** -24 });
    expect(sigmas[999]).to.equal(Math.sqrt(2 ** 24 - 1));
    expect(sigmas[3]).to.equal(Math.sqrt((1 - zero.alphaBar[3]) / zero.alphaBar[3]));
  });

  it("refuses the reverse step of epsilon", () => {
    const x = ones([1, 2], { device: "ts" });
    const error = failure(() => zero.reverseStep(x, 5, x, { seed: 0 }));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.match(/^reverseStep: alphaBar is 0 at t = 999: x_T is noise alone/);
  });
});

describe("evenly spaced numbers", () => {
  it("hold both ends, and the first one where only one is asked for", () => {
    expect([...linearGrid(0, 1, 5)]).to.deep.equal([0, 0.25, 0.5, 0.75, 1]);
    expect([...linearGrid(3, 7, 1)]).to.deep.equal([3]);
    expect(linearGrid(0.1, 0.3, 7)[6]).to.equal(0.3);
  });

  it("round halves to the even neighbour", () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6, 7].map(roundHalfToEven)).to.deep.equal([0, 2, 2, 0, -2, 2, 3, 7]);
  });
});
