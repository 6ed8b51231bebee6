// Averages of weights: their values, plans, packs that optimizers move, state that is saved and loaded, and swaps.

import { expect } from "chai";
import {
  AdamW,
  ArgumentError,
  EMA,
  GradientError,
  LifetimeError,
  Linear,
  Module,
  Parameter,
  SGD,
  Sequential,
  ShapeError,
  Tanh,
  capture,
  manualSeed,
  mse,
  randn,
  scope,
  tensor,
  zeros,
} from "langevin";
import type { EMAState, Tensor, Adam } from "langevin";
import { failure, rejection } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

const parameter = (...values: number[]): Parameter => new Parameter(tensor(values));
const shadows = (ema: EMA): unknown[] => Object.values(ema.stateDict().tensors).map((shadow) => shadow.toArray());
const values = (list: readonly Parameter[]): unknown[] => list.map((p) => p.toArray());

/** A model in training, with averages. */
class Training {
  readonly net: Sequential;
  readonly adam: Adam;
  readonly ema: EMA;
  private readonly x: Tensor;

  constructor(order: "optimizer first" | "average first" = "optimizer first") {
    manualSeed(3);
    this.net = new Sequential(new Linear(3, 5), new Tanh(), new Linear(5, 1));
    this.x = randn([8, 3], { seed: 1 });
    const options = { decay: 0.9, updateAfterStep: 1 };
    const average = (): EMA => new EMA(this.net.parameters(), options);
    const early = order === "average first" ? average() : undefined;
    // Groups in another order than the model's.
    const biased = this.net.parameters().filter(({ rank }) => rank === 1);
    const weights = this.net.parameters().filter(({ rank }) => rank > 1);
    this.adam = new AdamW([{ parameters: biased, weightDecay: 0 }, { parameters: weights }], { lr: 0.05 });
    this.ema = early ?? average();
    manualSeed(0);
  }

  readonly step = (): void => {
    mse(this.net.forward(this.x), this.x.sum(1, { keepDims: true })).backward();
    this.adam.step();
    this.ema.update();
  };

  run(steps: number): this {
    for (let i = 0; i < steps; i++) scope(this.step);
    return this;
  }

  get state(): unknown {
    return [values(this.net.parameters()), shadows(this.ema), this.ema.stateDict().numbers];
  }
}

