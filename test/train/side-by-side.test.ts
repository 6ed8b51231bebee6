// What runs side by side on one device keeps its bits: training and sampling, two trainings, eager operations in mid-replay.

import { expect } from "chai";
import {
  GradientError,
  Parameter,
  SGD,
  capture,
  manualSeed,
  noGrad,
  ones,
  randn,
  sample,
  scope,
  tensor,
  train,
  zeros,
  PerStep,
} from "langevin";
import type { Batches, Tensor, TrainOptions, TrainProgress } from "langevin";
import { failure, rejection } from "../failure.ts";
import { bits } from "../plan/bits.ts";
import { liveMemory, onEveryDevice, referencedMemory, sampleByGraphs } from "../tensor/devices.ts";
import type { SmallRun } from "./small-net.ts";
import { SmallNet, pictures, schedule, smallRun } from "./small-net.ts";
import { collect, stateOf, stepsOf } from "./state.ts";

function seededRun(seed: number): SmallRun {
  manualSeed(seed);
  return smallRun();
}

function options({ step }: SmallRun, changes: Partial<TrainOptions> = {}): TrainOptions {
  return { iterations: 60, seed: 3, schedule, data: pictures.batches(5), step, ...changes };
}

/** The same batches, made one by one. */
function oneByOne({ size, batch }: Batches): Batches {
  return { size, batch };
}

/** The bits of three images of a model. */
async function pictureOf(model: SmallNet, seed = 5): Promise<string> {
  const images = await sample({ model, schedule, count: 3, size: [4, 4, 1], seed, batch: 2 });
  const text = bits(images);
  images.dispose();
  return text;
}

interface Outcome {
  readonly reports: TrainProgress[];
  readonly state: string[];
}

async function trained(run: SmallRun, changes: Partial<TrainOptions> = {}): Promise<Outcome> {
  const reports = await collect(train(options(run, changes)));
  return { reports, state: stateOf(run.model, run.adam) };
}

