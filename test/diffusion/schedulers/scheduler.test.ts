// Options and config files of schedulers: what goes there and back, and the errors of what does not fit.

import { readFileSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { expect } from "chai";
import type { Scheduler, SchedulerConfig, SolverRun } from "langevin";
import {
  ArgumentError,
  DDIMInverseScheduler,
  DDIMScheduler,
  DDPMScheduler,
  DEISMultistepScheduler,
  DPMSolverMultistepScheduler,
  EulerDiscreteScheduler,
  FlowMatchEulerDiscreteScheduler,
  NoiseSchedule,
  UniPCMultistepScheduler,
  randn,
  schedulerFromConfig,
  schedulers,
} from "langevin";
import { failure } from "../../failure.ts";

const folder = resolve(import.meta.dirname, "../../golden/schedulers/configs");

/** JSON with the numbers that Python also writes. */
function parse(text: string): Record<string, unknown> {
  const parsed = JSON.parse(text.replace(/: (-?Infinity)/g, ': "$1"')) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(parsed).map(([key, value]) => [key, value === "-Infinity" ? -Infinity : value]),
  );
}

function refusal(call: () => unknown): string {
  const error = failure(call);
  expect(error).to.be.instanceOf(ArgumentError);
  return error.message;
}

describe("scheduler configs", () => {
  const names = readdirSync(folder);
  it("are there", () => expect(names.length).to.be.above(5));

  for (const name of names)
    it(`of ${name}, as diffusers wrote it, has the same keys and values when it is written again`, () => {
      const config = parse(readFileSync(resolve(folder, name, "scheduler_config.json"), "utf8"));
      const scheduler = schedulerFromConfig(config);
      expect(scheduler.name).to.equal(config._class_name);
      const written = scheduler.config();
      for (const [key, value] of Object.entries(config)) expect(written[key], key).to.deep.equal(value);
      // What a newer version of diffusers knows besides, has its default.
      const defaults = schedulerFromConfig({ _class_name: config._class_name }).config();
      for (const key of Object.keys(written).filter((key) => !(key in config)))
        expect(written[key], key).to.deep.equal(defaults[key]);
      expect(schedulerFromConfig(written).config()).to.deep.equal(written);
    });

  it("of every class goes there and back", () => {
    for (const [name, Class] of Object.entries(schedulers)) {
      const config = new Class({} as never).config();
      expect(config._class_name).to.equal(name);
      expect(schedulerFromConfig(config).config()).to.deep.equal(config);
    }
  });

  it("of another class gives what the two share: a sampler is exchanged for another", () => {
    const config = new DDIMScheduler({ betaStart: 0.003, clipSample: false, timestepSpacing: "trailing" }).config();
    const scheduler = DPMSolverMultistepScheduler.fromConfig(config);
    expect(scheduler).to.be.instanceOf(DPMSolverMultistepScheduler);
    expect(scheduler.options).to.include({ betaStart: 0.003, timestepSpacing: "trailing", solverOrder: 2 });
    const euler = EulerDiscreteScheduler.fromConfig({ ...config, prediction_type: "flow_prediction" });
    expect(euler.options.predictionType).to.equal("epsilon");
  });

  it("keeps notes of diffusers", () => {
    const config = { _class_name: "DDIMScheduler", _diffusers_version: "0.40.0" };
    expect(schedulerFromConfig(config).config()._diffusers_version).to.equal("0.40.0");
  });

  it("may come as options, or with a schedule for those of the betas", () => {
    const schedule = new NoiseSchedule({ steps: 50, betaStart: 0.01, betaEnd: 0.3, schedule: "scaled_linear" });
    const scheduler = new DDIMScheduler({ schedule });
    expect([...scheduler.schedule.alphaBar]).to.deep.equal([...schedule.alphaBar]);
    expect(scheduler.config()).to.include({ num_train_timesteps: 50, beta_schedule: "scaled_linear", beta_end: 0.3 });
    const betas = new NoiseSchedule({ betas: [0.1, 0.2, 0.4] });
    expect(new DDIMScheduler({ schedule: betas }).config().trained_betas).to.deep.equal([0.1, 0.2, 0.4]);
  });

  for (const [problem, config] of [
    ["schedulerFromConfig: the config is null. Expected the contents of a scheduler_config.json", null],
    ["schedulerFromConfig: _class_name is undefined. Expected DDPMScheduler, ", {}],
    ['schedulerFromConfig: _class_name is "toString". Expected DDPMScheduler, ', { _class_name: "toString" }],
    [
      "DDIMScheduler: its config has the key beta_begin, which no scheduler has. It has num_train_timesteps, ",
      { _class_name: "DDIMScheduler", beta_begin: 1 },
    ],
    [
      'DDIMScheduler: beta_start in its config is "1e-4". Expected number, received string.',
      { _class_name: "DDIMScheduler", beta_start: "1e-4" },
    ],
    [
      'DDIMScheduler: prediction_type in its config is "eps". Expected "epsilon" or "sample" or "v_prediction".',
      { _class_name: "DDIMScheduler", prediction_type: "eps" },
    ],
  ] as const)
    it(`refuses: ${problem}`, () => {
      const message = refusal(() => schedulerFromConfig(config as unknown as SchedulerConfig));
      expect(message.slice(0, problem.length)).to.equal(problem);
    });
});

