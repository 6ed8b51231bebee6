// A thousand steps are one call into native code: of sampling, of training, of any captured function.

import { expect } from "chai";
import {
  Adam,
  DPMSolverMultistepScheduler,
  Linear,
  NoiseSchedule,
  Parameter,
  capture,
  iterate,
  manualSeed,
  mse,
  noGrad,
  ones,
  randn,
  repeat,
  sample,
  scope,
  train,
  zeros,
} from "langevin";
import type { Denoiser, SampleOptions, StepInputs, Tensor } from "langevin";
import { useDevice } from "../tensor/devices.ts";
import { pictures, schedule as shortSchedule, smallRun } from "../train/small-net.ts";
import { native } from "../device/native-devices.ts";
import type { Calls } from "./counted-addon.ts";
import { countCalls } from "./counted-addon.ts";

/** What must not depend on the number of steps, given what that number was. */
function expectOneReplay(few: Calls, many: Calls): void {
  expect(many.replay).to.equal(1);
  expect(many.run).to.equal(undefined);
  expect(many).to.deep.equal(few);
  const all = Object.values(many).reduce((sum, count) => sum + count, 0);
  expect(all, JSON.stringify(many)).to.be.at.most(64);
}

(native.isBuilt ? describe : describe.skip)(`calls into the addon of ${native.name}`, () => {
  useDevice(native.name);

  describe("of sample", () => {
    let model: Denoiser;
    before(() => {
      manualSeed(1);
      const layer = new Linear(3, 3);
      model = { forward: (x: Tensor): Tensor => layer.forward(x).tanh() };
    });
    const sampling = (steps: number, more: Partial<SampleOptions> = {}) =>
      countCalls(async () => {
        const schedule = new NoiseSchedule({ steps, betaStart: 1e-4, betaEnd: 0.6 });
        (await sample({ model, schedule, count: 1, size: [2, 2, 3], seed: 4, ...more })).dispose();
      });

    it("are one replay and a handful of others for 1,000 steps of one image", async () => {
      const few = await sampling(20);
      expectOneReplay(few, await sampling(1000));
    });

    it("are one replay for each batch of one size", async () => {
      const calls = await sampling(100, { count: 9, batch: 2 });
      expect([calls.replay, calls.load]).to.deep.equal([5, 2]);
    });

    it("are one replay for 20 steps of DPM++ 2M at batch 16", async () => {
      const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
      const dpm = (steps: number): Promise<Calls> => {
        const solver = new DPMSolverMultistepScheduler({ schedule }).solver({ steps });
        return countCalls(async () => {
          (await sample({ model, solver, count: 16, size: [2, 2, 3], seed: 4 })).dispose();
        });
      };
      await dpm(2);
      expectOneReplay(await dpm(10), await dpm(20));
    });

    it("end where the caller asked to look", async () => {
      expect((await sampling(100, { previewEvery: 30, onPreview: () => undefined })).replay).to.equal(4);
    });
  });

  describe("of train", () => {
    const training = async (iterations: number, pauseEvery?: number): Promise<Calls> => {
      manualSeed(1);
      const { step } = smallRun();
      const data = pictures.batches(2);
      // The images are on the device already, and so are the schedule's tables.
      await train({ iterations: 1, schedule: shortSchedule, data, step });
      return countCalls(() => train({ iterations, schedule: shortSchedule, data, step, pauseEvery }));
    };

    it("are one replay and a handful of others for 1,000 iterations on images in memory", async () => {
      const few = await training(10);
      expectOneReplay(few, await training(1000));
    });

    it("are one replay for each thousand, or from pause to pause", async () => {
      expect((await training(2500)).replay).to.equal(3);
      expect((await training(100, 30)).replay).to.equal(4);
    });

    it("are as few where a step accumulates gradients and reads tables", async () => {
      const training = (iterations: number): Promise<Calls> => {
        manualSeed(2);
        const layer = new Linear(1, 1);
        const adam = new Adam(layer.parameters(), { lr: (step) => 1e-2 / (step + 1) });
        const weights = ones([1000, 1]);
        const step = ({ x0, noise, iteration }: StepInputs): { loss: Tensor } => {
          repeat(4, () => {
            mse(layer.forward(x0), noise).mul(weights.row(iteration).mean()).backward();
          });
          adam.step();
          return { loss: scope(() => layer.weight.detach().sum().keep()) };
        };
        const data = pictures.batches(2);
        return countCalls(() => train({ iterations, schedule: shortSchedule, data, step }));
      };
      await training(1);
      expectOneReplay(await training(10), await training(1000));
    });
  });

  describe("of captured functions", () => {
    it("are one replay for 1,000 steps", async () => {
      const weight = new Parameter(zeros([3]));
      const step = capture(() => {
        weight.assign(weight.add(randn([3])));
        return weight.detach().mean();
      });
      scope(() => {
        step();
      });
      const replaying = (steps: number): Promise<Calls> =>
        countCalls(async () => {
          for await (const _ of step.replay(steps));
        });
      const few = await replaying(10);
      const many = await replaying(1000);
      expectOneReplay(few, many);
      expect(many).to.have.all.keys("replay", "stop");
      step.dispose();
    });

    it("are one run for a loop of 1,000 iterations in them", async () => {
      const calling = async (times: number): Promise<Calls> => {
        const chain = capture((x: Tensor) =>
          noGrad(() => iterate(times, x, (state, step) => state.mul(0.5).add(randn([2], { seed: 1, step })))),
        );
        const x = ones([2]);
        await chain(x).data();
        const calls = await countCalls(() => chain(x));
        chain.dispose();
        return calls;
      };
      const many = await calling(1000);
      expect(many).to.deep.equal(await calling(10));
      expect(many.run).to.equal(1);
      expect(many.replay).to.equal(undefined);
      expect(Object.values(many).reduce((sum, count) => sum + count, 0)).to.be.at.most(6);
    });
  });
});