onEveryDevice("side by side", () => {
  sampleByGraphs();

  /** Ways in which training may run. */
  const ways: [string, Partial<TrainOptions>][] = [
    ["in one call", {}],
    ["with pauses", { pauseEvery: 4 }],
    ["batch by batch", { data: oneByOne(pictures.batches(5)) }],
    ["eagerly", { eager: true }],
  ];

  for (const [way, changes] of ways) {
    it(`training ${way} and sampling from another model have the bits that they have alone`, async () => {
      const alone = await trained(seededRun(1), changes);
      manualSeed(2);
      const other = new SmallNet();
      const pictures = [await pictureOf(other, 5), await pictureOf(other, 6)];

      const run = seededRun(1);
      let finished = false;
      const training = trained(run, changes).finally(() => (finished = true));
      const during: string[] = [];
      const seeds = [5, 6];
      do during.push(await pictureOf(other, seeds[during.length % 2]));
      while (!finished);
      expect(await training).to.deep.equal(alone);
      during.forEach((picture, i) => {
        expect(picture).to.equal(pictures[i % 2]);
      });
      expect(during.length).to.be.at.least(1);
    });

    it(`two trainings ${way} have the bits that they have alone`, async () => {
      const seeds = [1, 2];
      const alone = [];
      for (const seed of seeds) alone.push(await trained(seededRun(seed), { ...changes, seed }));
      // Made one after the other, since both draw from one stream.
      const runs = seeds.map(seededRun);
      expect(await Promise.all(runs.map((run, i) => trained(run, { ...changes, seed: seeds[i] })))).to.deep.equal(
        alone,
      );
    });
  }

  it("trainings in all ways at once, and samplings among them, do not disturb each other", async () => {
    const alone = await trained(seededRun(4));
    manualSeed(2);
    const other = new SmallNet();
    const picture = await pictureOf(other);
    const runs = ways.map(() => seededRun(4));
    const all = await Promise.all([
      ...ways.map(([, changes], i) => trained(runs[i], changes)),
      ...[1, 2, 3].map(() => pictureOf(other)),
    ]);
    expect(all).to.deep.equal([...ways.map(() => alone), picture, picture, picture]);
  });

  it("leave nothing behind", async () => {
    const runs = [seededRun(1), seededRun(2)];
    const both = async () => {
      await Promise.all([...runs.map((run) => train(options(run))), pictureOf(runs[0].model)]);
    };
    await both();
    const before = await referencedMemory();
    await both();
    expect(await liveMemory()).to.deep.equal(before);
  });

  describe("sampling in the loop over a training", () => {
    it("that pauses is stopping there, sampling, and continuing", async () => {
      const run = seededRun(7);
      const seen: string[] = [];
      for await (const { iteration } of train(options(run, { iterations: 30, pauseEvery: 10 })))
        if (iteration % 10 === 0) {
          expect(stepsOf(run.adam)).to.equal(iteration);
          seen.push(await pictureOf(run.model));
        }
      expect(seen).to.have.length(3);
      expect(new Set(seen).size).to.equal(3);

      const uninterrupted = seededRun(7);
      await train(options(uninterrupted, { iterations: 30 }));
      expect(stateOf(run.model, run.adam)).to.deep.equal(stateOf(uninterrupted.model, uninterrupted.adam));

      for (const iterations of [10, 20, 30]) {
        const stopped = seededRun(7);
        await train(options(stopped, { iterations }));
        expect(await pictureOf(stopped.model)).to.equal(seen[iterations / 10 - 1]);
      }
    });

    it("that pauses may go on while training does: it has its turn before the next steps", async () => {
      const pair = { schedule, count: 2, batch: 2, size: [4, 4, 1], seed: 6 } as const;
      const run = seededRun(7);
      const going: Promise<Tensor>[] = [];
      for await (const { iteration } of train(options(run, { iterations: 12, pauseEvery: 4 })))
        if (iteration % 4 === 0) going.push(sample({ model: run.model, ...pair }));
      const seen = (await Promise.all(going)).map(bits);

      const stopping = seededRun(7);
      const expected: string[] = [];
      for await (const { iteration } of train(options(stopping, { iterations: 12, pauseEvery: 4 })))
        if (iteration % 4 === 0) expected.push(bits(await sample({ model: stopping.model, ...pair })));
      expect(seen).to.deep.equal(expected);
      expect(new Set(seen).size).to.equal(3);
      expect(stateOf(run.model, run.adam)).to.deep.equal(stateOf(stopping.model, stopping.adam));
    });

    it("that does not pause waits for the steps that are under way", async () => {
      const run = seededRun(7);
      let picture: string | undefined;
      for await (const { iteration } of train(options(run, { iterations: 30 })))
        if (iteration === 1) picture = await pictureOf(run.model);
      expect(picture).to.equal(await pictureOf(run.model));
    });
  });

  describe("eager operations in mid-replay", () => {
    const counting = () => {
      const weight = new Parameter(zeros([2, 3]));
      const step = capture(() => {
        weight.assign(weight.add(1));
        return weight.detach().mean();
      });
      return { weight, step };
    };

    it("see what all its steps left, in the order of the queue", async () => {
      const { weight, step } = counting();
      const replay = step.replay(500);
      const first = replay.next();
      const after = noGrad(() => weight.mul(2));
      weight.assign(tensor([[1, 2, 3], [4, 5, 6]])); // prettier-ignore
      const second = step.replay(3);
      const next = second.next();
      const last = noGrad(() => weight.mul(10));
      expect((await last.data())[5]).to.equal(90);
      expect(after.toArray()).to.deep.equal([[1000, 1000, 1000], [1000, 1000, 1000]]); // prettier-ignore
      expect([(await first).value, (await next).value]).to.deep.equal([
        { step: 1, values: [1] },
        { step: 1, values: [4.5] },
      ]);
      for await (const _ of replay);
      for await (const _ of second);
      expect(weight.toArray()).to.deep.equal([[4, 5, 6], [7, 8, 9]]); // prettier-ignore
      step.dispose();
    });

    it("that block wait for its end", async () => {
      const { weight, step } = counting();
      const replay = step.replay(200);
      const first = replay.next();
      expect(noGrad(() => weight.sum()).item()).to.equal(1200);
      expect((await first).value).to.deep.equal({ step: 1, values: [1] });
      let last = 1;
      for await (const report of replay) last = report.values[0];
      expect(last).to.equal(200);
      step.dispose();
    });

    it("cannot go back through weights that its steps overwrite", async () => {
      const { weight, step } = counting();
      const loss = weight.square().sum();
      const replay = step.replay(50);
      const first = replay.next();
      expect(failure(() => loss.backward())).to.be.instanceOf(GradientError);
      await first;
      for await (const _ of replay);
      weight.square().sum().backward();
      expect(weight.grad!.toArray()).to.deep.equal([[100, 100, 100], [100, 100, 100]]); // prettier-ignore
      step.dispose();
    });

    it("that train the same weights follow after its steps", async () => {
      const inputs = { x0: ones([1, 4, 4, 1]), noise: ones([1, 4, 4, 1]), t: tensor([3], { dtype: "int32" }), iteration: PerStep.known(0) }; // prettier-ignore
      const once = (run: SmallRun): void => {
        scope(() => {
          run.step(inputs);
        });
      };
      const eager = seededRun(9);
      for (let i = 0; i < 11; i++) once(eager);

      const run = seededRun(9);
      const step = capture(() => run.step(inputs).loss);
      const replay = step.replay(10);
      const first = replay.next();
      once(run);
      await first;
      for await (const _ of replay);
      expect(stateOf(run.model, run.adam)).to.deep.equal(stateOf(eager.model, eager.adam));
      step.dispose();
    });

    it("that go back give gradients after those that its steps consume", async () => {
      const weight = new Parameter(tensor([1, 2]));
      const sgd = new SGD([weight], { lr: 1 });
      const step = capture(() => {
        const loss = weight.mul(0.5).sum();
        loss.backward();
        sgd.step();
        return loss;
      });
      const replay = step.replay(4);
      const first = replay.next();
      weight.mul(3).sum().backward();
      await first;
      for await (const _ of replay);
      expect(weight.grad!.toArray()).to.deep.equal([3, 3]);
      sgd.step();
      expect(weight.toArray()).to.deep.equal([1 - 2 - 3, 2 - 2 - 3]);
      step.dispose();
    });

    it("that go back, and calls of the function, add to gradients that its steps leave", async () => {
      const leaf = tensor([1, 2]).requireGrad();
      const step = capture(() => {
        const loss = leaf.mul(0.5).sum();
        loss.backward();
        return loss;
      });
      const before = await referencedMemory();
      for (const gradients of [[], [0.5]]) {
        leaf.clearGrad();
        for (const _ of gradients) scope(() => void step());
        const replay = step.replay(1);
        const first = replay.next();
        expect(leaf.grad!.toArray()).to.deep.equal([0.5 + 0.5 * gradients.length, 0.5 + 0.5 * gradients.length]);
        scope(() => {
          step();
          leaf.mul(3).sum().backward();
        });
        await first;
        for await (const _ of replay);
        const sum = 4 + 0.5 * gradients.length;
        expect(leaf.grad!.toArray()).to.deep.equal([sum, sum]);
      }
      leaf.clearGrad();
      step.dispose();
      expect(await liveMemory()).to.deep.equal(before);
    });

    it("find the gradients that were there where a replay was stopped before it began", async () => {
      const leaf = tensor([1, 2]).requireGrad();
      const step = capture(() => {
        const loss = leaf.mul(0.5).sum();
        loss.backward();
        return loss;
      });
      scope(() => {
        step();
      });
      const endless = capture(() => randn([1 << 16]).sum());
      const [busy, unstarted] = [endless.replay(1000), new AbortController()];
      const running = busy.next();
      const waiting = step.replay(1, { signal: unstarted.signal });
      const next = rejection(waiting.next());
      unstarted.abort();
      await running;
      await busy.return();
      expect((await next).name).to.equal("AbortError");
      expect(leaf.grad!.toArray()).to.deep.equal([0.5, 0.5]);
      endless.dispose();
      step.dispose();
    });

    it("draw the numbers that follow those of its steps", async () => {
      const draw = capture(() => randn([3]));
      manualSeed(4);
      const eager = Array.from({ length: 8 }, () => bits(randn([3])));
      manualSeed(4);
      const replay = draw.replay(6);
      const first = replay.next();
      expect(bits(randn([3]))).to.equal(eager[6]);
      await first;
      for await (const _ of replay);
      expect(bits(randn([3]))).to.equal(eager[7]);
      draw.dispose();
    });

    it("may be calls of the same captured function, and replays of it", async () => {
      const { weight, step } = counting();
      const replay = step.replay(20);
      const first = replay.next();
      const called = step();
      const again = step.replay(5);
      const next = again.next();
      await Promise.all([first, next]);
      const values: number[] = [];
      for await (const report of again) values.push(report.values[0]);
      for await (const report of replay) values.push(report.values[0]);
      expect(called.item()).to.equal(21);
      expect(values).to.deep.equal([23, 24, 25, 26, ...Array.from({ length: 19 }, (_, i) => i + 2)]);
      expect(weight.toArray()).to.deep.equal([[26, 26, 26], [26, 26, 26]]); // prettier-ignore
      step.dispose();
    });
  });
});
