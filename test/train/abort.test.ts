// Training and sampling that end early, at random moments: what is left is the state of whole steps, from which all goes on.

import { getEventListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import { Adam, manualSeed, mse, repeat, sample, scope, train } from "langevin";
import type { Batches, StepInputs, Tensor, TrainOptions } from "langevin";
import { rejection } from "../failure.ts";
import { bits } from "../plan/bits.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";
import { SmallNet, pictures, schedule, smallRun } from "./small-net.ts";
import { stateOf, stepsOf } from "./state.ts";

/** Numbers below `limit`, the same ones each time. */
function* numbers(seed: number, limit: number): Generator<number, never> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield (state / 2 ** 32) * limit;
  }
}

/** A model with an optimizer, and a step that accumulates the gradients of three forwards. */
function accumulatingRun() {
  const model = new SmallNet();
  const adam = new Adam(model.parameters(), { lr: (step) => 1e-2 / (1 + step / 100) });
  const step = ({ x0, t, noise }: StepInputs): { loss: Tensor } => {
    repeat(3, () => {
      mse(model.forward(schedule.addNoise(x0, t, noise), t), noise).mul(1 / 3).backward(); // prettier-ignore
    });
    adam.step();
    return { loss: mse(model.forward(x0, t).detach(), noise) };
  };
  return { model, adam, step };
}

const data = pictures.batches(3);
/** The same batches, made one by one. */
const oneByOne: Batches = { size: data.size, batch: data.batch };

/** Ways in which training may run. */
const ways: { name: string; make: () => ReturnType<typeof smallRun>; changes: Partial<TrainOptions> }[] = [
  { name: "in calls of a thousand steps", make: smallRun, changes: {} },
  { name: "with pauses", make: smallRun, changes: { pauseEvery: 7 } },
  { name: "batch by batch", make: smallRun, changes: { data: oneByOne } },
  { name: "with accumulated gradients", make: accumulatingRun, changes: {} },
];

