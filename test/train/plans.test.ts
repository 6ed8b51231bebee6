// train as plans has the bits of train step by step: data, optimizers, learning rates, pauses; and what a plan refuses.

import { expect } from "chai";
import {
  Adam,
  AdamW,
  ArgumentError,
  CaptureError,
  Conv2d,
  Dropout,
  Embedding,
  ImageSet,
  Module,
  RMSprop,
  SGD,
  clipGradNorm,
  draws,
  manualSeed,
  mse,
  ones,
  randint,
  randn,
  scope,
  setStrictMode,
  tensor,
  train,
  PerStep,
} from "langevin";
import type { Batches, Optimizer, OptimizerOptions, StepInputs, Tensor, TrainOptions } from "langevin";
import { rejection } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";
import { pictures, schedule, smallRun } from "./small-net.ts";
import { collect, stateOf, stepsOf } from "./state.ts";

/** The twelve pictures of 4x4 with labels 0 to 2. */
const labelled = new ImageSet({
  images: pictures.images,
  shape: pictures.shape,
  labels: Int32Array.from({ length: pictures.count }, (_, k) => k % 3),
});

/** Dropout between convolutions that are told t and, if there is one, the label. */
class LabelledNet extends Module {
  time = new Embedding(20, 4);
  label = new Embedding(3, 4);
  conv1 = new Conv2d(1, 4, 3, { padding: 1 });
  drop = new Dropout(0.25);
  conv2 = new Conv2d(4, 1, 3, { padding: 1 });

  forward(x: Tensor, t: Tensor, labels?: Tensor): Tensor {
    let told = this.time.forward(t);
    if (labels) told = told.add(this.label.forward(labels));
    return this.conv2.forward(
      this.drop.forward(
        this.conv1
          .forward(x)
          .add(told.reshape([-1, 1, 1, 4]))
          .relu(),
      ),
    );
  }
}

type AnyOptimizer = Optimizer<OptimizerOptions>;

/** A model, an optimizer of it and a step, made from the same seed each time. */
function labelledRun(makeOptimizer: (net: LabelledNet) => AnyOptimizer = (net) => new Adam(net.parameters())) {
  manualSeed(6);
  const model = new LabelledNet();
  const optimizer = makeOptimizer(model);
  const step = ({ x0, t, noise, labels }: StepInputs): { loss: Tensor } => {
    const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t, labels), noise);
    loss.backward();
    clipGradNorm(model.parameters(), 1);
    optimizer.step();
    return { loss };
  };
  return { model, optimizer, step, state: () => [...stateOf(model, optimizer), `dropouts ${model.drop.step}`] };
}

type Run = ReturnType<typeof labelledRun>;
type Changes = Partial<Omit<TrainOptions, "step">>;

function options(step: TrainOptions["step"], changes: Changes = {}): TrainOptions {
  return { iterations: 30, seed: 3, schedule, data: labelled.batches(5), step, ...changes };
}

/** What a run reports and leaves, as a plan and step by step. */
async function bothWays(
  make: () => Run,
  run: (run: Run, changes: Changes) => Promise<unknown>,
): Promise<{ plan: unknown; eager: unknown }> {
  const outcome = async (eager: boolean): Promise<unknown> => {
    const made = make();
    const seen = await run(made, { eager });
    return { seen, state: made.state() };
  };
  return { plan: await outcome(false), eager: await outcome(true) };
}

async function expectSameBits(
  make: () => Run,
  run: (run: Run, changes: Changes) => Promise<unknown> = ({ step }, changes) => collect(train(options(step, changes))),
): Promise<void> {
  const { plan, eager } = await bothWays(make, run);
  expect(plan).to.deep.equal(eager);
}

/** The same batches, made one by one: `train` then calls its plan for each of them. */
function oneByOne({ size, batch }: Batches): Batches {
  return { size, batch };
}