describe("scheduler options", () => {
  for (const [problem, options] of [
    ["it has no option solverOrder. It has numTrainTimesteps, ", { solverOrder: 2 }],
    ['betaStart is "a". Expected number, received string.', { betaStart: "a" }],
    ["betaStart is -1. Expected number to be >0.", { betaStart: -1 }],
    ["numTrainTimesteps is 1.5. Expected int, received number.", { numTrainTimesteps: 1.5 }],
    ["dynamicThresholdingRatio is 2. Expected number to be <=1.", { dynamicThresholdingRatio: 2 }],
    ['timestepSpacing is "even". Expected one of "leading"|"linspace"|"trailing".', { timestepSpacing: "even" }],
    ["trainedBetas is an array of 2. Expected number, received string at [1].", { trainedBetas: [0.1, "b"] }],
    [
      "betaStart is given, and the schedule has one. Leave it out, or give no schedule.",
      { betaStart: 0.1, schedule: new NoiseSchedule({ steps: 9, betaStart: 0.1, betaEnd: 0.2 }) },
    ],
  ] as const)
    it(`refuses: ${problem}`, () => {
      const message = refusal(() => new DDIMScheduler(options as never));
      expect(message.slice(0, problem.length + 15)).to.equal(`DDIMScheduler: ${problem}`);
    });

  it("that are undefined have their defaults", () => {
    expect(new DDIMScheduler({ betaStart: undefined }).options.betaStart).to.equal(1e-4);
  });
});

