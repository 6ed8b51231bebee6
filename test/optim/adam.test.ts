// Adam: its arithmetic, which parameters it touches, gradients it consumes, packing, and what is refused.

import { expect } from "chai";
import {
  Adam,
  AdamW,
  ArgumentError,
  LifetimeError,
  Linear,
  Parameter,
  ones,
  randn,
  scope,
  tensor,
  zeros,
} from "langevin";
import type { AdamOptions, Tensor } from "langevin";
import type { StepSettings } from "../../ts/optim/optimizer.ts";
import { failure } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

/** PyTorch's Adam and AdamW for one number, in float64. */
class Reference {
  value: number;
  m = 0;
  v = 0;
  largest = 0;
  t = 0;
  constructor(value: number) {
    this.value = value;
  }
  step(gradient: number, options: StepSettings<AdamOptions>, decoupled = false): void {
    const { lr, betas, epsilon, weightDecay, amsgrad } = options;
    let g = gradient;
    if (decoupled) this.value *= 1 - lr * weightDecay;
    else g += weightDecay * this.value;
    this.t++;
    this.m = betas[0] * this.m + (1 - betas[0]) * g;
    this.v = betas[1] * this.v + (1 - betas[1]) * g * g;
    this.largest = Math.max(this.largest, this.v);
    const corrected = Math.sqrt(amsgrad ? this.largest : this.v) / Math.sqrt(1 - betas[1] ** this.t);
    this.value -= ((lr / (1 - betas[0] ** this.t)) * this.m) / (corrected + epsilon);
  }
}

const defaults = { lr: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0, amsgrad: false } as const;

/** Puts this gradient on the parameter. */
function give(parameter: Parameter, gradient: number): void {
  scope(() => {
    parameter.mul(gradient).sum().backward();
  });
}

function parameter(...values: number[]): Parameter {
  return new Parameter(tensor(values));
}

function numbers(x: Tensor): number[] {
  return x.toArray() as number[];
}