onEveryDevice("EMA", () => {
  it("copies at first, and then follows slowly", () => {
    const p = parameter(1, 2);
    const ema = new EMA([p], { decay: 0.75, updateAfterStep: 1, minDecay: 0.5 });
    const weights = [0, 0, 0.5, 0.5];
    let expected = [1, 2];
    weights.forEach((decay, k) => {
      p.assign(tensor([k, 10 * k]));
      ema.update();
      expect(ema.decayAt(k + 1)).to.equal(decay);
      expected = [k, 10 * k].map((now, i) => decay * expected[i] + (1 - decay) * now);
      expect(shadows(ema)).to.deep.equal([expected]);
    });
    expect(p.toArray()).to.deep.equal([3, 30]);
  });

  it("is one operation for all parameters of an optimizer, whatever the order of its groups", () => {
    const { step, ema, net } = new Training();
    const text = capture(step).plan().toString();
    expect(text.match(/\bema\b/g)).to.have.length(1);
    expect(Object.keys(ema.stateDict().tensors)).to.deep.equal(["0.shadow", "1.shadow", "2.shadow", "3.shadow"]);
    net.parameters().forEach((p, i) => expect(ema.stateDict().tensors[`${i}.shadow`].shape).to.deep.equal(p.shape));
  });

  it("gives the same bits in a plan, its decay rising from step to step", async () => {
    const eager = new Training().run(12);
    const planned = new Training();
    const step = capture(planned.step);
    for await (const _ of step.replay(5));
    planned.run(2);
    for await (const _ of step.replay(5));
    expect(planned.state).to.deep.equal(eager.state);
  });

  it("follows parameters that an optimizer moves later", async () => {
    const expected = new Training().run(4).state;
    expect(new Training("average first").run(4).state).to.deep.equal(expected);
    const planned = new Training("average first");
    for await (const _ of capture(planned.step).replay(4));
    expect(planned.state).to.deep.equal(expected);
  });

  it("follows them in the midst of training, and a plan notices", () => {
    const [p, q] = [parameter(1), parameter(2)];
    const ema = new EMA([p, q], { decay: 0.5, minDecay: 0.5 });
    const update = capture(() => {
      ema.update();
    });
    update();
    update();
    const sgd = new SGD([q], { lr: 1 });
    q.sum().backward();
    sgd.step();
    update();
    expect([values([p, q]), shadows(ema)]).to.deep.equal([[[1], [1]], [[1], [1.5]]]); // prettier-ignore
  });

  it("goes on from a saved state with the same bits", () => {
    const [one, two] = [new Training().run(5), new Training().run(2)];
    const { tensors, numbers } = one.ema.stateDict();
    const { options } = numbers;
    two.net.loadStateDict(one.net.stateDict());
    two.adam.loadStateDict(one.adam.stateDict());
    two.ema.loadStateDict({ tensors, numbers: JSON.parse(JSON.stringify(numbers)) as typeof numbers });
    expect(two.ema.options).to.deep.equal(options);
    expect(two.run(3).state).to.deep.equal(one.run(3).state);
  });

  const wrong: [string, (state: EMAState) => unknown, RegExp][] = [
    ["a missing tensor", ({ tensors: { "0.shadow": _, ...tensors }, ...s }) => ({ ...s, tensors }), /missing \[0.shadow\], unknown \[\]/],
    ["an unknown tensor", ({ tensors, ...s }) => ({ ...s, tensors: { ...tensors, more: tensors["0.shadow"] } }), /missing \[\], unknown \[more\]/],
    ["a wrong shape", ({ tensors, ...s }) => ({ ...s, tensors: { ...tensors, "1.shadow": zeros([3]) } }), /1.shadow has shape \[3\], the parameter \[5\]/],
    ["half an update", ({ numbers, ...s }) => ({ ...s, numbers: { ...numbers, updates: 0.5 } }), /number of updates is 0.5/],
    ["a decay out of range", ({ numbers, ...s }) => ({ ...s, numbers: { ...numbers, options: { decay: 2 } } }), /decay is 2, expected a number from 0 to 1/],
  ]; // prettier-ignore
  for (const [name, change, text] of wrong)
    it(`refuses a state with ${name}, and changes nothing`, () => {
      const [one, two] = [new Training().run(3), new Training().run(1)];
      const before = two.state;
      const error = failure(() => two.ema.loadStateDict(change(one.ema.stateDict()) as EMAState));
      expect(error).to.be.instanceOf(name === "a wrong shape" ? ShapeError : ArgumentError);
      expect(error.message).to.match(/^EMA\.loadStateDict: /).and.to.match(text); // prettier-ignore
      expect(two.state).to.deep.equal(before);
    });

  describe("of tied and frozen parameters", () => {
    class Tied extends Module {
      readonly first = new Linear(2, 2, { bias: false });
      readonly second = new Linear(2, 2, { bias: false });
      constructor() {
        super();
        (this.second as { weight: Parameter }).weight = this.first.weight;
      }
      forward(x: Tensor): Tensor {
        return this.second.forward(this.first.forward(x));
      }
    }

    it("averages a tied one once", () => {
      const model = new Tied();
      const ema = new EMA([model.first.weight, ...model.parameters(), model.second.weight], { minDecay: 0.5 });
      const before = model.first.weight.toArray() as number[][];
      model.first.weight.assign(zeros([2, 2]));
      ema.update();
      ema.update();
      model.first.weight.assign(tensor(before));
      ema.update();
      const half = before.map((row) => row.map((x) => x / 2));
      expect(shadows(ema)).to.deep.equal([half]);
      ema.copyTo();
      expect(model.second.weight.toArray()).to.deep.equal(half);
    });

    it("leaves frozen ones where they are, and copies them as they are", () => {
      const [p, q] = [parameter(1), parameter(2).requireGrad(false)];
      const ema = new EMA([p, q], { minDecay: 0.5 });
      expect([q.pack, Object.keys(ema.stateDict().tensors)]).to.deep.equal([undefined, ["0.shadow"]]);
      q.assign(tensor([7]));
      const others = [parameter(0), parameter(0)];
      ema.copyTo(others);
      expect(values(others)).to.deep.equal([[1], [7]]);
    });

    it("copies one that is frozen later, while its neighbours are averaged", () => {
      const [p, q, r] = [parameter(0), parameter(0), parameter(0)];
      const ema = new EMA([p, q, r], { decay: 0.5, minDecay: 0.5 });
      ema.update();
      q.requireGrad(false);
      for (const each of [p, q, r]) each.assign(tensor([8]));
      ema.update();
      expect(shadows(ema)).to.deep.equal([[4], [8], [4]]);
    });

    it("refuses one that is trained after all", () => {
      const [p, q] = [parameter(1), parameter(2, 3).requireGrad(false)];
      const ema = new EMA([p, q]);
      q.requireGrad();
      const error = failure(() => ema.update());
      expect(error).to.be.instanceOf(GradientError);
      expect(error.message).to.equal(
        "EMA.update: parameter 1, of shape [2], is trained, but was frozen when the average was made. " +
          "Make a new average, or call requireGrad() before making it.",
      );
    });
  });

  describe("copyTo", () => {
    it("overwrites the model, or another one", () => {
      const [p, other] = [parameter(4, 8), parameter(0, 0)];
      const ema = new EMA([p], { minDecay: 0.5 });
      p.assign(tensor([0, 0]));
      ema.copyTo([other]);
      expect([p.toArray(), other.toArray()]).to.deep.equal([[0, 0], [4, 8]]); // prettier-ignore
      ema.copyTo();
      expect(p.toArray()).to.deep.equal([4, 8]);
    });

    it("refuses a model that is built in another way, and changes nothing", () => {
      const ema = new EMA([parameter(1), parameter(2)]);
      const others = [parameter(5), parameter(5, 5)];
      expect(failure(() => ema.copyTo(others.slice(1))).message).to.match(/^EMA\.copyTo: was given 1 parameters, and holds the averages of 2\./); // prettier-ignore
      expect(failure(() => ema.copyTo(others)).message).to.equal(
        "EMA.copyTo: the average of parameter 1 has shape [1], the parameter [2].",
      );
      expect(values(others)).to.deep.equal([[5], [5, 5]]);
    });
  });

  describe("swap", () => {
    const trained = (): { p: Parameter; ema: EMA } => {
      const p = parameter(0.1);
      const ema = new EMA([p], { minDecay: 0.5 });
      p.assign(tensor([0.3]));
      return { p, ema };
    };
    const [average, now] = [Math.fround(0.1), Math.fround(0.3)];

    it("puts the averages in place, gives the function's result, and puts the parameters back", async () => {
      const { p, ema } = trained();
      expect(ema.swap(() => p.item())).to.equal(average);
      expect(p.item()).to.equal(now);
      const promise = ema.swap(async () => {
        await Promise.resolve();
        return p.data();
      });
      expect(p.item()).to.equal(average);
      expect((await promise)[0]).to.equal(average);
      expect(p.item()).to.equal(now);
      expect(shadows(ema)).to.deep.equal([[average]]);
    });

    it("puts them back where the function fails", async () => {
      const { p, ema } = trained();
      const fail = (): never => {
        throw new Error("sampling failed");
      };
      expect(failure(() => ema.swap(fail)).message).to.equal("sampling failed");
      expect(p.item()).to.equal(now);
      const error = await rejection(ema.swap(async () => fail()));
      expect([error.message, p.item()]).to.deep.equal(["sampling failed", now]);
      ema.update();
    });

    it("refuses another swap and updates meanwhile, also those of a plan", async () => {
      const { p, ema } = trained();
      const update = capture(() => {
        ema.update();
      });
      update();
      const before = shadows(ema);
      const text = "averages stand in for the parameters, in a swap that is under way. Await what swap returns first.";
      await ema.swap(async () => {
        expect(failure(() => ema.swap(() => 1)).message).to.equal(`EMA.swap: ${text}`);
        expect(failure(() => ema.update()).message).to.equal(`EMA.update: ${text}`);
        expect(failure(() => update()).message).to.equal(`EMA.update: ${text}`);
      });
      expect([p.item(), shadows(ema)]).to.deep.equal([now, before]);
      update();
    });

    it("refuses a swap of another average of the same parameters, and its updates", async () => {
      const { p, ema } = trained();
      const other = new EMA([p]);
      const before = shadows(other);
      const text = "averages stand in for the parameters, in a swap that is under way. Await what swap returns first.";
      await ema.swap(async () => {
        expect(failure(() => other.swap(() => 1)).message).to.equal(`EMA.swap: ${text}`);
        expect(failure(() => other.update()).message).to.equal(`EMA.update: ${text}`);
        expect(p.item()).to.equal(average);
      });
      expect([p.item(), shadows(other)]).to.deep.equal([now, before]);
      expect(other.swap(() => p.toArray())).to.deep.equal(before[0]);
      expect(p.item()).to.equal(now);
    });

    it("refuses to be captured, and what is no function", () => {
      const { ema } = trained();
      expect(failure(() => capture(() => ema.swap(() => undefined))()).message).to.match(/^EMA\.swap: /);
      expect(failure(() => ema.swap(7 as never)).message).to.equal("EMA.swap: was given 7, expected a function.");
    });

    it("keeps no memory", async () => {
      const { ema } = trained();
      ema.swap(() => undefined);
      const before = await referencedMemory();
      for (let i = 0; i < 3; i++) await ema.swap(async () => undefined);
      expect((await liveMemory()).buffers).to.equal(before.buffers);
    });
  });

  it("frees its averages, and cannot be used any more", async () => {
    const p = parameter(1);
    new EMA([p]).dispose();
    const before = await referencedMemory();
    const ema = new EMA([p]);
    ema.update();
    ema.dispose();
    expect((await liveMemory()).buffers).to.equal(before.buffers);
    expect(failure(() => ema.update())).to.be.instanceOf(LifetimeError);
  });

  it("refuses models without trained parameters, and options out of range", () => {
    const p = parameter(1);
    expect(failure(() => new EMA([])).message).to.match(/^EMA: no parameters were given\./);
    expect(failure(() => new EMA([parameter(1).requireGrad(false)])).message).to.match(
      /^EMA: every parameter is frozen\./,
    );
    expect(failure(() => new EMA(new Linear(1, 1) as never)).message).to.match(/Pass model\.parameters\(\)/);
    for (const [options, text] of [
      [{ decay: 1.1 }, "decay is 1.1, expected a number from 0 to 1."],
      [{ decay: 0.5, minDecay: 0.6 }, "minDecay is 0.6, expected at most decay, which is 0.5."],
      [{ updateAfterStep: -1 }, "updateAfterStep is -1, expected an integer >= 0."],
      [{ invGamma: 0 }, "invGamma is 0, expected a number > 0."],
      [{ power: Infinity }, "power is Infinity, expected a number > 0."],
    ] as const)
      expect(failure(() => new EMA([p], options)).message).to.equal(`EMA: ${text}`);
  });
});