describe("runs that have no sampler", () => {
  /** Class, options and run, and the beginning of what is said of them. */
  type Refused = readonly [keyof typeof schedulers, object, SolverRun & Readonly<Record<string, unknown>>, string];
  // prettier-ignore
  const cases: readonly Refused[] = [
    ["DDPMScheduler", { rescaleBetasZeroSnr: true, timestepSpacing: "trailing" }, { steps: 4 },
      'DDPMScheduler: predictionType is "epsilon", and the schedule ends with noise alone, which says nothing about x0. Networks for zero terminal SNR predict "v_prediction" or "sample".'],
    ["TCDScheduler", { rescaleBetasZeroSnr: true }, { steps: 4 }, 'TCDScheduler: predictionType is "epsilon", and'],
    ["DDPMScheduler", { varianceType: "fixed_large_log" }, { steps: 4 },
      'DDPMScheduler: varianceType is "fixed_large_log", which gives NaN in diffusers'],
    ["DDPMScheduler", { varianceType: "learned" }, { steps: 4 }, 'DDPMScheduler: varianceType is "learned", which'],
    ["DDIMInverseScheduler", { predictionType: "sample" }, { steps: 4 },
      'DDIMInverseScheduler: predictionType is "sample", and x0 as the prediction for a picture without noise'],
    ["DDIMInverseScheduler", {}, { timesteps: [3, 2] }, "DDIMInverseScheduler: timesteps are given. It goes up"],
    ["DPMSolverMultistepScheduler", { algorithmType: "dpmsolver" }, { steps: 4 },
      'DPMSolverMultistepScheduler: the last step goes to sigma 0, where the equation of epsilon has no solution in lambda. Take finalSigmasType: "sigma_min"'],
    ["DPMSolverSinglestepScheduler", { algorithmType: "dpmsolver" }, { steps: 4 },
      "DPMSolverSinglestepScheduler: the last step goes to sigma 0"],
    ["UniPCMultistepScheduler", { predictX0: false }, { steps: 4 }, "UniPCMultistepScheduler: the last step goes to sigma 0"],
    ["UniPCMultistepScheduler", { lowerOrderFinal: false }, { steps: 4 },
      "UniPCMultistepScheduler: step 4 of 4, at t = 250, is singular: it would multiply a picture by Infinity. It ends at sigma 0, which only steps of first order reach: lower the order at the end (lowerOrderFinal), or end above 0."],
    ["DPMSolverMultistepScheduler", { lowerOrderFinal: false, finalSigmasType: "sigma_min" }, { sigmas: [9, 3, 0] },
      "DPMSolverMultistepScheduler: step 2 of 2, at t = "],
    ["DPMSolverMultistepScheduler", { useFlowSigmas: true }, { sigmas: [1, 0.5, 0] },
      "DPMSolverMultistepScheduler: the first sigma is 1, expected less than 1. With useFlowSigmas x is"],
    ["EulerDiscreteScheduler", { useKarrasSigmas: true, useBetaSigmas: true }, { steps: 4 },
      "EulerDiscreteScheduler: more than one grid of sigmas is chosen: karras, beta. Only one of the use...Sigmas options can be true."],
    ["FlowMatchEulerDiscreteScheduler", { useKarrasSigmas: true, useBetaSigmas: true }, { steps: 4 },
      "FlowMatchEulerDiscreteScheduler: more than one grid of sigmas is chosen: karras, beta."],
    ["EulerDiscreteScheduler", {}, {}, "EulerDiscreteScheduler: nothing chooses the grid. Give a number of steps"],
    [
      "EulerDiscreteScheduler",
      {},
      { steps: 3, sigmas: [1, 0] },
      "EulerDiscreteScheduler: steps and sigmas both choose",
    ],
    [
      "EulerDiscreteScheduler",
      {},
      { steps: 0 },
      "EulerDiscreteScheduler: timestepGrid: steps is 0, expected an integer",
    ],
    ["EulerDiscreteScheduler", {}, { steps: 5, begin: 5 }, "EulerDiscreteScheduler: begin is 5, which leaves no step"],
    ["DPMSolverMultistepScheduler", {}, { steps: 5, begin: 6 }, "DPMSolverMultistepScheduler: begin is 6, which leaves no"],
    ["PNDMScheduler", {}, { steps: 5, begin: 5 }, "PNDMScheduler: begin is 5, which leaves no step"],
    ["PNDMScheduler", { skipPrkSteps: true }, { steps: 5, begin: 6 }, "PNDMScheduler: begin is 6, which leaves no step"],
    ["UniPCMultistepScheduler", { shiftTerminal: 0.1 }, { steps: 4 },
      "UniPCMultistepScheduler: terminal is 0.1, and there are no times of flow matching to stretch. It goes with"],
    [
      "LMSDiscreteScheduler",
      {},
      { steps: 5, begin: 1.5 },
      "LMSDiscreteScheduler: begin is 1.5, expected an integer >= 0.",
    ],
    [
      "LMSDiscreteScheduler",
      {},
      { steps: 5, order: 5 },
      "LMSDiscreteScheduler: order is 5, expected an integer from 1",
    ],
    [
      "EulerDiscreteScheduler",
      {},
      { steps: 5, churn: -1 },
      "EulerDiscreteScheduler: churn is -1, expected a number >= 0.",
    ],
    ["DDIMScheduler", {}, { steps: 5, eta: 2 }, "DDIMScheduler: eta is 2, expected a number from 0 to 1."],
    ["DDIMScheduler", {}, { sigmas: [2, 0] }, "DDIMScheduler: sigmas is given, and this scheduler has no sigmas."],
    [
      "DDIMScheduler",
      { betaEnd: 2 },
      { steps: 5 },
      "DDIMScheduler: NoiseSchedule: betaEnd is 2, expected 0 < betaEnd < 1.",
    ],
    [
      "PNDMScheduler",
      {},
      { steps: 3 },
      "PNDMScheduler: pndmTimesteps: PNDM starts with Runge-Kutta steps between four timesteps, and there are 3. Take more steps, or none of Runge-Kutta: skipRungeKutta, PNDMScheduler's skipPrkSteps.",
    ],
    [
      "LCMScheduler",
      {},
      { steps: 60 },
      "LCMScheduler: consistencyGrid: steps is 60, expected an integer from 1 to 50.",
    ],
    [
      "LCMScheduler",
      {},
      { steps: 4, strength: 2 },
      "LCMScheduler: consistencyGrid: strength is 2, expected 0 < strength <= 1.",
    ],
    ["LCMScheduler", {}, { timesteps: [5.5] }, "LCMScheduler: timesteps are [5.5]. Expected integers that descend"],
    [
      "UniPCMultistepScheduler",
      {},
      { steps: 4, mu: 1 },
      "UniPCMultistepScheduler: mu is 1 and useDynamicShifting is false.",
    ],
    ["FlowMatchEulerDiscreteScheduler", { useDynamicShifting: true }, { steps: 4 },
      "FlowMatchEulerDiscreteScheduler: mu is undefined and useDynamicShifting is true."],
    [
      "EDMEulerScheduler",
      {},
      { sigmas: [2, 1] },
      "EDMEulerScheduler: steps is undefined, expected an integer >= 1, and no",
    ],
  ];
  for (const [name, options, run, text] of cases)
    it(text, () => {
      const Class = schedulers[name] as unknown as new (options: object) => Scheduler;
      const message = refusal(() => new Class(options).solver(run));
      expect(message.slice(0, text.length)).to.equal(text);
    });
});