onEveryDevice("Adam", () => {
  const variants: [string, AdamOptions][] = [
    ["with its defaults", {}],
    ["with other betas and epsilon", { lr: 0.05, betas: [0.5, 0.9], epsilon: 1e-3 }],
    ["with L2 decay", { lr: 0.01, weightDecay: 0.1 }],
    ["with AMSGrad", { lr: 0.01, amsgrad: true }],
    ["with betas of 0", { lr: 0.01, betas: [0, 0] }],
  ];
  for (const [name, options] of variants)
    it(`${name} takes PyTorch's steps`, () => {
      const p = parameter(1, 1);
      const reference = new Reference(1);
      const adam = new Adam([p], options);
      for (const gradient of [0.5, -2, 0.1, 30, 1e-6]) {
        give(p, gradient);
        adam.step();
        reference.step(gradient, { ...defaults, ...options } as StepSettings<AdamOptions>);
        for (const value of numbers(p)) expect(value).to.be.closeTo(reference.value, 2e-6);
      }
    });

  for (const [name, options] of [
    ["with its default decay of 0.01", {}],
    ["with another decay", { lr: 0.01, weightDecay: 0.5 }],
    ["without decay", { weightDecay: 0 }],
    ["with AMSGrad", { lr: 0.01, betas: [0.5, 0.5], amsgrad: true }],
  ] as [string, AdamOptions & { lr?: number }][])
    it(`AdamW ${name} takes PyTorch's steps`, () => {
      const p = parameter(1, 1);
      const reference = new Reference(1);
      const adam = new AdamW([p], options);
      for (const gradient of [0.5, -2, 30, 0.1, 1e-6]) {
        give(p, gradient);
        adam.step();
        reference.step(gradient, { ...defaults, weightDecay: 0.01, ...options }, true);
        for (const value of numbers(p)) expect(value).to.be.closeTo(reference.value, 2e-6);
      }
    });

  it("takes the learning rate of the moment", () => {
    const p = parameter(1);
    const reference = new Reference(1);
    const adam = new Adam([p]);
    for (const lr of [0.1, 0.001, 0]) {
      adam.lr = lr;
      give(p, 2);
      adam.step();
      reference.step(2, { ...defaults, lr });
      expect(p.item()).to.be.closeTo(reference.value, 1e-6);
    }
    adam.lr = NaN;
    give(p, 2);
    expect(failure(() => adam.step()).message).to.match(/lr is NaN/);
  });

  it("consumes the gradients: the next step starts from none", () => {
    const p = parameter(1);
    const adam = new Adam([p]);
    give(p, 5);
    adam.step();
    expect(p.grad).to.equal(undefined);
    give(p, 2);
    expect(p.grad!.item()).to.equal(2);
  });

  it("adds up several backwards before a step", () => {
    const [a, b] = [parameter(1), parameter(1)];
    const [one, two] = [new Adam([a]), new Adam([b])];
    give(a, 3);
    give(b, 1);
    give(b, 2);
    one.step();
    two.step();
    expect(b.item()).to.equal(a.item());
  });

  it("leaves parameters without a gradient alone, with their moments and their number of steps", () => {
    const parameters = Array.from({ length: 5 }, () => parameter(1));
    const references = parameters.map(() => new Reference(1));
    const adam = new Adam(parameters, { lr: 0.1, weightDecay: 0.01 });
    const rounds = [[0, 1, 2, 3, 4], [1, 3], [0, 1, 4], [2], [0, 1, 2, 3, 4]];
    rounds.forEach((round, k) => {
      for (const i of round) give(parameters[i], k - i - 0.5);
      adam.step();
      for (const i of round) references[i].step(k - i - 0.5, { ...defaults, lr: 0.1, weightDecay: 0.01 });
      parameters.forEach((p, i) => {
        expect(p.item(), `round ${k}, parameter ${i}`).to.be.closeTo(references[i].value, 1e-5);
      });
    });
  });

  it("refuses a step without any gradient", () => {
    const p = parameter(1);
    const adam = new Adam([p]);
    const error = failure(() => adam.step());
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal("Adam.step: no parameter has a gradient. Call loss.backward() before step().");
    give(p, 1);
    adam.step();
    expect(failure(() => adam.step())).to.be.instanceOf(ArgumentError);
  });

  it("zeroGrad forgets gradients without using them", () => {
    const p = parameter(1);
    const adam = new Adam([p]);
    give(p, 100);
    adam.zeroGrad();
    expect(p.grad).to.equal(undefined);
    give(p, 2);
    expect(p.grad!.item()).to.equal(2);
    expect(p.item()).to.equal(1);
  });

  describe("packs parameters", () => {
    it("which keep their identity, values and shapes", () => {
      const layer = new Linear(3, 5);
      const [weight, bias] = [layer.weight, layer.bias!];
      const before = [weight.toArray(), bias.toArray()];
      new Adam(layer.parameters());
      expect([layer.weight === weight, layer.bias === bias]).to.deep.equal([true, true]);
      expect([weight.toArray(), bias.toArray()]).to.deep.equal(before);
      expect([weight.shape, weight.requiresGrad, weight.layout]).to.deep.equal([[3, 5], true, "OI"]);
    });

    it("and takes over gradients that were collected before", () => {
      const [a, b] = [parameter(1, 2, 3), parameter(4)];
      give(a, 7);
      const adam = new Adam([a, b]);
      expect(numbers(a.grad!)).to.deep.equal([7, 7, 7]);
      expect(b.grad).to.equal(undefined);
      give(a, 1);
      expect(numbers(a.grad!)).to.deep.equal([8, 8, 8]);
      adam.step();
      expect([numbers(a)[0] < 1, b.item()]).to.deep.equal([true, 4]);
    });

    it("and takes their views along", async () => {
      const [first, weight] = [parameter(0), new Parameter(tensor([[1, 2], [3, 4]]))]; // prettier-ignore
      const [row, handle] = [weight.slice(1), weight.detach()];
      const adam = new Adam([first, weight]);
      weight.assign(tensor([[5, 6], [7, 8]])); // prettier-ignore
      expect(numbers(row)).to.deep.equal([7, 8]);
      expect([...(await handle.reshape([4]).data())]).to.deep.equal([5, 6, 7, 8]);
      expect(row.mul(2).toArray()).to.deep.equal([14, 16]);
      adam.dispose();
      first.dispose();
      weight.dispose();
      expect(numbers(row)).to.deep.equal([7, 8]);
    });

    it("that were made of parts of a bigger tensor, which stays as it was", () => {
      const whole = tensor([[1, 2], [3, 4]]); // prettier-ignore
      const [a, b] = [new Parameter(whole.slice(0)), new Parameter(whole.slice(1))];
      const adam = new Adam([a, b]);
      give(a, 1);
      give(b, 1);
      adam.step();
      expect([numbers(a)[0] < 1, numbers(b)[1] < 4, numbers(b)[1] > 3]).to.deep.equal([true, true, true]);
      expect(whole.toArray()).to.deep.equal([
        [1, 2],
        [3, 4],
      ]);
    });

    it("apart from parameters that were made of their handles", () => {
      const p = parameter(1);
      const first = new Adam([p]);
      const other = new Parameter(p.detach());
      const second = new Adam([other]);
      give(other, 1);
      second.step();
      expect([p.item(), other.item() < 1]).to.deep.equal([1, true]);
      give(p, 1);
      first.step();
      expect(p.item()).to.equal(other.item());
    });

    it("without writing over their neighbours", () => {
      const sizes = [1, 17, 16, 3, 100, 1];
      const parameters = sizes.map((n) => new Parameter(zeros([n])));
      const adam = new Adam(parameters);
      parameters.forEach((p, i) => {
        p.assign(ones([sizes[i]]).mul(i + 1));
      });
      parameters.forEach((p, i) => {
        expect(numbers(p), `parameter ${i}`).to.deep.equal(new Array(sizes[i]).fill(i + 1));
      });
      give(parameters[2], 1);
      adam.step();
      parameters.forEach((p, i) => {
        expect(
          numbers(p).every((value) => value === i + 1),
          `parameter ${i}`,
        ).to.equal(i !== 2);
      });
    });

    it("into one pack that two optimizers of the same list share", async () => {
      const layer = new Linear(4, 4);
      const first = new Adam(layer.parameters(), { lr: 0.1 });
      const before = await referencedMemory();
      const second = new Adam(layer.parameters(), { lr: 0.1 });
      expect((await liveMemory()).buffers).to.equal(before.buffers + 2); // its two moments
      give(layer.weight, 1);
      second.step();
      give(layer.weight, 1);
      first.step();
      second.dispose();
      give(layer.weight, 1);
      first.step();
    });

    it("each once, however often it is listed", () => {
      const p = parameter(1);
      const adam = new Adam([p, p]);
      give(p, 1);
      adam.step();
      expect(p.item()).to.be.closeTo(1 - 1e-3, 1e-6);
    });
  });

  describe("takes over", () => {
    for (const [name, list] of [
      ["a part of another optimizer's parameters", (a: Parameter) => [a]],
      ["more than another optimizer's parameters", (a: Parameter, b: Parameter) => [a, b, parameter(3)]],
      ["another optimizer's parameters in another order", (a: Parameter, b: Parameter) => [b, a]],
    ] as const)
      it(`${name} with values, gradients and views, and stops the other`, () => {
        const [a, b] = [parameter(1), parameter(2)];
        const older = new Adam([a, b]);
        const view = a.detach();
        give(a, 1);
        const newer = new Adam(list(a, b), { lr: 0.5 });
        expect([a.item(), b.item(), a.grad?.item(), b.grad]).to.deep.equal([1, 2, 1, undefined]);
        newer.step();
        expect(a.item()).to.be.closeTo(0.5, 1e-6);
        expect(view.item()).to.equal(a.item());
        give(a, 1);
        expect(failure(() => older.step())).to.be.instanceOf(LifetimeError);
        expect(failure(() => older.step()).message).to.match(/^Adam\.step: [12] of the 2 parameters have moved/);
      });

    it("parameters again and again without holding on to memory", async () => {
      const [a, b] = [parameter(1), parameter(2)];
      new Adam([a, b]).dispose();
      const before = await referencedMemory();
      for (let i = 0; i < 10; i++) {
        new Adam([a]).dispose();
        new Adam([b, a]).dispose();
        new Adam([a, b]).dispose();
      }
      expect(await liveMemory()).to.deep.equal(before);
    });
  });

  describe("refuses", () => {
    const wrong: [AdamOptions, string][] = [
      [{ lr: -1 }, "Adam: lr is -1, expected 0 <= lr."],
      [{ lr: NaN }, "Adam: lr is NaN, expected 0 <= lr."],
      [{ betas: [1, 0.9] }, "Adam: betas[0] is 1, expected 0 <= betas[0] < 1."],
      [{ betas: [0.9, -0.1] }, "Adam: betas[1] is -0.1, expected 0 <= betas[1] < 1."],
      [{ epsilon: -1e-8 }, "Adam: epsilon is -1e-8, expected 0 <= epsilon."],
      [{ weightDecay: Infinity }, "Adam: weightDecay is Infinity, expected 0 <= weightDecay."],
    ];
    for (const [options, text] of wrong)
      it(
        JSON.stringify(options, (_, v: unknown) => (Number.isNaN(v) || v === Infinity ? String(v) : v)),
        () => {
          expect(failure(() => new Adam([parameter(1)], options)).message).to.equal(text);
        },
      );

    it("an empty list", () => {
      expect(failure(() => new Adam([])).message).to.equal("Adam: no parameters were given. Pass model.parameters().");
    });

    it("a parameter that was disposed, before it touches the others", async () => {
      const [first, second] = [parameter(1, 2), parameter(3)];
      second.dispose();
      const before = await referencedMemory();
      expect(failure(() => new Adam([first, second]))).to.be.instanceOf(LifetimeError);
      expect(first.pack).to.equal(undefined);
      expect(await liveMemory()).to.deep.equal(before);
    });

    it("a step after it, or the model, was disposed", () => {
      const [a, b] = [new Linear(1, 1), new Linear(1, 1)];
      const [one, two] = [new Adam(a.parameters()), new Adam(b.parameters())];
      for (const layer of [a, b])
        layer
          .forward(ones([1, 1]))
          .sum()
          .backward();
      one.dispose();
      expect(failure(() => one.step())).to.be.instanceOf(LifetimeError);
      b.dispose();
      expect(failure(() => two.step())).to.be.instanceOf(LifetimeError);
      one.dispose();
    });
  });

  it("gives the same bits each time", () => {
    const run = (): unknown => {
      const p = new Parameter(randn([100], { seed: 1 }));
      const adam = new Adam([p], { lr: 0.01 });
      for (let i = 0; i < 5; i++) {
        scope(() => {
          p.tanh().square().mean().backward();
        });
        adam.step();
      }
      return p.toArray();
    };
    expect(run()).to.deep.equal(run());
  });
});
