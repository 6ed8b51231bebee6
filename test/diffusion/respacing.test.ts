// Respacing: which timesteps are taken, the schedule of them, and networks that are told the original ones.

import { expect } from "chai";
import type { Tensor } from "langevin";
import { ArgumentError, NoiseSchedule, capture, respace, sample, spacedTimesteps, tensor, zeros } from "langevin";
import { Counter, perStep } from "../../ts/tensor/recording.ts";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

describe("spacedTimesteps", () => {
  it("takes each section from its first to its last timestep", () => {
    expect(spacedTimesteps(10, 4)).to.deep.equal([0, 3, 6, 9]);
    expect(spacedTimesteps(10, 1)).to.deep.equal([0]);
    expect(spacedTimesteps(10, 10)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(spacedTimesteps(11, [2, 3])).to.deep.equal([0, 5, 6, 8, 10]);
    expect(spacedTimesteps(11, "2,3")).to.deep.equal([0, 5, 6, 8, 10]);
    expect(spacedTimesteps(300, [10, 15, 20])).to.have.length(45);
  });

  it("rounds halves to even", () => {
    expect(spacedTimesteps(6, 3)).to.deep.equal([0, 2, 5]);
    expect(spacedTimesteps(8, 3)).to.deep.equal([0, 4, 7]);
  });

  it("takes whole strides with ddim", () => {
    expect(spacedTimesteps(10, "ddim4")).to.deep.equal([0, 3, 6, 9]);
    expect(spacedTimesteps(1000, "ddim50").slice(0, 3)).to.deep.equal([0, 20, 40]);
  });

  for (const [spacing, text] of [
    ["ddim7", /spacing "ddim7": no whole stride through 10 timesteps takes 7 of them\. Expected a number/],
    [[5, 6], /spacing \[5,6\]: 6 timesteps in section 1, which has 5 of all 10\./],
    ["5,x", /spacing "5,x": it is no list of numbers of timesteps\./],
    [0, /spacing 0: it is no list/],
    [[], /spacing \[\]: it is no list/],
  ] as const)
    it(`refuses ${JSON.stringify(spacing)}`, () => {
      const error = failure(() => spacedTimesteps(10, spacing));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.match(/^spacedTimesteps: /).and.to.match(text); // prettier-ignore
    });
});

onEveryDevice("respace", () => {
  const schedule = new NoiseSchedule({ steps: 20, betaStart: 1e-4, betaEnd: 0.6 });

  it("keeps alphaBar at the timesteps that are taken", () => {
    const { schedule: short, timesteps } = respace(schedule, 5);
    expect(timesteps).to.deep.equal([0, 5, 10, 14, 19]);
    timesteps.forEach((t, k) => expect(short.alphaBar[k]).to.be.closeTo(schedule.alphaBar[t], 1e-15));
    const { schedule: all } = respace(schedule, 20);
    all.beta.forEach((beta, t) => expect(beta).to.be.closeTo(schedule.beta[t], 1e-15));
  });

  it("tells the original timesteps, of tensors, numbers, and steps of a plan", () => {
    const { original } = respace(schedule, "ddim4");
    const x = zeros([2, 3]);
    expect(original(3, x).toArray()).to.deep.equal([15, 15]);
    expect(original(tensor([2, 0], { dtype: "int32" }), x).toArray()).to.deep.equal([10, 0]);
    const count = new Counter();
    const step = capture(() => {
      const t = original(
        perStep(() => 3 - count.value),
        x,
      );
      count.add();
      return t;
    });
    expect([step().toArray(), step().toArray()]).to.deep.equal([[15, 15], [10, 10]]); // prettier-ignore
    expect(failure(() => original(4, x)).message).to.match(/t is 4, expected an integer from 0 to 3/);
  });

  it("samples with a wrapped network, which sees the original timesteps", async () => {
    const seen: unknown[] = [];
    const model = {
      forward: (x: Tensor, t: Tensor): Tensor => {
        seen.push((t.toArray() as number[])[0]);
        return x.mul(0.1);
      },
    };
    const { schedule: short, wrap } = respace(schedule, 5);
    await sample({ model: wrap(model), schedule: short, count: 2, size: [2, 2, 1], eager: true });
    expect(seen).to.deep.equal([19, 14, 10, 5, 0]);
  });
});