onEveryDevice("train as plans", (device) => {
  describe("has eager's bits", () => {
    it("over several epochs, with labels and dropout, and calls the step twice only", async () => {
      const calls = { plan: 0, eager: 0 };
      await expectSameBits(labelledRun, ({ step }, changes) => {
        const counted = (inputs: StepInputs) => {
          calls[changes.eager ? "eager" : "plan"]++;
          return step(inputs);
        };
        return collect(train(options(counted, changes)));
      });
      expect(calls).to.deep.equal({ plan: 2, eager: 30 });
    });

    it("with batches that span epochs, and with one image", async () => {
      await expectSameBits(labelledRun, ({ step }, changes) =>
        collect(train(options(step, { ...changes, iterations: 7, data: labelled.batches(30) }))),
      );
      await expectSameBits(labelledRun, ({ step }, changes) =>
        collect(train(options(step, { ...changes, iterations: 7, data: labelled.subset(3, 4).batches(2) }))),
      );
    });

    it("over more steps than one call takes", async () => {
      const run = async (eager: boolean) => {
        manualSeed(2);
        const { model, adam, step } = smallRun();
        const last = await train(options(step, { iterations: 1005, data: pictures.batches(1), eager }));
        return { last, state: stateOf(model, adam) };
      };
      const plan = await run(false);
      expect(plan.last!.iteration).to.equal(1005);
      expect(plan).to.deep.equal(await run(true));
    });

    it("in runs one after the other, with eager steps between", async () => {
      await expectSameBits(labelledRun, async ({ step, model, optimizer }, changes) => {
        const first = await collect(train(options(step, { ...changes, iterations: 4 })));
        scope(() => {
          model.forward(ones([1, 4, 4, 1]), tensor([3], { dtype: "int32" })).square().mean().backward(); // prettier-ignore
          optimizer.step();
        });
        return [first, await collect(train(options(step, { ...changes, iterations: 4, seed: 9 })))];
      });
    });

    it("when parts are frozen and thawed between runs, and dropout is switched off", async () => {
      await expectSameBits(labelledRun, async ({ step, model, state }, changes) => {
        const seen: unknown[] = [];
        const part = async (seed: number) => {
          await train(options(step, { ...changes, iterations: 5, seed }));
          seen.push(state());
        };
        await part(1);
        const frozen = () => scope(() => model.conv1.weight.toArray());
        model.conv1.freeze();
        const before = frozen();
        await part(2);
        expect(frozen()).to.deep.equal(before);
        model.conv1.unfreeze();
        model.eval();
        await part(3);
        expect(frozen()).not.to.deep.equal(before);
        model.train();
        await part(4);
        return seen;
      });
    });

    const optimizers: [string, (net: LabelledNet) => AnyOptimizer][] = [
      ["AdamW", (net) => new AdamW(net.parameters(), { lr: 1e-2, weightDecay: 0.1 })],
      [
        "AdamW with groups",
        (net) =>
          new AdamW(
            [
              { parameters: net.conv1.parameters(), lr: 1e-2, weightDecay: 0 },
              { parameters: [...net.time.parameters(), ...net.label.parameters()], betas: [0.8, 0.9] },
              { parameters: net.conv2.parameters(), lr: (step) => 1e-2 / (step + 1) },
            ],
            { weightDecay: 0.2 },
          ),
      ],
      [
        "SGD with momentum and groups",
        (net) =>
          new SGD(
            [
              { parameters: net.conv1.parameters(), lr: 0.1, nesterov: true },
              { parameters: net.conv2.parameters(), dampening: 0.5, weightDecay: 0.01 },
            ],
            { lr: (step) => 0.1 * 0.9 ** step, momentum: 0.9 },
          ),
      ],
      [
        "RMSprop with groups",
        (net) =>
          new RMSprop(
            [
              { parameters: net.conv1.parameters(), centered: true },
              { parameters: net.conv2.parameters(), momentum: 0.9 },
            ],
            { lr: 1e-3 },
          ),
      ],
    ];
    for (const [name, make] of optimizers)
      it(`of ${name}`, () => expectSameBits(() => labelledRun(make))); // prettier-ignore
  });

  describe("of batches that are made one by one", () => {
    it("has eager's bits, and those of the same batches on the device", async () => {
      const run = async (changes: Changes) => {
        const { step, state } = labelledRun();
        return { reports: await collect(train(options(step, { iterations: 15, ...changes }))), state: state() };
      };
      const made = await run({ data: oneByOne(labelled.batches(5)) });
      expect(made).to.deep.equal(await run({ data: oneByOne(labelled.batches(5)), eager: true }));
      expect(made).to.deep.equal(await run({}));
    });

    it("records the step anew for another size, and finds the earlier plan again", async () => {
      const changing: Batches = {
        size: 5,
        batch: (iteration, seed, on) => labelled.batches([5, 5, 3][iteration % 3]).batch(iteration, seed, on),
      };
      let calls = 0;
      await expectSameBits(labelledRun, ({ step }, changes) => {
        const counted = (inputs: StepInputs) => {
          calls++;
          return step(inputs);
        };
        return collect(train(options(counted, { ...changes, iterations: 15, data: changing })));
      });
      expect(calls).to.equal(2 * 2 + 15);
    });

    it("records it anew where labels come and go", async () => {
      const [with_, without] = [labelled.batches(4), pictures.batches(4)];
      const data: Batches = {
        size: 4,
        batch: (iteration, seed, on) => (iteration % 2 === 0 ? with_ : without).batch(iteration, seed, on),
      };
      await expectSameBits(labelledRun, ({ step }, changes) =>
        collect(train(options(step, { ...changes, iterations: 8, data }))),
      );
    });

    it("does not free images that the data keep", async () => {
      const kept = scope(() => randn([2, 4, 4, 1], { seed: 1 }).keep());
      const before = kept.toArray();
      const data: Batches = { size: 2, batch: () => ({ x0: kept }) };
      const { step } = smallRun();
      expect(await collect(train(options(step, { iterations: 3, data })))).to.have.length(3);
      expect(kept.toArray()).to.deep.equal(before);
      kept.dispose();
    });
  });

  describe("learning rates", () => {
    const rate = (step: number): number => 0.02 / (1 + step / 4);

    it("as a function are those of a loop that sets them by hand", async () => {
      manualSeed(1);
      const planned = smallRun();
      planned.adam.lr = rate;
      const losses = (await collect(train(options(planned.step, { iterations: 12, data: pictures.batches(5) })))).map(
        ({ loss }) => loss,
      );

      manualSeed(1);
      const byHand = smallRun();
      const seen = Array.from({ length: 12 }, (_, iteration) =>
        scope(() => {
          byHand.adam.lr = rate(iteration);
          const { x0 } = pictures.batches(5).batch(iteration, 3n);
          const t = randint(0, 20, [5], { seed: 3, draw: draws.timestep, step: iteration });
          const noise = randn([5, 4, 4, 1], { seed: 3, draw: draws.forwardNoise, step: iteration });
          return byHand.step({ x0, t, noise, iteration: PerStep.known(iteration) }).loss.item();
        }),
      );
      expect(losses).to.deep.equal(seen);
      byHand.adam.lr = planned.adam.lr;
      expect(stateOf(planned.model, planned.adam)).to.deep.equal(stateOf(byHand.model, byHand.adam));

      manualSeed(1);
      const paused = smallRun();
      const again: number[] = [];
      paused.adam.lr = rate(0);
      for await (const { iteration, loss } of train(
        options(paused.step, { iterations: 12, data: pictures.batches(5), pauseEvery: 1 }),
      )) {
        again.push(loss);
        paused.adam.lr = rate(iteration);
      }
      expect(again).to.deep.equal(losses);
    });

    it("are told to the function by steps taken, from run to run", async () => {
      const { adam, step } = smallRun();
      const asked: number[] = [];
      adam.lr = (taken) => (asked.push(taken), 1e-3);
      await train(options(step, { iterations: 3 }));
      asked.length = 0;
      await train(options(step, { iterations: 3 }));
      expect([...new Set(asked)].sort((a, b) => a - b)).to.include.members([3, 4, 5]);
      expect(Math.min(...asked)).to.equal(3);
    });
  });

  describe("with pauseEvery", () => {
    it("has gone no further than the report that is looked at, there", async () => {
      await expectSameBits(labelledRun, async (run, changes) => {
        const states: unknown[] = [];
        for await (const { iteration } of train(options(run.step, { ...changes, iterations: 10, pauseEvery: 4 })))
          if (iteration % 4 === 0 || iteration === 10) {
            expect(stepsOf(run.optimizer)).to.equal(iteration);
            states.push(run.state());
          }
        expect(states).to.have.length(3);
        return states;
      });
    });

    for (const [name, data] of [
      ["on the device", labelled.batches(5)],
      ["made one by one", oneByOne(labelled.batches(5))],
    ] as const)
      it(`goes on as if it had not paused, and takes what is changed there from the next step on (data ${name})`, async () => {
        await expectSameBits(labelledRun, async (run, changes) => {
          const losses: number[] = [];
          const settings = options(run.step, { ...changes, data, iterations: 11, pauseEvery: 3 });
          for await (const { iteration, loss } of train(settings)) {
            losses.push(loss);
            if (iteration % 3 === 0) run.optimizer.lr = 0.01 / iteration;
            if (iteration === 6) run.model.conv1.weight.assign(ones(run.model.conv1.weight.shape).mul(0.1));
          }
          return losses;
        });
        const plain = labelledRun();
        const paused = labelledRun();
        const settings = { data, iterations: 11 };
        const reports = await collect(train(options(plain.step, settings)));
        expect(await collect(train(options(paused.step, { ...settings, pauseEvery: 3 })))).to.deep.equal(reports);
        expect(paused.state()).to.deep.equal(plain.state());
      });

    it("refuses a learning rate elsewhere in the loop, and goes on", async () => {
      const { optimizer, step, state } = labelledRun();
      const refused: number[] = [];
      for await (const { iteration } of train(options(step, { iterations: 8, pauseEvery: 3 }))) {
        const before = optimizer.lr;
        try {
          optimizer.lr = 0.5;
          optimizer.lr = before;
        } catch (error) {
          expect(error).to.be.instanceOf(ArgumentError);
          expect((error as Error).message).to.equal(
            "Adam.lr: the learning rate was set to 0.5 while steps are under way that are to use the one before. Pass lr as a function of the step, or let train pause now and then (pauseEvery).",
          );
          refused.push(iteration);
        }
      }
      expect(refused).to.deep.equal([1, 2, 4, 5, 7]);
      const undisturbed = labelledRun();
      await train(options(undisturbed.step, { iterations: 8 }));
      expect(state()).to.deep.equal(undisturbed.state());
    });

    it("refuses it in a loop without pauses but after the last step", async () => {
      const { optimizer, step } = labelledRun();
      const refused: number[] = [];
      for await (const { iteration } of train(options(step, { iterations: 4 })))
        try {
          optimizer.groups[0].lr = 0.5;
        } catch {
          refused.push(iteration);
        }
      expect(refused).to.deep.equal([1, 2, 3]);
      expect(optimizer.lr).to.equal(0.5);
    });

    it("refuses what is no number of steps", async () => {
      const { step } = labelledRun();
      for (const pauseEvery of [0, -1, 2.5, NaN])
        expect((await rejection(train(options(step, { pauseEvery })))).message).to.equal(
          `train: pauseEvery is ${pauseEvery}, expected an integer >= 1.`,
        );
    });
  });

  describe("in strict mode", () => {
    afterEach(() => {
      setStrictMode(false);
    });

    it("runs step by step, unless told otherwise", async () => {
      let calls = 0;
      const { step, state } = labelledRun();
      setStrictMode(true);
      const counted = (inputs: StepInputs) => {
        calls++;
        return step(inputs);
      };
      const reports = await collect(train(options(counted, { iterations: 4 })));
      setStrictMode(false);
      expect(calls).to.equal(4);
      const plan = labelledRun();
      expect(await collect(train(options(plan.step, { iterations: 4 })))).to.deep.equal(reports);
      expect(state()).to.deep.equal(plan.state());
    });
  });

  describe("takes the number of the iteration", () => {
    it("as step of noise and as a row of a table", async () => {
      await expectSameBits(labelledRun, ({ model, optimizer }, changes) => {
        const table = scope(() => randn([30, 5], { seed: 8 }).keep());
        const step = ({ x0, t, iteration }: StepInputs) => {
          const noise = randn(x0.shape, { seed: 77, draw: 1, step: iteration });
          const weights = table.row(iteration).reshape([5, 1, 1, 1]);
          const loss = model.forward(schedule.addNoise(x0, t, noise), t).sub(noise).mul(weights).square().mean(); // prettier-ignore
          loss.backward();
          optimizer.step();
          return { loss };
        };
        return collect(train(options(step, changes)));
      });
    });

    it("as the timestep of all images", async () => {
      await expectSameBits(labelledRun, ({ model, optimizer }, changes) => {
        const step = ({ x0, noise, iteration }: StepInputs) => {
          const x = schedule.addNoise(x0, iteration, noise);
          const loss = mse(model.forward(x, schedule.timesteps(iteration, x)), noise);
          loss.backward();
          optimizer.step();
          return { loss };
        };
        return collect(train(options(step, { ...changes, iterations: 20 })));
      });
    });
  });

  describe("refuses, with the advice to run the steps eagerly, and leaves all as it was,", () => {
    const wrong: [string, RegExp, (inputs: StepInputs, run: Run) => unknown][] = [
      ["a loss that is read", /^item: a value was read in a captured function/, (_, { model }) => model.conv1.weight.sum().item()],
      ["a printed tensor", /^toString: a value was read/, ({ x0 }) => String(x0)],
      ["arithmetic with the iteration", /^capture: a number that differs from step to step was calculated with/, ({ iteration }) => Number(iteration) / 2],
      ["a text with the iteration", /^capture: a number that differs from step to step/, ({ iteration }) => `${iteration as unknown as number}`],
      ["a comparison of the iteration", /^capture: a number that differs from step to step/, ({ iteration }) => (iteration as unknown as number) < 5],
    ]; // prettier-ignore
    for (const [name, message, act] of wrong)
      for (const kind of ["on the device", "made one by one"] as const)
        it(`${name} (data ${kind})`, async () => {
          const run = labelledRun();
          await train(options(run.step, { iterations: 1 }));
          const data = kind === "on the device" ? labelled.batches(5) : oneByOne(labelled.batches(5));
          const step = (inputs: StepInputs) => {
            act(inputs, run);
            return run.step(inputs);
          };
          const [before, memory] = [run.state(), await referencedMemory()];
          const error = await rejection(train(options(step, { data })));
          expect(error).to.be.instanceOf(CaptureError);
          expect(error.message).to.match(message).and.to.include("eager: true");
          expect(run.state()).to.deep.equal(before);
          expect(await liveMemory()).to.deep.equal(memory);
          expect(await collect(train(options(step, { data, iterations: 2, eager: true })))).to.have.length(2);
        });

    it("a number that is another one in each step", async () => {
      const { step, state } = labelledRun();
      const before = state();
      let weight = 0;
      const changing = (inputs: StepInputs) => ({ loss: step(inputs).loss.mul(++weight) });
      const error = await rejection(train(options(changing)));
      expect(error).to.be.instanceOf(CaptureError);
      expect(error.message).to.match(/recorded twice and differs.*eager: true/);
      expect(state()).to.deep.equal(before);
    });
  });

  it(`runs on ${device}`, async () => {
    const { step } = labelledRun();
    const devices = new Set<string>();
    const asked = (inputs: StepInputs) => {
      const result = step(inputs);
      for (const value of [inputs.x0, inputs.t, inputs.noise, result.loss]) devices.add(value.device);
      return result;
    };
    await train(options(asked, { iterations: 2 }));
    expect([...devices]).to.deep.equal([device]);
  });
});
