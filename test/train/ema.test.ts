// Averages of weights in training runs: plans have eager's bits, and pictures drawn meanwhile with the averages leave no trace.

import { expect } from "chai";
import type { Tensor } from "langevin";
import { EMA, manualSeed, sample, train } from "langevin";
import { onEveryDevice } from "../tensor/devices.ts";
import { pictures, schedule, smallRun } from "./small-net.ts";

onEveryDevice("EMA in train", () => {
  const run = async (options: { readonly eager?: boolean; readonly sampling?: boolean }) => {
    manualSeed(2);
    const { model, step } = smallRun();
    const ema = new EMA(model.parameters(), { decay: 0.9 });
    const samples: unknown[] = [];
    const running = train({
      iterations: 6,
      schedule,
      data: pictures.batches(4),
      pauseEvery: 3,
      eager: options.eager,
      step: (inputs) => {
        const result = step(inputs);
        ema.update();
        return result;
      },
    });
    for await (const { iteration } of running) {
      if (iteration % 3 !== 0 || !options.sampling) continue;
      const drawn = await ema.swap(() => sample({ model, schedule, count: 2, size: [4, 4, 1] }));
      samples.push(drawn.toArray());
    }
    manualSeed(0);
    const arrays = (tensors: readonly Tensor[]): unknown[] => tensors.map((each) => each.toArray());
    const state = [arrays(model.parameters()), arrays(Object.values(ema.stateDict().tensors))];
    ema.copyTo();
    const last = await sample({ model, schedule, count: 2, size: [4, 4, 1] });
    return { state, samples, last: last.toArray() };
  };

  it("has the same bits step by step, as a plan, and with pictures drawn between the steps", async () => {
    const eager = await run({ eager: true });
    const { samples, ...planned } = await run({ sampling: true });
    expect(planned).to.deep.equal({ state: eager.state, last: eager.last });
    expect(samples).to.have.length(2);
    expect(samples[1]).to.deep.equal(eager.last);
    expect(samples[0]).not.to.deep.equal(samples[1]);
  });
});
