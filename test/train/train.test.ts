// train: what a step is given, its reports, reproducibility, aborting, errors, and that nothing is left behind.

import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import {
  ArgumentError,
  DTypeError,
  NumericsError,
  ShapeError,
  manualSeed,
  ones,
  randint,
  randn,
  tensor,
  train,
} from "langevin";
import type { StepInputs, Tensor, TrainOptions, TrainProgress } from "langevin";
import { failure, rejection } from "../failure.ts";
import { cpuIsBuilt, liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";
import { pictures, schedule, smallRun } from "./small-net.ts";

const data = pictures.batches(5);

async function collect(run: AsyncIterable<TrainProgress>): Promise<TrainProgress[]> {
  const reports: TrainProgress[] = [];
  for await (const report of run) reports.push(report);
  return reports;
}

function small(changes: Partial<TrainOptions> = {}): TrainOptions {
  return { iterations: 6, seed: 1, schedule, data, step: () => ({ loss: tensor(1) }), ...changes };
}

/** The same, run step by step. */
function eagerly(changes: Partial<TrainOptions> = {}): TrainOptions {
  return small({ eager: true, ...changes });
}

onEveryDevice("train, eagerly", (device) => {
  beforeEach(() => {
    manualSeed(0);
  });

  it("reports every step's loss, in order, and trains", async () => {
    const { step } = smallRun();
    const losses: Promise<ArrayLike<number>>[] = [];
    const reports = await collect(
      train(
        eagerly({
          iterations: 60,
          step: (inputs) => {
            const result = step(inputs);
            losses.push(result.loss.data());
            return result;
          },
        }),
      ),
    );
    expect(reports.map((r) => r.iteration)).to.deep.equal(Array.from({ length: 60 }, (_, i) => i + 1));
    expect(reports.map((r) => r.loss)).to.deep.equal((await Promise.all(losses)).map((values) => values[0]));
    const mean = (part: TrainProgress[]) => part.reduce((sum, r) => sum + r.loss, 0) / part.length;
    expect(mean(reports.slice(-10))).to.be.lessThan(0.9 * mean(reports.slice(0, 10)));
  });

  it("runs to the end when awaited, once, and gives the last report", async () => {
    let steps = 0;
    const run = train(eagerly({ step: () => ({ loss: tensor(steps++) }) }));
    expect(steps).to.equal(0);
    expect(await run).to.deep.equal({ iteration: 6, loss: 5 });
    expect(await run).to.deep.equal({ iteration: 6, loss: 5 });
    expect(steps).to.equal(6);
    expect(await train(eagerly({ iterations: 0 }))).to.equal(undefined);
    expect(await rejection(train(eagerly({ iterations: -1 })))).to.be.instanceOf(ArgumentError);
  });

  it("gives each step the batch, t and noise of its iteration and seed", async () => {
    const seen: string[] = [];
    const text = (x: Tensor): string => String(x.toArray());
    const step = ({ x0, t, noise, iteration }: StepInputs): { loss: Tensor } => {
      expect([x0.shape, t.shape, t.dtype, noise.shape]).to.deep.equal([[5, 4, 4, 1], [5], "int32", [5, 4, 4, 1]]);
      const key = { seed: 1, step: iteration, device };
      expect(text(x0)).to.equal(text(data.batch(Number(iteration), 1n, device).x0));
      expect(text(t)).to.equal(text(randint(0, 20, [5], { ...key, draw: 2 })));
      expect(text(noise)).to.equal(text(randn([5, 4, 4, 1], { ...key, draw: 1 })));
      seen.push(text(noise));
      return { loss: tensor(Number(iteration)) };
    };
    const reports = await collect(train(eagerly({ step })));
    expect(reports.map((r) => r.loss)).to.deep.equal([0, 1, 2, 3, 4, 5]);
    expect(new Set(seen).size).to.equal(6);
  });

  it("reaches every timestep and none outside", async () => {
    const counts = new Array<number>(20).fill(0);
    const step = ({ t }: StepInputs): { loss: Tensor } => {
      for (const value of t.toArray() as number[]) counts[value]++;
      return { loss: tensor(0) };
    };
    await collect(train(eagerly({ iterations: 100, step })));
    expect(counts).to.have.length(20);
    expect(Math.min(...counts)).to.be.greaterThan(5);
  });

  it("within a step or two, with the reason, and frees everything", async () => {
    const { step } = smallRun();
    await collect(train(eagerly({ step, iterations: 2 })));
    const before = await referencedMemory();
    const controller = new AbortController();
    const reason = new Error("enough");
    let started = 0;
    const counted = (inputs: StepInputs): { loss: Tensor } => {
      started++;
      if (started === 4) controller.abort(reason);
      return step(inputs);
    };
    const error = await rejection(
      collect(train(eagerly({ step: counted, iterations: 1000, signal: controller.signal }))),
    );
    expect(error).to.equal(reason);
    expect(started).to.equal(4);
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("errors of the step, unchanged, and leaves nothing behind", async () => {
    const { step } = smallRun();
    await collect(train(small({ step, iterations: 2 })));
    const mine = new Error("mine");
    let steps = 0;
    const failing = (inputs: StepInputs): { loss: Tensor } => {
      step(inputs);
      if (++steps === 3) throw mine;
      return { loss: ones([]) };
    };
    expect(await rejection(collect(train(eagerly({ step: failing }))))).to.equal(mine);
    expect(steps).to.equal(3);
  });

  it("errors and aborts after the reports of all steps that were done", async () => {
    const failing = ({ iteration }: StepInputs): { loss: Tensor } => {
      if (Number(iteration) === 4) throw new Error("mine");
      return { loss: tensor(Number(iteration)) };
    };
    const controller = new AbortController();
    const aborting = ({ iteration }: StepInputs): { loss: Tensor } => {
      if (Number(iteration) === 3) controller.abort();
      return { loss: tensor(Number(iteration)) };
    };
    for (const changes of [{ step: failing }, { step: aborting, signal: controller.signal }]) {
      const losses: number[] = [];
      const run = async () => {
        for await (const { loss } of train(eagerly(changes))) losses.push(loss);
      };
      expect((await rejection(run())).message).to.match(/mine|aborted/);
      expect(losses).to.deep.equal([0, 1, 2, 3]);
    }
  });
});

onEveryDevice("train", () => {
  beforeEach(() => {
    manualSeed(0);
  });

  it("stops, with checkFinite, at the first operation whose result is not finite", async () => {
    const { model, step } = smallRun();
    model.conv2.weight.assign(model.conv2.weight.mul(Infinity));
    const losses: number[] = [];
    const run = async (): Promise<void> => {
      for await (const { loss } of train(small({ step, checkFinite: true }))) losses.push(loss);
    };
    const error = await rejection(run());
    expect(error).to.be.instanceOf(NumericsError);
    expect(error.message).to.match(
      /^smallNet\.conv2: conv2d: element \[0, 0, 0, 0\] of the result \(shape \[5, 4, 4, 1\]\)/,
    );
    expect(losses).to.deep.equal([]);
    expect((await rejection(collect(train(small({ step, checkFinite: true, eager: true }))))).message).to.match(
      /^train: checkFinite is a check of plans/,
    );
  });

  it("leaves frozen parameters as they are", async () => {
    const { model, step } = smallRun();
    model.conv1.weight.requireGrad(false);
    const before = [model.conv1.weight.toArray(), model.conv2.weight.toArray()];
    await train(small({ step }));
    expect(model.conv1.weight.toArray()).to.deep.equal(before[0]);
    expect(model.conv2.weight.toArray()).not.to.deep.equal(before[1]);
  });

  it("runs no step when there are none to run", async () => {
    expect(await collect(train(small({ iterations: 0, step: () => { throw new Error("ran"); } })))).to.deep.equal([]); // prettier-ignore
  });

  it("repeats a run bit for bit, and runs another way under another seed", async () => {
    const run = async (seed: number): Promise<string> => {
      manualSeed(4);
      const { model, step } = smallRun();
      const reports = await collect(train(small({ seed, iterations: 20, step })));
      return JSON.stringify([reports, model.parameters().map((p) => p.toArray())]);
    };
    const first = await run(7);
    expect(await run(7)).to.equal(first);
    expect(await run(8)).not.to.equal(first);
  });

  it("leaves nothing behind when it ends", async () => {
    const { step } = smallRun();
    await collect(train(small({ step, iterations: 2 })));
    const before = await referencedMemory();
    await collect(train(small({ step })));
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("leaves nothing behind when the loop over it is left", async () => {
    const { step } = smallRun();
    await collect(train(small({ step, iterations: 2 })));
    const before = await referencedMemory();
    let steps = 0;
    for await (const { iteration } of train(small({ step, iterations: 1000 }))) {
      steps++;
      if (Number(iteration) === 3) break;
    }
    expect(steps).to.equal(3);
    expect(await liveMemory()).to.deep.equal(before);
  });

  describe("stops on abort", () => {
    it("before the first step", async () => {
      const reason = new Error("not at all");
      const step = () => {
        throw new Error("ran");
      };
      expect(await rejection(collect(train(small({ step, signal: AbortSignal.abort(reason) }))))).to.equal(reason);
    });

    it("that a timer gives", async () => {
      const { step } = smallRun();
      const started = performance.now();
      const error = await rejection(
        collect(train(small({ step, iterations: 10_000_000, signal: AbortSignal.timeout(100) }))),
      );
      expect(error.name).to.equal("TimeoutError");
      expect(performance.now() - started).to.be.lessThan(5000);
    });
  });

  it("keeps the event loop alive: timers fire between steps", async () => {
    const { step } = smallRun();
    let ticks = 0;
    let ended = false;
    const ticking = (async () => {
      while (!ended) {
        await delay(1);
        ticks++;
      }
    })();
    const started = performance.now();
    let steps = 0;
    for await (const report of train(small({ step, iterations: 300 }))) steps = report.iteration;
    const milliseconds = performance.now() - started;
    ended = true;
    await ticking;
    expect(steps).to.equal(300);
    expect(ticks).to.be.greaterThan(Math.min(20, milliseconds / 50));
  });

  describe("passes on", () => {
    const expectError = async (changes: Partial<TrainOptions>): Promise<Error> => {
      const before = await referencedMemory();
      const error = await rejection(collect(train(small(changes))));
      expect(await liveMemory()).to.deep.equal(before);
      return error;
    };

    it("a loss that is not one number", async () => {
      await collect(train(small({ iterations: 1 })));
      const error = await expectError({ step: () => ({ loss: ones([2]) }) });
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(
        "train: the step returned a loss of shape [2]. Reduce it to one number, as with mse(...) or .mean().",
      );
    });

    it("a step that returns no loss", async () => {
      const wrong: unknown[] = [() => undefined, () => ({}), () => ones([]), () => ({ loss: 3 })];
      for (const step of wrong) {
        const error = await expectError({ step: step as TrainOptions["step"] });
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.match(/^train: the step returned .*\{ loss \}/);
      }
    });

    it("an asynchronous step", async () => {
      const step = (async () => ({ loss: ones([]) })) as unknown as TrainOptions["step"];
      const error = await expectError({ step });
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.match(/^train: the function returned a promise\. Pass a synchronous function/);
    });

    it("options that are wrong", async () => {
      for (const iterations of [-1, 1.5, NaN])
        expect((await expectError({ iterations })).message).to.equal(
          `train: iterations is ${iterations}, expected an integer >= 0.`,
        );
      expect((await expectError({ seed: -1 })).message).to.match(/^train: seed is -1\./);
      expect((await expectError({ device: "tpu" as "ts" })).message).to.match(/"tpu" is no device/);
    });
  });

  it("says what is wrong where a step mixes dtypes", async () => {
    const step = ({ x0, t }: StepInputs) => ({ loss: x0.mul(t).mean() });
    expect(await rejection(collect(train(small({ step }))))).to.be.instanceOf(DTypeError);
    expect(failure(() => ones([1]).mul(ones([1], { dtype: "int32" })))).to.be.instanceOf(DTypeError);
  });
});

describe("train on a device that is named", () => {
  it("does not use the default one", async function () {
    if (!cpuIsBuilt) return this.skip();
    for (const device of ["ts", "cpu"] as const) {
      const step = ({ x0, t, noise }: StepInputs): { loss: Tensor } => {
        expect([x0.device, t.device, noise.device]).to.deep.equal([device, device, device]);
        return { loss: tensor(1, { device }) };
      };
      expect(await collect(train(small({ step, device, iterations: 2 })))).to.have.length(2);
    }
  });
});