describe("levels of runs", () => {
  it("of an inverted flow go from noise to pictures, and say the same x0", () => {
    const [straight, inverted] = [false, true].map((invertSigmas) =>
      new FlowMatchEulerDiscreteScheduler({ invertSigmas }).solver({ steps: 4 }),
    );
    straight.levels.forEach(({ signal, noise }, k) => {
      expect(inverted.levels[k].signal).to.be.closeTo(signal, 1e-15);
      expect(inverted.levels[k].noise).to.be.closeTo(noise, 1e-15);
    });
    // The velocity of an inverted flow leads to the picture, and of the other one to noise.
    const x = randn([1, 8], { seed: 1, dtype: "float64", device: "ts" });
    const expected = straight.predict(straight.start(x), 1, (at) => at.mul(0.3)).x0.sub(x);
    const got = inverted.predict(inverted.start(x), 1, (at) => at.mul(-0.3)).x0.sub(x);
    expect(got.sub(expected).abs().max().item()).to.be.below(1e-14);
  });
});

describe("ends of runs", () => {
  /** signal and noise after the last call. */
  const end = (scheduler: Scheduler, run: SolverRun = { steps: 5 }) => scheduler.solver(run).levels.at(-1)!;

  it("are those of the last step, to sigma 0 or above", () => {
    const least = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 }).alphaBar[0];
    const nearly = { signal: Math.sqrt(least), noise: Math.sqrt(1 - least) };
    expect(end(new DDPMScheduler())).to.deep.equal({ signal: 1, noise: 0 });
    expect(end(new DDIMScheduler())).to.deep.equal({ signal: 1, noise: 0 });
    expect(end(new DDIMScheduler({ setAlphaToOne: false }))).to.deep.equal(nearly);
    const toLeast = end(new DPMSolverMultistepScheduler({ finalSigmasType: "sigma_min" }));
    expect(toLeast.noise).to.be.closeTo(nearly.noise, 1e-12);
    expect(end(new EulerDiscreteScheduler(), { sigmas: [3, 1] })).to.deep.equal({ signal: 1, noise: 1 });
    expect(end(new DDIMInverseScheduler({ timestepSpacing: "trailing" })).signal).to.be.below(0.01);
  });

  it("are exact for grids that repeat their last sigma: the step of no length leaves x", () => {
    for (const scheduler of [
      new DPMSolverMultistepScheduler({ finalSigmasType: "sigma_min", solverOrder: 3, lowerOrderFinal: false }),
      new UniPCMultistepScheduler({ finalSigmasType: "sigma_min", useKarrasSigmas: true, solverOrder: 3 }),
      new DEISMultistepScheduler({ useKarrasSigmas: true, lowerOrderFinal: false }),
    ])
      expect(scheduler.solver({ steps: 20 }).calls, scheduler.name).to.equal(20);
  });
});
