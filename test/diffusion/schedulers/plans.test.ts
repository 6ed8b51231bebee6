// Every scheduler as a loop: a plan has eager's bits, an image those that it has alone, a later start the end of a whole run.

import { expect } from "chai";
import type { Network, NoiseSource, Scheduler, Solver, SolverRun, SolverState, StepNumber, Tensor } from "langevin";
import { capture, concat, iterate, noGrad, randn, schedulers, scope } from "langevin";
import { onEveryDevice } from "../../tensor/devices.ts";

type Options = Readonly<Record<string, unknown>>;
type SchedulerName = keyof typeof schedulers;

interface Setting {
  readonly options?: Options;
  readonly run?: SolverRun & Options;
}

/** Options of each scheduler that make another program of it, besides the defaults. */
const settings: Readonly<Record<SchedulerName, readonly Setting[]>> = {
  DDPMScheduler: [
    { options: { varianceType: "fixed_large", timestepSpacing: "trailing" } },
    { options: { varianceType: "learned_range", thresholding: true, clipSample: false, sampleMaxValue: 2 } },
  ],
  DDIMScheduler: [{ run: { eta: 0.7 } }, { options: { clipSample: false }, run: { useClippedModelOutput: true } }],
  DDIMInverseScheduler: [{ options: { setAlphaToOne: false, clipSample: false } }],
  PNDMScheduler: [{ options: { skipPrkSteps: true } }],
  EulerDiscreteScheduler: [{ options: { useKarrasSigmas: true }, run: { churn: 3 } }],
  EulerAncestralDiscreteScheduler: [{ options: { timestepSpacing: "leading" } }],
  HeunDiscreteScheduler: [{ options: { clipSample: true, useBetaSigmas: true } }],
  KDPM2DiscreteScheduler: [{ options: { useKarrasSigmas: true } }],
  KDPM2AncestralDiscreteScheduler: [{ options: { timestepSpacing: "trailing" } }],
  LMSDiscreteScheduler: [{ run: { order: 2 } }],
  DPMSolverMultistepScheduler: [
    { options: { algorithmType: "sde-dpmsolver++", solverOrder: 3, thresholding: true } },
    { options: { algorithmType: "dpmsolver", finalSigmasType: "sigma_min", solverType: "heun" } },
  ],
  DPMSolverSinglestepScheduler: [{ options: { solverOrder: 3, solverType: "heun" } }],
  DEISMultistepScheduler: [{ options: { solverOrder: 3, useExponentialSigmas: true } }],
  UniPCMultistepScheduler: [{ options: { solverOrder: 3, solverType: "bh1", disableCorrector: [1] } }],
  LCMScheduler: [{ options: { clipSample: true } }],
  TCDScheduler: [{ run: { eta: 0 } }],
  EDMEulerScheduler: [{ run: { churn: 3 } }],
  EDMDPMSolverMultistepScheduler: [{ options: { algorithmType: "sde-dpmsolver++", thresholding: true } }],
  FlowMatchHeunDiscreteScheduler: [{ options: { shift: 3 } }],
  FlowMatchEulerDiscreteScheduler: [{ options: { stochasticSampling: true, shift: 3 } }],
};

const size = [3, 2, 2] as const;

/** Of what a network predicts and where it is in the schedule alone: bounded, and different at each step. */
const network: Network = (x, t) => {
  const time = t.to(x.dtype).mul(0.01).sin().reshape([-1, 1, 1, 1]);
  return x.mul(0.4).add(time).add(x.cos().mul(0.3));
};

/** The same with a variance. */
const learned: Network = (x, t) => concat([network(x, t), x.tanh()], -1);

function bits(x: Tensor): readonly number[] {
  const values = x.reshape([x.size]).toArray() as number[];
  expect(values.every(Number.isFinite), "all finite").to.equal(true);
  return [...new Int32Array(Float32Array.from(values).buffer)];
}

/** A whole run for some images of a seed, its state handed on by `iterate`. */
function run(solver: Solver, network: Network, images: number, image = 0): Tensor {
  const shape = [images, ...size];
  const noise: NoiseSource = (call) => randn(shape, { seed: 3, draw: 3, image, step: call });
  const step = (state: SolverState, call: StepNumber): SolverState => solver.step(state, call, network, noise);
  const start = solver.start(randn(shape, { seed: 3, draw: 0, image }).mul(solver.initialNoise));
  return iterate(solver.calls, start, step).x;
}

/** Predictions that a class has; sample at a start without noise says nothing. */
function predictionsOf(name: SchedulerName, scheduler: Scheduler): readonly (string | undefined)[] {
  if (!("predictionType" in scheduler.options)) return [undefined];
  if (name.startsWith("EDM")) return ["epsilon", "v_prediction"];
  if (name === "DDIMInverseScheduler") return ["epsilon", "v_prediction"];
  return ["epsilon", "sample", "v_prediction"];
}

