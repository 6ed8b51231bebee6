// What all optimizers share: groups, learning rates, frozen parameters, state that is saved and loaded; SGD and RMSprop.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  Adam,
  AdamW,
  ArgumentError,
  Dropout,
  GradientError,
  LifetimeError,
  Linear,
  Parameter,
  RMSprop,
  SGD,
  Sequential,
  ShapeError,
  Tanh,
  clipGradNorm,
  manualSeed,
  mse,
  randn,
  readSafetensors,
  scope,
  tensor,
  writeSafetensors,
  zeros,
} from "langevin";
import type { OptimizerState, RMSpropOptions, SGDOptions, Tensor } from "langevin";
import { failure } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

/** Puts this gradient on the parameter. */
function give(parameter: Parameter, gradient: number): void {
  scope(() => {
    parameter.mul(gradient).sum().backward();
  });
}

function parameter(...values: number[]): Parameter {
  return new Parameter(tensor(values));
}

onEveryDevice("optimizers", () => {
  describe("groups", () => {
    it("have options of their own, else the optimizer's, else the defaults", () => {
      const [a, b] = [parameter(1), parameter(2)];
      const adam = new AdamW([{ parameters: [a], lr: 0.1, weightDecay: undefined }, { parameters: [b] }], {
        weightDecay: 0.5,
      });
      const { lr, betas, weightDecay } = adam.groups[0];
      expect([lr, betas, weightDecay]).to.deep.equal([0.1, [0.9, 0.999], 0.5]);
      expect([adam.groups[1].lr, adam.groups[1].weightDecay]).to.deep.equal([1e-3, 0.5]);
      expect(adam.groups.map(({ parameters }) => parameters)).to.deep.equal([[a], [b]]);
    });

    it("step as optimizers of their own would", () => {
      const build = (): Parameter[] => [parameter(1, 2), parameter(3), parameter(4)];
      const [together, apart] = [build(), build()];
      const one = new SGD([
        { parameters: together.slice(0, 2), lr: 0.1, momentum: 0.9 },
        { parameters: new Set([together[2]]), lr: 0.5, weightDecay: 0.1 },
      ]);
      const first = new SGD(apart.slice(0, 2), { lr: 0.1, momentum: 0.9 });
      const second = new SGD([apart[2]], { lr: 0.5, weightDecay: 0.1 });
      for (let step = 0; step < 3; step++) {
        for (const list of [together, apart]) list.forEach((p, i) => give(p, i + step - 0.5));
        for (const optimizer of [one, first, second]) optimizer.step();
      }
      expect(together.map((p) => p.toArray())).to.deep.equal(apart.map((p) => p.toArray()));
    });

    it("share one learning rate, or have theirs set one by one", () => {
      const [a, b] = [parameter(1), parameter(2)];
      const sgd = new SGD([{ parameters: [a] }, { parameters: [b] }], { lr: 0.1 });
      expect(sgd.lr).to.equal(0.1);
      sgd.lr = 0.2;
      expect(sgd.groups.map(({ lr }) => lr)).to.deep.equal([0.2, 0.2]);
      sgd.groups[1].lr = 0.5;
      give(a, 1);
      give(b, 1);
      sgd.step();
      expect([a.item(), b.item()]).to.deep.equal([Math.fround(0.8), 1.5]);
      const text = "SGD: the groups have learning rates 0.2, 0.5. Use optimizer.groups[i].lr.";
      expect(failure(() => sgd.lr).message).to.equal(text);
      expect(failure(() => (sgd.lr = 1)).message).to.equal(text);
      sgd.groups[1].lr = -1;
      give(a, 1);
      expect(failure(() => sgd.step()).message).to.equal("SGD: lr is -1, expected 0 <= lr.");
    });

    it("refuse a parameter that is in two of them", () => {
      const [a, b] = [parameter(1), parameter(1, 2, 3)];
      const error = failure(() => new Adam([{ parameters: [b] }, { parameters: [a, b] }]));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal("Adam: parameter 1 of group 1, of shape [3], is in group 0, too.");
      expect(a.pack).to.equal(undefined);
    });

    it("refuse options out of range, and an empty list", () => {
      const p = parameter(1);
      const text = "SGD: momentum is -1, expected 0 <= momentum.";
      expect(failure(() => new SGD([{ parameters: [p], momentum: -1 }])).message).to.equal(text);
      expect(failure(() => new SGD([{ parameters: [] }])).message).to.match(/^SGD: no parameters were given/);
    });

    it("take any iterable", () => {
      const layer = new Linear(2, 2);
      expect(new Adam(layer.namedParameters().values()).groups[0].parameters).to.deep.equal(layer.parameters());
      expect(new Adam([{ parameters: layer.namedParameters().values() }]).groups[0].parameters).to.have.length(2);
    });
  });

  it("train a chain of layers with groups, clipping and dropout, with the same bits each time", () => {
    const run = (): { losses: number[]; weights: unknown } => {
      manualSeed(4);
      const net = new Sequential(new Linear(3, 16), new Tanh(), new Dropout(0.1), new Linear(16, 1));
      const [x, weights, biases] = [randn([64, 3]), [] as Parameter[], [] as Parameter[]];
      const target = x.sum(1, { keepDims: true });
      for (const parameter of net.parameters()) (parameter.rank > 1 ? weights : biases).push(parameter);
      const adam = new AdamW([{ parameters: weights }, { parameters: biases, weightDecay: 0 }], { lr: 0.02 });
      const losses = Array.from({ length: 60 }, () =>
        scope(() => {
          const loss = mse(net.forward(x), target);
          loss.backward();
          clipGradNorm(net.parameters(), 1);
          adam.step();
          return loss.item();
        }),
      );
      return { losses, weights: net.parameters().map((parameter) => parameter.toArray()) };
    };
    const once = run();
    expect(once.losses.at(-1)).to.be.lessThan(0.2 * once.losses[0]);
    expect(run()).to.deep.equal(once);
    manualSeed(0);
  });

  describe("frozen parameters", () => {
    it("stay where they are, neither packed nor updated", () => {
      const [a, b] = [parameter(1), parameter(2)];
      b.requireGrad(false);
      const adam = new Adam([a, b]);
      a.mul(b).sum().backward();
      adam.step();
      expect([a.pack !== undefined, b.pack, b.item(), b.grad]).to.deep.equal([true, undefined, 2, undefined]);
    });

    it("that are trained after all are refused, rather than forgotten", () => {
      const [a, b] = [parameter(1), parameter(2, 3)];
      b.requireGrad(false);
      const adam = new Adam([a, b]);
      b.requireGrad();
      a.mul(b).sum().backward();
      const error = failure(() => adam.step());
      expect(error).to.be.instanceOf(GradientError);
      expect(error.message).to.equal(
        "Adam.step: parameter 1, of shape [2], has a gradient, but was frozen when the optimizer was made. " +
          "Make a new optimizer, or call requireGrad() before making it.",
      );
      adam.zeroGrad();
      expect(b.grad).to.equal(undefined);
      new Adam([a, b]);
    });

    it("alone are refused", () => {
      const p = parameter(1).requireGrad(false);
      expect(failure(() => new Adam([p])).message).to.equal(
        "Adam: every parameter is frozen. Call requireGrad() on those to be trained.",
      );
    });

    it("may be frozen later: they get no gradient and stay as they are", () => {
      const [a, b] = [parameter(1), parameter(2)];
      const adam = new Adam([a, b], { weightDecay: 1 });
      b.requireGrad(false);
      a.mul(b).sum().backward();
      adam.step();
      expect(b.item()).to.equal(2);
    });
  });

  describe("SGD", () => {
    /** PyTorch's rule for one number. */
    const reference = (options: SGDOptions & { lr?: number }) => {
      const { lr = 1e-3, momentum = 0, dampening = 0, nesterov = false, weightDecay = 0 } = options;
      let velocity: number | undefined;
      return (p: number, gradient: number): number => {
        const g = gradient + weightDecay * p;
        if (momentum === 0) return p - lr * g;
        velocity = velocity === undefined ? g : momentum * velocity + (1 - dampening) * g;
        return p - lr * (nesterov ? g + momentum * velocity : velocity);
      };
    };
    for (const options of [
      {},
      { lr: 0.1, weightDecay: 0.1 },
      { lr: 0.1, momentum: 0.9 },
      { lr: 0.1, momentum: 0.5, dampening: 0.5 },
      { lr: 0.01, momentum: 0.9, nesterov: true, weightDecay: 0.01 },
    ])
      it(`takes PyTorch's steps with ${JSON.stringify(options)}`, () => {
        const p = parameter(1, 1);
        const sgd = new SGD([p], options);
        const next = reference(options);
        let expected = 1;
        for (const gradient of [0.5, -2, 0.1, 3]) {
          give(p, gradient);
          sgd.step();
          expected = next(expected, gradient);
          for (const value of p.toArray() as number[]) expect(value).to.be.closeTo(expected, 2e-6);
        }
      });

    it("refuses Nesterov's momentum without momentum, or dampened", () => {
      const text =
        "SGD: nesterov with momentum 0 and dampening 0. Nesterov's momentum needs a momentum above 0 and no dampening.";
      expect(failure(() => new SGD([parameter(1)], { nesterov: true })).message).to.equal(text);
      const dampened = { nesterov: true, momentum: 0.9, dampening: 0.1 };
      expect(failure(() => new SGD([parameter(1)], dampened))).to.be.instanceOf(ArgumentError);
    });

    it("steps no more once disposed", () => {
      const p = parameter(1);
      const sgd = new SGD([p]);
      give(p, 1);
      sgd.dispose();
      expect(failure(() => sgd.step())).to.be.instanceOf(LifetimeError);
    });
  });

  describe("RMSprop", () => {
    const reference = (options: RMSpropOptions & { lr?: number }) => {
      const { lr = 0.01, alpha = 0.99, epsilon = 1e-8, weightDecay = 0, momentum = 0, centered = false } = options;
      let [square, mean, velocity] = [0, 0, 0];
      return (p: number, gradient: number): number => {
        const g = gradient + weightDecay * p;
        square = alpha * square + (1 - alpha) * g * g;
        mean = alpha * mean + (1 - alpha) * g;
        const root = Math.sqrt(centered ? square - mean * mean : square) + epsilon;
        velocity = momentum * velocity + g / root;
        return p - lr * velocity;
      };
    };
    for (const options of [
      {},
      { lr: 0.1, alpha: 0.5, epsilon: 1e-3, weightDecay: 0.1 },
      { momentum: 0.9 },
      { centered: true },
      { centered: true, momentum: 0.9 },
    ])
      it(`takes PyTorch's steps with ${JSON.stringify(options)}`, () => {
        const p = parameter(1, 1);
        const optimizer = new RMSprop([p], options);
        const next = reference(options);
        let expected = 1;
        for (const gradient of [0.5, -2, 0.1, 3]) {
          give(p, gradient);
          optimizer.step();
          expected = next(expected, gradient);
          for (const value of p.toArray() as number[]) expect(value).to.be.closeTo(expected, 1e-5);
        }
      });

    it("centered, stays finite where the gradient never varies", () => {
      const p = parameter(...Array.from({ length: 40 }, (_, i) => 1 + i / 7));
      const optimizer = new RMSprop([p], { centered: true, alpha: 0.5, lr: 1e-3 });
      for (let step = 0; step < 60; step++) {
        p.mul(p.detach().mul(0).add(0.3)).sum().backward();
        optimizer.step();
      }
      expect((p.toArray() as number[]).every(Number.isFinite)).to.equal(true);
    });
  });

  describe("state", () => {
    const build = (): { list: Parameter[]; optimizer: AdamW } => {
      const list = [new Parameter(tensor([[1, 2], [3, 4]])), parameter(5), parameter(6)]; // prettier-ignore
      const groups = [{ parameters: [list[0], list[1]] }, { parameters: [list[2]], lr: 0.1, amsgrad: true }];
      return { list, optimizer: new AdamW(groups, { lr: 0.01 }) };
    };
    const run = ({ list, optimizer }: ReturnType<typeof build>, from: number, to: number): void => {
      for (let step = from; step < to; step++) {
        list.forEach((p, i) => {
          if (i !== 1 || step > 2) give(p, Math.sin(7 * step + i));
        });
        optimizer.step();
      }
    };
    const values = (list: Parameter[]): unknown => list.map((p) => p.toArray());

    it("has PyTorch's names, the parameters' shapes, and nothing of parameters without a step", () => {
      const one = build();
      run(one, 0, 2);
      const { tensors, numbers } = one.optimizer.stateDict();
      const names = ["0.exp_avg", "0.exp_avg_sq", "2.exp_avg", "2.exp_avg_sq", "2.max_exp_avg_sq"];
      expect(Object.keys(tensors)).to.deep.equal(names);
      expect(tensors["0.exp_avg"].shape).to.deep.equal([2, 2]);
      expect(numbers.steps).to.deep.equal([2, 0, 2]);
      expect(numbers.groups.map(({ parameters, lr }) => [parameters, lr])).to.deep.equal([
        [[0, 1], 0.01],
        [[2], 0.1],
      ]);
    });

    it("goes through safetensors and JSON, and the other optimizer goes on with the same bits", async () => {
      const [one, two] = [build(), build()];
      run(one, 0, 2);
      const folder = mkdtempSync(join(tmpdir(), "langevin-optimizer-"));
      try {
        const { tensors, numbers } = one.optimizer.stateDict();
        const raw = new Map<string, { dtype: "F32"; shape: readonly number[]; data: Float32Array<ArrayBuffer> }>();
        for (const [name, { shape }] of Object.entries(tensors))
          raw.set(name, { dtype: "F32", shape, data: (await tensors[name].data()) as Float32Array<ArrayBuffer> });
        const path = join(folder, "adam.safetensors");
        await writeSafetensors(path, raw, { numbers: JSON.stringify(numbers) });
        const file = await readSafetensors(path);
        const loaded = Object.fromEntries(
          [...file.tensors].map(([name, { data, shape }]) => [name, tensor(data as Float32Array, { shape })]),
        );
        two.list.forEach((p, i) => p.assign(one.list[i]));
        two.optimizer.loadStateDict({
          tensors: loaded,
          numbers: JSON.parse(file.metadata.numbers) as typeof numbers,
        });
      } finally {
        rmSync(folder, { recursive: true });
      }
      run(one, 2, 6);
      run(two, 2, 6);
      expect(values(two.list)).to.deep.equal(values(one.list));
    });

    it("takes the options along, also those that ask for other tensors", () => {
      const [p, q] = [parameter(1), parameter(1)];
      const [one, two] = [new Adam([p], { lr: 0.5, amsgrad: true }), new Adam([q])];
      give(p, 1);
      one.step();
      two.loadStateDict(one.stateDict());
      expect([two.lr, two.groups[0].amsgrad]).to.deep.equal([0.5, true]);
      q.assign(p);
      for (const [x, optimizer] of [
        [p, one],
        [q, two],
      ] as const) {
        // prettier-ignore
        give(x, 0.1);
        optimizer.step();
      }
      expect(q.item()).to.equal(p.item());
    });

    it("frees the tensors that it replaces", async () => {
      const { list, optimizer } = build();
      run({ list, optimizer }, 0, 4);
      const state = optimizer.stateDict();
      const copy = { ...state, tensors: mapped(state.tensors, (t) => t.clone()) };
      for (const t of Object.values(state.tensors)) t.dispose();
      const before = await referencedMemory();
      for (let i = 0; i < 5; i++) optimizer.loadStateDict(copy);
      expect(await liveMemory()).to.deep.equal(before);
    });

    const mapped = (tensors: Readonly<Record<string, Tensor>>, f: (t: Tensor) => Tensor): Record<string, Tensor> =>
      Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, f(t)]));
    type State = OptimizerState<{ lr?: number }>;
    const wrong: [string, (state: State) => unknown, RegExp][] = [
      ["other groups", ({ numbers, ...s }) => ({ ...s, numbers: { ...numbers, groups: numbers.groups.slice(1) } }), /groups of \[1\] parameters, here \[2, 1\]/],
      ["a missing tensor", ({ tensors: { "0.exp_avg": _, ...tensors }, ...s }) => ({ ...s, tensors }), /missing \[0.exp_avg\], unknown \[\]/],
      ["an unknown tensor", ({ tensors, ...s }) => ({ ...s, tensors: { ...tensors, more: tensors["0.exp_avg"] } }), /missing \[\], unknown \[more\]/],
      ["a wrong shape", ({ tensors, ...s }) => ({ ...s, tensors: { ...tensors, "2.exp_avg": zeros([3]) } }), /2.exp_avg has shape \[3\], the parameter \[1\]/],
    ]; // prettier-ignore
    for (const [name, change, text] of wrong)
      it(`refuses ${name}, and changes nothing`, () => {
        const [one, two] = [build(), build()];
        run(one, 0, 2);
        run(two, 0, 1);
        const error = failure(() => two.optimizer.loadStateDict(change(one.optimizer.stateDict()) as never));
        expect(error).to.be.instanceOf(name === "a wrong shape" ? ShapeError : ArgumentError);
        expect(error.message).to.match(/^AdamW\.loadStateDict: /);
        expect(error.message).to.match(text);
        expect(two.optimizer.stateDict().numbers.steps).to.deep.equal([1, 0, 1]);
      });

    it("refuses the state of a parameter that is frozen here", () => {
      const [p, q, r, s] = [parameter(1), parameter(2), parameter(1), parameter(2)];
      s.requireGrad(false);
      const [one, two] = [new SGD([p, q], { momentum: 0.5 }), new SGD([r, s], { momentum: 0.5 })];
      give(q, 1);
      one.step();
      expect(failure(() => two.loadStateDict(one.stateDict())).message).to.match(
        /parameter 1 took steps there and is frozen here/,
      );
    });
  });
});
