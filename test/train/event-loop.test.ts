// The event loop stays live while steps of some ten milliseconds run as plans: timers fire throughout, and in time.

import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import type { StepInputs, Tensor } from "langevin";
import { Adam, Conv2d, ImageSet, Module, NoiseSchedule, manualSeed, mse, randint, randn, sample, scope, train, PerStep } from "langevin"; // prettier-ignore
import { rejection } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";
import { pictures, schedule as shortSchedule, smallRun } from "./small-net.ts";

const steps = 60;
const schedule = new NoiseSchedule({ steps, betaStart: 1e-4, betaEnd: 0.4 });

class Net extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  readonly conv3: Conv2d;

  constructor(width: number) {
    super();
    this.conv1 = new Conv2d(1, width, 3, { padding: 1 });
    this.conv2 = new Conv2d(width, width, 3, { padding: 1 });
    this.conv3 = new Conv2d(width, 1, 3, { padding: 1 });
  }

  forward(x: Tensor): Tensor {
    return this.conv3.forward(this.conv2.forward(this.conv1.forward(x).silu()).silu());
  }
}

/** Runs `fn` and tells, in milliseconds, how long it took, the longest delay of the event loop, and when timers fired. */
async function observed(fn: () => Promise<unknown>): Promise<{ took: number; longest: number; ticks: number[] }> {
  const histogram = monitorEventLoopDelay({ resolution: 5 });
  const begin = performance.now();
  const ticks: number[] = [];
  let ended = false;
  const ticking = (async () => {
    while (!ended) {
      await delay(5);
      ticks.push(performance.now() - begin);
    }
  })();
  histogram.enable();
  await fn();
  histogram.disable();
  const took = performance.now() - begin;
  ended = true;
  await ticking;
  return { took, longest: histogram.max / 1e6, ticks };
}

onEveryDevice("the event loop", (device) => {
  // About 10 to 50 ms a step on either device.
  const [width, size, batch] = device === "cpu" ? [32, 32, 8] : [4, 12, 4];
  let model: Net;
  let adam: Adam;
  let bound: number;

  const step = ({ x0, t, noise }: StepInputs): { loss: Tensor } => {
    const loss = mse(model.forward(schedule.addNoise(x0, t, noise)), noise);
    loss.backward();
    adam.step();
    return { loss };
  };

  before(async () => {
    manualSeed(1);
    model = new Net(width);
    adam = new Adam(model.parameters());
    const shape = [batch, size, size, 1];
    const once = () =>
      scope(() => {
        const [x0, noise] = [randn(shape), randn(shape)];
        const begin = performance.now();
        step({ x0, noise, t: randint(0, steps, [batch]), iteration: PerStep.known(0) }).loss.item();
        return performance.now() - begin;
      });
    once();
    const whole = Math.min(once(), once(), once());
    // On ts one operation keeps the loop busy, which takes less than a step; on cpu none does. Kernels of cuda that run on the host
    // take a processor from the loop.
    bound = (device === "cuda" ? 1000 : 250) + (device === "ts" ? whole : 0);
  });

  const expectLive = ({ took, longest, ticks }: Awaited<ReturnType<typeof observed>>): void => {
    expect(longest).to.be.below(bound);
    const moments = [0, ...ticks.filter((time) => time < took), took];
    const gaps = moments.slice(1).map((time, i) => time - moments[i]);
    expect(Math.max(...gaps), `between timers, of ${took} ms`).to.be.below(bound);
  };

  it("stays live during training", async () => {
    const data = new ImageSet({ images: new Float32Array(20 * size * size).fill(0.5), shape: [20, size, size, 1] }).batches(batch); // prettier-ignore
    let done = 0;
    const seen: number[] = [];
    const during = await observed(async () => {
      const begin = performance.now();
      for await (const { iteration } of train({ iterations: steps, schedule, data, step })) {
        done = iteration;
        seen.push(performance.now() - begin);
      }
    });
    expect(done).to.equal(steps);
    expectLive(during);
    // Reports come along the way, not all at the end.
    expect(seen[Math.floor(steps / 2)], "half of the reports").to.be.below(0.9 * during.took);
  });

  it("stays live during sampling", async () => {
    const during = await observed(async () => {
      (await sample({ model, schedule, count: 4 * batch, size: [size, size, 1] })).dispose();
    });
    expectLive(during);
  });

  it("stays live while several trainings of short steps take turns, and obeys a timer's abort", async () => {
    const signals: AbortSignal[] = [];
    const during = await observed(async () => {
      const runs = [1, 2, 3].map((seed) => {
        const signal = AbortSignal.timeout(300);
        signals.push(signal);
        const { step } = smallRun();
        return train({
          iterations: 10_000_000,
          schedule: shortSchedule,
          seed,
          data: pictures.batches(2),
          step,
          signal,
        });
      });
      await Promise.all(runs.map(rejection));
    });
    expectLive(during);
    expect(during.took).to.be.within(290, 300 + 4 * bound);
  });

  it("stays live while reports are looked at that are there already", async () => {
    const { step } = smallRun();
    const during = await observed(async () => {
      for await (const _ of train({ iterations: 500, schedule: shortSchedule, data: pictures.batches(2), step })) {
        const begin = performance.now();
        while (performance.now() - begin < 1);
      }
    });
    expectLive(during);
    expect(during.took).to.be.above(500);
  });
});
