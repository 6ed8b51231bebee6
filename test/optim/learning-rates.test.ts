// Learning rates as functions of the step: values that diffusers does not have, errors, and their use by an optimizer.

import { expect } from "chai";
import {
  ArgumentError,
  Parameter,
  SGD,
  capture,
  constantLr,
  cosineLr,
  cosineWithRestartsLr,
  linearLr,
  piecewiseConstantLr,
  polynomialLr,
  tensor,
} from "langevin";
import type { DecayOptions, LearningRateSchedule } from "langevin";
import { failure } from "../failure.ts";

const at = (schedule: LearningRateSchedule, ...steps: number[]): number[] => steps.map(schedule);

describe("learning rates", () => {
  it("rise from 0 to the peak in the warm-up", () => {
    const options = { peak: 2, warmup: 4, steps: 8 };
    for (const make of [constantLr, linearLr, cosineLr, cosineWithRestartsLr, polynomialLr])
      expect(at(make(options), 0, 1, 2, 3, 4)).to.deep.equal([0, 0.5, 1, 1.5, 2]);
    expect(at(constantLr({ peak: 2 }), 0, 99)).to.deep.equal([2, 2]);
  });

  it("fall to their end, and stay there", () => {
    expect(at(linearLr({ peak: 1, steps: 4, end: 0.5 }), 0, 2, 4, 9)).to.deep.equal([1, 0.75, 0.5, 0.5]);
    expect(at(polynomialLr({ peak: 1, steps: 4, power: 2, end: 0 }), 0, 2, 4, 9)).to.deep.equal([1, 0.25, 0, 0]);
    expect(at(cosineWithRestartsLr({ peak: 1, steps: 4, cycles: 2 }), 0, 2, 4, 9)).to.deep.equal([1, 1, 0, 0]);
    const half = at(cosineLr({ peak: 1, steps: 4 }), 1, 2, 3);
    [(1 + Math.SQRT1_2) / 2, 0.5, (1 - Math.SQRT1_2) / 2].forEach((rate, i) =>
      expect(half[i]).to.be.closeTo(rate, 1e-15),
    );
  });

  it("are numbers where the warm-up takes all steps", () => {
    for (const make of [linearLr, cosineLr, cosineWithRestartsLr, polynomialLr])
      for (const rate of at(make({ peak: 1, warmup: 3, steps: 3 }), 0, 2, 3, 4)) expect(rate).to.be.within(0, 1);
  });

  it("go down stairs", () => {
    const stairs = [{ until: 2, lr: 1 }, { until: 5, lr: 0.1 }]; // prettier-ignore
    expect(at(piecewiseConstantLr({ stairs, rest: 0.01 }), 0, 1, 2, 4, 5, 99)).to.deep.equal([
      1, 1, 0.1, 0.1, 0.01, 0.01,
    ]);
  });

  it("are those of an optimizer's steps, also in a plan", async () => {
    const run = async (planned: boolean): Promise<unknown> => {
      const p = new Parameter(tensor([1]));
      const sgd = new SGD([p], { lr: cosineLr({ peak: 0.5, warmup: 2, steps: 7 }) });
      const step = (): void => {
        p.sum().backward();
        sgd.step();
      };
      if (planned) for await (const _ of capture(step).replay(7));
      else for (let i = 0; i < 7; i++) step();
      expect(sgd.lr).to.equal(0);
      return p.toArray();
    };
    const eager = await run(false);
    // The sum of the rates: 0 + 1/4, and of the cosine's five values 1/2 + (1/2) (1/2 + ... of p and 1 - p: 4 / 2).
    expect((eager as number[])[0]).to.be.closeTo(1 - 0.25 - 0.5 * (1 + 4 / 2), 1e-6);
    expect(await run(true)).to.deep.equal(eager);
  });

  const wrong: [string, () => unknown, string][] = [
    ["a negative peak", () => constantLr({ peak: -1 }), "constantLr: peak is -1, expected a learning rate >= 0."],
    ["half a step", () => cosineLr({ peak: 1, steps: 2.5 }), "cosineLr: steps is 2.5, expected an integer >= 1."],
    [
      "a schedule without an end",
      () => linearLr({ peak: 1 } as DecayOptions),
      "linearLr: steps is undefined, expected an integer >= 1.",
    ],
    [
      "a warm-up beyond the end",
      () => polynomialLr({ peak: 1, warmup: 9, steps: 8 }),
      "polynomialLr: steps is 8 and warmup 9. The warm-up is counted among the steps.",
    ],
    [
      "an end above the peak",
      () => polynomialLr({ peak: 1e-8, steps: 8 }),
      "polynomialLr: end is 1e-7 and peak 1e-8, expected end <= peak.",
    ],
    [
      "no cycles",
      () => cosineWithRestartsLr({ peak: 1, steps: 8, cycles: 0 }),
      "cosineWithRestartsLr: cycles is 0, expected a number > 0.",
    ],
    [
      "stairs out of order",
      () => piecewiseConstantLr({ stairs: [{ until: 5, lr: 1 }, { until: 5, lr: 1 }], rest: 0 }), // prettier-ignore
      "piecewiseConstantLr: stairs[1] ends at step 5, the one before it at 5. Give the stairs in the order of their ends.",
    ],
  ];
  for (const [name, call, message] of wrong)
    it(`refuse ${name}`, () => {
      const error = failure(call);
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(message);
    });
});