onEveryDevice("schedulers as plans", () => {
  for (const [name, others] of Object.entries(settings) as [SchedulerName, readonly Setting[]][]) {
    const Class = schedulers[name] as unknown as new (options: Options) => Scheduler;
    for (const predictionType of predictionsOf(name, new Class({})))
      for (const { options = {}, run: extra = {} } of [{}, ...others]) {
        const given = { ...options, ...(predictionType && { predictionType }) };
        it(`${name} ${JSON.stringify({ ...given, ...extra })}`, () => {
          const solver = new Class(given).solver({ steps: 7, ...extra });
          const net = options.varianceType === "learned_range" ? learned : network;
          const of = (images: number, image?: number): readonly number[] =>
            scope(() => bits(noGrad(() => run(solver, net, images, image))));
          const eager = of(3);
          const plan = capture(() => noGrad(() => run(solver, net, 3)), { poison: true });
          expect(scope(() => bits(plan()))).to.deep.equal(eager);
          expect(scope(() => bits(plan()))).to.deep.equal(eager);
          plan.dispose();
          const each = [0, 1, 2].flatMap((image) => of(1, image));
          expect(each).to.deep.equal(eager);
        });
      }
  }

  describe("begin", () => {
    /** x before the call number `call`, and at the end of the run. */
    const runFrom = (solver: Solver, x: Tensor, first: number, offset = 0): Tensor[] => {
      const states: Tensor[] = [];
      let state = solver.start(x);
      for (let call = first; call < solver.calls; call++) {
        states.push(state.x);
        state = solver.step(state, call, network, () => randn([2, ...size], { seed: 3, draw: 3, step: call + offset }));
      }
      return [...states, state.x];
    };

    /** Methods whose steps stand alone, and calls that each step has. */
    const oneStep: Readonly<Partial<Record<SchedulerName, number>>> = {
      DDPMScheduler: 1,
      DDIMScheduler: 1,
      DDIMInverseScheduler: 1,
      EulerDiscreteScheduler: 1,
      EulerAncestralDiscreteScheduler: 1,
      HeunDiscreteScheduler: 2,
      KDPM2DiscreteScheduler: 2,
      KDPM2AncestralDiscreteScheduler: 2,
      FlowMatchHeunDiscreteScheduler: 2,
      LCMScheduler: 1,
      TCDScheduler: 1,
      EDMEulerScheduler: 1,
      FlowMatchEulerDiscreteScheduler: 1,
    };
    for (const [name, calls] of Object.entries(oneStep) as [SchedulerName, number][])
      it(`in the midst of a run of ${name} goes on as the whole run does`, () => {
        const scheduler = new (schedulers[name] as unknown as new () => Scheduler)();
        const [whole, tail] = [scheduler.solver({ steps: 6 }), scheduler.solver({ steps: 6, begin: 4 })];
        const left = 4 * calls;
        expect([...tail.timesteps]).to.deep.equal([...whole.timesteps.slice(left)]);
        expect(tail.levels).to.deep.equal(whole.levels.slice(left));
        noGrad(() =>
          scope(() => {
            const states = runFrom(whole, randn([2, ...size], { seed: 1 }).mul(whole.initialNoise), 0);
            const end = runFrom(tail, states[left], 0, left);
            expect(bits(end.at(-1)!)).to.deep.equal(bits(states.at(-1)!));
          }),
        );
      });

    for (const name of [
      "LMSDiscreteScheduler",
      "DPMSolverMultistepScheduler",
      "UniPCMultistepScheduler",
      "DEISMultistepScheduler",
      "DPMSolverSinglestepScheduler",
    ] as const)
      // prettier-ignore
      it(`of ${name} has the levels of the whole run, and starts at order 1`, () => {
        const scheduler = new schedulers[name]({} as never);
        const [whole, tail] = [scheduler.solver({ steps: 20 }), scheduler.solver({ steps: 20, begin: 5 })];
        expect(tail.levels).to.deep.equal(whole.levels.slice(5));
        // Of the registers, which are 0 at the start, nothing enters the first step.
        const ones = (solver: Solver, value: number): SolverState => ({
          x: randn([2, ...size], { seed: 1 }),
          registers: Object.fromEntries(
            Object.keys(solver.start(randn([2, ...size])).registers).map((register) => [
              register,
              randn([2, ...size], { seed: 2 }).mul(value),
            ]),
          ),
        });
        const first = (value: number): Tensor => tail.step(ones(tail, value), 0, network).x;
        expect(bits(first(1))).to.deep.equal(bits(first(5)));
      });
  });
});
