// Grids of diffusers' schedulers beside the golden data: which options go together, and the errors of those that do not.

import { expect } from "chai";
import type { GridScheduler, SamplingGridOptions } from "langevin";
import { ArgumentError, NoiseSchedule, UniPCMultistepScheduler, samplingGrid } from "langevin";
import { failure } from "../../failure.ts";

const schedule = new NoiseSchedule({ steps: 1000, betaStart: 0.00085, betaEnd: 0.012, schedule: "scaled_linear" });
const sigmas = schedule.noiseToSignal();

describe("samplingGrid", () => {
  it("has one sigma more than timesteps, which falls from step to step, for every scheduler with sigmas", () => {
    for (const [name, grids] of Object.entries({
      EulerDiscreteScheduler: ["karras", "exponential", "beta"],
      EulerAncestralDiscreteScheduler: [],
      LMSDiscreteScheduler: ["karras", "exponential", "beta"],
      DPMSolverMultistepScheduler: ["karras", "exponential", "lu", "beta", "flow"],
      DPMSolverSinglestepScheduler: ["karras", "exponential", "beta", "flow"],
      DEISMultistepScheduler: ["karras", "exponential", "beta", "flow"],
      UniPCMultistepScheduler: ["karras", "exponential", "beta", "flow", "karras_flow"],
    } as const))
      for (const grid of [undefined, ...grids]) {
        const got = samplingGrid(name as GridScheduler, schedule, { steps: 12, sigmas: grid });
        expect(got.timesteps.length, name).to.equal(12);
        expect(got.sigmas!.length, name).to.equal(13);
        for (let i = 1; i < 12; i++) expect(got.sigmas![i], `${name} ${grid}`).to.be.lessThan(got.sigmas![i - 1]);
      }
  });

  it("of Heun's method calls the network at both ends of each step", () => {
    const got = samplingGrid("HeunDiscreteScheduler", schedule, { steps: 3 });
    expect([...got.timesteps]).to.deep.equal([999, 499.5, 499.5, 0, 0]);
    expect([...got.sigmas!]).to.deep.equal(
      [sigmas[999], got.sigmas![1], got.sigmas![1], sigmas[0], sigmas[0], 0], // prettier-ignore
    );
  });

  it("takes timesteps or sigmas as they are", () => {
    const given = samplingGrid("DDPMScheduler", schedule, { timesteps: [999, 500, 0] });
    expect(given).to.deep.equal({ timesteps: Float64Array.of(999, 500, 0), initialNoise: 1 });
    const euler = samplingGrid("EulerDiscreteScheduler", schedule, { sigmas: [sigmas[700], sigmas[100], 0] });
    expect([...euler.sigmas!]).to.deep.equal([sigmas[700], sigmas[100], 0]);
    expect([...euler.timesteps].map((t) => Math.round(t * 1e9) / 1e9)).to.deep.equal([700, 100]);
  });

  it("ends where it is told to", () => {
    const last = (name: GridScheduler, options: SamplingGridOptions): number =>
      samplingGrid(name, schedule, { steps: 5, ...options }).sigmas![5];
    expect(last("EulerDiscreteScheduler", {})).to.equal(0);
    expect(last("EulerDiscreteScheduler", { finalSigma: "sigma_min" })).to.equal(sigmas[0]);
    expect(last("DEISMultistepScheduler", {})).to.equal(sigmas[0]);
    const { sigmas: flow } = samplingGrid("UniPCMultistepScheduler", schedule, { steps: 5, sigmas: "flow", finalSigma: "sigma_min" }); // prettier-ignore
    expect(flow![5]).to.equal(flow![4]);
  });

  it("of flow matching is stretched to where it is to end", () => {
    const options = { steps: 4, sigmas: "flow", flowShift: 3 } as const;
    const [{ sigmas: plain }, { sigmas, timesteps }] = [{}, { terminal: 0.1 }].map((terminal) =>
      samplingGrid("UniPCMultistepScheduler", schedule, { ...options, ...terminal }),
    );
    expect(sigmas!.at(-2)).to.be.closeTo(0.1, 1e-12);
    sigmas!.subarray(0, -1).forEach((sigma, i) => {
      expect(1 - sigma).to.be.closeTo(((1 - plain![i]) * 0.9) / (1 - plain!.at(-2)!), 2e-6);
      expect(timesteps[i]).to.equal(Math.trunc(sigma * schedule.steps));
    });
    expect(() => samplingGrid("UniPCMultistepScheduler", schedule, { steps: 4, terminal: 0.1 })).to.throw(
      "UniPCMultistepScheduler: terminal is 0.1, and there are no times of flow matching to stretch.",
    );
  });

  it("has Karras' sigmas as shares of noise in a flow", () => {
    const of = (grid: "karras" | "karras_flow") =>
      samplingGrid("UniPCMultistepScheduler", schedule, { steps: 4, sigmas: grid });
    const [ratios, flow] = [of("karras").sigmas!, of("karras_flow")];
    flow.timesteps.forEach((t, i) => {
      expect(flow.sigmas![i]).to.be.closeTo(ratios[i] / (1 + ratios[i]), 1e-15);
      expect(t).to.equal(Math.trunc(1000 * flow.sigmas![i]));
    });
    const scheduler = new UniPCMultistepScheduler({ schedule, useKarrasSigmas: true, useFlowSigmas: true, predictionType: "flow_prediction" }); // prettier-ignore
    expect(scheduler.grid({ steps: 4 })).to.deep.equal(flow);
    expect(scheduler.solver({ steps: 4 }).levels[0].signal).to.equal(1 - flow.sigmas![0]);
  });

  it("visits nothing noisier than lambdaMin", () => {
    const { sigmas: levels } = samplingGrid("DPMSolverMultistepScheduler", schedule, { steps: 5, lambdaMin: -1 });
    expect(-Math.log(levels![0])).to.be.at.least(-1);
    expect(-Math.log(levels![0])).to.be.at.most(-0.99);
  });

  it("has the finite sigmas of a rescaled schedule where diffusers has them, and elsewhere says why not", () => {
    const zero = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02, rescaleZeroTerminalSnr: true });
    const options = { steps: 5 };
    expect(samplingGrid("EulerDiscreteScheduler", zero, options).sigmas![0]).to.equal(Math.sqrt(2 ** 24 - 1));
    expect(samplingGrid("DDIMScheduler", zero, options).timesteps.length).to.equal(5);
    const error = failure(() => samplingGrid("HeunDiscreteScheduler", zero, options));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.match(/^NoiseSchedule\.noiseToSignal: alphaBar is 0 at t = 999/);
  });

  for (const [scheduler, text, options] of [
    ["DDPMScheduler", "nothing chooses the grid. Give a number of steps, or timesteps, or a list of sigmas.", {}],
    ["DDPMScheduler", "steps and timesteps both choose the grid.", { steps: 3, timesteps: [2, 1, 0] }],
    [
      "EulerDiscreteScheduler",
      'timesteps and "karras" sigmas both choose the grid.',
      { timesteps: [2, 1], sigmas: "karras" },
    ],
    ["EulerDiscreteScheduler", "steps and sigmas both choose the grid.", { steps: 1, sigmas: [2, 1, 0] }],
    ["EulerDiscreteScheduler", "sigmas are [2, 3, 0]. Expected two at least that descend", { sigmas: [2, 3, 0] }],
    ["EulerDiscreteScheduler", "sigmas are [2, 0, 0].", { sigmas: [2, 0, 0] }],
    ["EulerDiscreteScheduler", "sigmas are [2].", { sigmas: [2] }],
    ["DPMSolverMultistepScheduler", "lambdaMin is 9, and lambda is 3.5", { steps: 2, lambdaMin: 9 }],
    ["DDIMScheduler", "timesteps are [5.5, 1].", { timesteps: [5.5, 1] }],
    [
      "DDPMScheduler",
      "timesteps are [5, 7]. Expected integers that descend from below 1000 to 0.",
      { timesteps: [5, 7] },
    ],
    ["DDPMScheduler", "timesteps are [1000].", { timesteps: [1000] }],
    ["DDPMScheduler", "sigmas is given, and this scheduler has no sigmas.", { steps: 3, sigmas: "karras" }],
    [
      "EulerAncestralDiscreteScheduler",
      'sigmas is "beta". This scheduler has no such grids.',
      { steps: 3, sigmas: "beta" },
    ],
    [
      "LMSDiscreteScheduler",
      'sigmas is "flow". This scheduler has "karras", "exponential", "beta".',
      { steps: 3, sigmas: "flow" },
    ],
    [
      "HeunDiscreteScheduler",
      'finalSigma is "sigma_min", and this scheduler ends at 0.',
      { steps: 3, finalSigma: "sigma_min" },
    ],
    [
      "DPMSolverSinglestepScheduler",
      'the spacing is "leading". This scheduler always takes "linspace".',
      { steps: 3, spacing: "leading" },
    ],
    ["UniPCMultistepScheduler", "steps is 1001, expected an integer from 1 to 1000.", { steps: 1001, sigmas: "flow" }],
  ] as const)
    // prettier-ignore
    it(`of ${scheduler} refuses: ${text}`, () => {
      const error = failure(() => samplingGrid(scheduler, schedule, options));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message.startsWith(`${scheduler}: ${text}`), error.message).to.equal(true);
    });

  it("of an unknown class is refused with the known ones", () => {
    expect(failure(() => samplingGrid("toString" as GridScheduler, schedule, { steps: 1 })).message).to.match(
      /^samplingGrid: the scheduler is "toString"\. Expected DDPMScheduler, DDIMScheduler, /,
    );
  });
});