onEveryDevice("ending early", () => {
  const options = (step: TrainOptions["step"], changes: Partial<TrainOptions>): TrainOptions => ({
    iterations: 1_000_000,
    seed: 3,
    schedule,
    data,
    step,
    ...changes,
  });

  /** The states after so many steps one by one, and after some more of another seed. */
  const expected = async (
    make: () => ReturnType<typeof smallRun>,
    steps: number,
    more = 0,
  ): Promise<[then: string[], later: string[]]> => {
    manualSeed(1);
    const { model, adam, step } = make();
    await train(options(step, { iterations: steps, eager: true }));
    const then = stateOf(model, adam);
    await train(options(step, { iterations: more, seed: 8, eager: true }));
    return [then, stateOf(model, adam)];
  };

  describe("training", () => {
    for (const { name, make, changes } of ways) {
      it(`by a signal leaves the state of the steps that were reported, and goes on from there (${name})`, async () => {
        const moments = numbers(5, 6);
        for (let attempt = 0; attempt < 6; attempt++) {
          manualSeed(1);
          const { model, adam, step } = make();
          const controller = new AbortController();
          const reason = new Error("enough");
          let last = 0;
          const run = async () => {
            for await (const { iteration } of train(options(step, { ...changes, signal: controller.signal }))) {
              expect(iteration).to.equal(last + 1);
              last = iteration;
            }
          };
          const ending = rejection(run());
          await delay(moments.next().value);
          controller.abort(reason);
          expect(await ending).to.equal(reason);
          expect(getEventListeners(controller.signal, "abort")).to.have.length(0);
          expect(stepsOf(adam)).to.equal(last);
          const then = stateOf(model, adam);
          await train(options(step, { ...changes, iterations: 3, seed: 8 }));
          expect([then, stateOf(model, adam)]).to.deep.equal(await expected(make, last, 3));
        }
      });

      it(`by leaving the loop, or by an error in its body, leaves the state of the steps that ran (${name})`, async () => {
        const moments = numbers(6, 20);
        for (let attempt = 0; attempt < 6; attempt++) {
          manualSeed(1);
          const { model, adam, step } = make();
          const at = 1 + Math.floor(moments.next().value);
          const mine = new Error("mine");
          let last = 0;
          const run = async () => {
            for await (const { iteration } of train(options(step, changes))) {
              last = iteration;
              if (iteration !== at) continue;
              if (attempt % 3 === 0) break;
              if (attempt % 3 === 1) await delay(moments.next().value / 4); // others are told meanwhile
              throw mine;
            }
          };
          if (attempt % 3 === 0) await run();
          else expect(await rejection(run())).to.equal(mine);
          expect(last).to.equal(at);
          const taken = stepsOf(adam);
          expect(taken).to.be.at.least(at);
          if (changes.pauseEvery) expect(taken).to.be.at.most(Math.ceil(at / 7) * 7);
          const then = stateOf(model, adam);
          await train(options(step, { ...changes, iterations: 2, seed: 8 }));
          expect([then, stateOf(model, adam)]).to.deep.equal(await expected(make, taken, 2));
        }
      });
    }

    it("at the last step is no ending early", async () => {
      const { adam, step } = smallRun();
      const controller = new AbortController();
      let last = 0;
      for await (const { iteration } of train(options(step, { iterations: 50, signal: controller.signal }))) {
        last = iteration;
        if (iteration === 50) controller.abort();
      }
      expect([last, stepsOf(adam)]).to.deep.equal([50, 50]);
    });

    it("by a signal while a report is looked at still reports all steps that were done", async () => {
      manualSeed(1);
      const { adam, step } = smallRun();
      const controller = new AbortController();
      const seen: number[] = [];
      const run = async () => {
        for await (const { iteration } of train(options(step, { signal: controller.signal }))) {
          seen.push(iteration);
          if (iteration !== 5) continue;
          controller.abort();
          await delay(5);
        }
      };
      expect((await rejection(run())).name).to.equal("AbortError");
      expect(seen).to.deep.equal(Array.from({ length: stepsOf(adam) }, (_, i) => i + 1));
    });

    it("by one signal may end many runs, each within a step, and leaves no listeners", async () => {
      const controller = new AbortController();
      const runs = [0, 1, 2].map(() => {
        manualSeed(1);
        return smallRun();
      });
      const endings = runs.map(({ step }) => rejection(train(options(step, { signal: controller.signal }))));
      await delay(8);
      controller.abort();
      for (const error of await Promise.all(endings)) expect(error.name).to.equal("AbortError");
      expect(getEventListeners(controller.signal, "abort")).to.have.length(0);
      for (const { model, adam } of runs)
        expect(stateOf(model, adam)).to.deep.equal((await expected(smallRun, stepsOf(adam)))[0]);
    });

    it("before, or while a report is awaited, by return()", async () => {
      const { adam, step } = smallRun();
      const unstarted = train(options(step, {}));
      await unstarted.return();
      expect((await unstarted.next()).done).to.equal(true);
      expect(stepsOf(adam)).to.equal(0);
      const started = train(options(step, {}));
      await started.next();
      await started.return();
      const taken = stepsOf(adam);
      await delay(5);
      expect(stepsOf(adam)).to.equal(taken);
    });

    it("in any of these ways leaves nothing behind", async () => {
      manualSeed(1);
      const { step } = smallRun();
      await train(options(step, { iterations: 3 }));
      await train(options(step, { iterations: 3, data: oneByOne }));
      const before = await referencedMemory();
      const moments = numbers(7, 6);
      for (const changes of ways.map((way) => way.changes)) {
        for (let attempt = 0; attempt < 3; attempt++) {
          const signal = AbortSignal.timeout(1 + Math.floor(moments.next().value));
          expect((await rejection(train(options(step, { ...changes, signal })))).name).to.equal("TimeoutError");
          for await (const { iteration } of train(options(step, changes))) if (iteration === 2) break;
        }
        expect(await liveMemory()).to.deep.equal(before);
      }
    });
  });

  describe("sampling", () => {
    const sampling = (model: SmallNet, changes: object = {}) =>
      sample({ model, schedule, count: 2, size: [4, 4, 1], seed: 5, ...changes });

    it("by a signal frees everything, and the next run is undisturbed", async () => {
      manualSeed(1);
      const model = new SmallNet();
      const images = await sampling(model);
      const picture = bits(images);
      const before = await referencedMemory();
      const moments = numbers(8, 10);
      const seen: number[] = [];
      for (let attempt = 0; attempt < 12; attempt++) {
        const controller = new AbortController();
        const steps: number[] = [];
        const run = sampling(model, {
          count: 1_000_000,
          batch: 1 + (attempt % 3),
          signal: controller.signal,
          previewEvery: attempt % 2 === 0 ? undefined : 6,
          onPreview: ({ step }: { step: number }) => steps.push(step) && undefined,
        });
        const ending = rejection(run);
        await delay(moments.next().value);
        controller.abort();
        expect((await ending).name).to.equal("AbortError");
        expect(getEventListeners(controller.signal, "abort")).to.have.length(0);
        expect(await liveMemory()).to.deep.equal(before);
        steps.forEach((step, i) => {
          const every = attempt % 2 === 0 ? 20 : 6;
          const along = [0, 6, 12, 18, 20].filter((place) => place % every === 0 || place === 20);
          expect(step).to.equal(along[i % along.length]);
        });
        seen.push(steps.length);
        const again = await sampling(model);
        expect(bits(again)).to.equal(picture);
        again.dispose();
      }
      expect(Math.max(...seen), "ended in mid-run").to.be.above(0);
    });

    it("by an error in onPreview frees everything", async () => {
      manualSeed(1);
      const model = new SmallNet();
      (await sampling(model)).dispose();
      const before = await referencedMemory();
      for (const at of [0, 5, 20]) {
        const mine = new Error("mine");
        const onPreview = ({ step }: { step: number }): void => {
          if (step === at) throw mine;
        };
        expect(await rejection(sampling(model, { previewEvery: 5, onPreview }))).to.equal(mine);
        expect(await liveMemory()).to.deep.equal(before);
      }
    });

    it("from a model that trains leaves the training alone", async () => {
      manualSeed(1);
      const { model, adam, step } = smallRun();
      const moments = numbers(9, 3);
      let aborted = 0;
      for await (const { iteration } of train(options(step, { iterations: 40, pauseEvery: 10 }))) {
        if (iteration % 10 !== 0) continue;
        const signal = AbortSignal.timeout(Math.ceil(moments.next().value));
        await sampling(model, { count: 100_000, batch: 1, signal }).catch(() => aborted++);
      }
      expect(aborted).to.equal(4);
      expect(stateOf(model, adam)).to.deep.equal((await expected(smallRun, 40))[0]);
    });
  });

  it("leaves a step that is thrown out of while it is recorded as it was", async () => {
    manualSeed(1);
    const { model, adam, step } = smallRun();
    const before = stateOf(model, adam);
    for (const moment of [1, 2]) {
      let calls = 0;
      const failing = (inputs: StepInputs) => {
        const result = step(inputs);
        if (++calls === moment) throw new Error("mine");
        return result;
      };
      expect((await rejection(train(options(failing, {})))).message).to.equal("mine");
      expect(scope(() => stateOf(model, adam))).to.deep.equal(before);
    }
    await train(options(step, { iterations: 4 }));
    expect(stateOf(model, adam)).to.deep.equal((await expected(smallRun, 4))[0]);
  });
});
