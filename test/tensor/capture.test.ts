// capture: calls and replays have eager's bits, plans are kept apart by what they depend on, recording leaves no trace,
// and what cannot be a plan is refused by name.

import { expect } from "chai";
import {
  Adam,
  ArgumentError,
  CaptureError,
  Conv2d,
  DeviceError,
  Dropout,
  GroupNorm,
  LifetimeError,
  Linear,
  Module,
  NumericsError,
  Parameter,
  SGD,
  capture,
  clipGradNorm,
  concat,
  manualSeed,
  mse,
  noGrad,
  ones,
  randn,
  scope,
  setStrictMode,
  tensor,
  zeros,
} from "langevin";
import type { Tensor } from "langevin";
import { failure, rejection } from "../failure.ts";
import { bits } from "../plan/bits.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "./devices.ts";

class Net extends Module {
  readonly conv = new Conv2d(2, 8, 3, { padding: 1 });
  readonly norm = new GroupNorm(4, 8);
  readonly drop = new Dropout(0.25);
  readonly out = new Conv2d(10, 2, 3, { padding: 1 });
  forward(x: Tensor): Tensor {
    const h = this.drop.forward(this.norm.forward(this.conv.forward(x)).silu());
    return this.out.forward(concat([h, x], -1));
  }
}

/** A model with an optimizer whose learning rate changes, and a step that draws its own data. */
function training() {
  manualSeed(3);
  const net = new Net();
  const adam = new Adam(net.parameters(), { lr: (step) => 0.01 / (1 + step) });
  const step = (): { loss: Tensor; norm: Tensor } => {
    const x = randn([3, 5, 4, 2]);
    const loss = mse(net.forward(x), randn([3, 5, 4, 2]));
    loss.backward();
    const norm = clipGradNorm(net.parameters(), 1);
    adam.step();
    return { loss, norm };
  };
  const state = (): string[] => [
    ...net.parameters().map(bits),
    ...Object.values(adam.stateDict().tensors).map(bits),
    JSON.stringify(adam.stateDict().numbers),
    String(net.drop.step),
    String(net.parameters().map(({ grad }) => grad !== undefined)),
  ];
  return { net, adam, step, state };
}

onEveryDevice("capture", (device) => {
  describe("training steps", () => {
    it("have eager's bits, called and replayed, and count what eager counts", async () => {
      const eager = training();
      const losses = Array.from({ length: 12 }, () => scope(() => Object.values(eager.step()).map((x) => x.item())));
      const drawnAfter = scope(() => bits(randn([3])));
      const expected = eager.state();

      const planned = training();
      const step = capture(planned.step, { poison: true });
      const got: (readonly number[])[] = [];
      for (let i = 0; i < 3; i++) got.push(scope(() => Object.values(step()).map((x) => x.item())));
      for await (const { values } of step.replay(7)) got.push(values);
      got.push(scope(() => Object.values(planned.step()).map((x) => x.item()))); // eager steps in between
      for await (const { values } of step.replay(1)) got.push(values);
      expect(got).to.deep.equal(losses);
      expect(scope(() => bits(randn([3])))).to.equal(drawnAfter);
      expect(planned.state()).to.deep.equal(expected);
      step.dispose();
    });

    it("are reported in order, in calls of stepsPerCall", async () => {
      const { step } = training();
      const captured = capture(step, { stepsPerCall: 4 });
      const steps: number[] = [];
      for await (const report of captured.replay(10)) steps.push(report.step);
      expect(steps).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      captured.dispose();
    });

    it("stop where the loop over them is left, and count those that ran", async () => {
      const planned = training();
      const captured = capture(planned.step);
      for await (const { step } of captured.replay(1000)) if (step === 3) break;
      const taken = planned.adam.stateDict().numbers.step;
      expect(taken).to.be.within(3, 1000);
      expect(planned.net.drop.step).to.equal(taken);
      const eager = training();
      for (let i = 0; i < taken; i++)
        scope(() => {
          eager.step();
        });
      expect(planned.state()).to.deep.equal(eager.state());
      captured.dispose();
    });

    it("accumulate gradients from call to call until they are consumed", () => {
      const run = (planned: boolean): string[] => {
        manualSeed(1);
        const layer = new Linear(3, 2);
        const sgd = new SGD(layer.parameters(), { lr: 0.1, momentum: 0.9, dampening: 0.5 });
        const backward = (): void => {
          layer
            .forward(randn([4, 3]))
            .square()
            .sum()
            .backward();
        };
        const step = (): void => {
          sgd.step();
        };
        const calls = planned ? [capture(backward, { poison: true }), capture(step)] : [backward, step];
        const seen: string[] = [];
        for (let i = 0; i < 12; i++) {
          scope(calls[i % 4 === 3 ? 1 : 0]);
          seen.push(bits(layer.weight), layer.weight.grad ? bits(layer.weight.grad) : "none");
        }
        return seen;
      };
      expect(run(true)).to.deep.equal(run(false));
    });

    it("give gradients to leaves that no optimizer holds", () => {
      const leaf = tensor([1, 2]).requireGrad();
      const backward = capture((x: Tensor) => {
        leaf.mul(x).sum().backward();
      });
      backward(tensor([3, 4]));
      expect(leaf.grad!.toArray()).to.deep.equal([3, 4]);
      backward(tensor([1, 1]));
      expect(leaf.grad!.toArray()).to.deep.equal([4, 5]);
      leaf.clearGrad();
      backward(tensor([5, 5]));
      expect(leaf.grad!.toArray()).to.deep.equal([5, 5]);
      backward.dispose();
    });
  });

  describe("calls", () => {
    it("take tensors in arrays and objects and give results of their own", () => {
      const f = capture(({ a, b }: { a: Tensor; b: Tensor }, [c]: [Tensor]) => ({
        sum: a.add(b),
        more: [a.mul(c), a],
      }));
      const [a, b, c] = [tensor([1, 2]), tensor([10, 20]), tensor([3])];
      const first = f({ a, b }, [c]);
      const second = f({ a: b, b: a }, [c]);
      expect(first.sum.toArray()).to.deep.equal([11, 22]);
      expect(first.more.map((x) => x.toArray())).to.deep.equal([[3, 6], [1, 2]]); // prettier-ignore
      expect(second.more.map((x) => x.toArray())).to.deep.equal([[30, 60], [10, 20]]); // prettier-ignore
      expect(a.toArray()).to.deep.equal([1, 2]);
      f.dispose();
    });

    it("run as often as they are called, though the function ran twice", () => {
      let runs = 0;
      const f = capture((x: Tensor) => {
        runs++;
        return x.mul(2);
      });
      for (let i = 0; i < 5; i++) expect(f(tensor([i])).toArray()).to.deep.equal([2 * i]);
      expect(runs).to.equal(2);
    });

    it("record a new plan for other shapes, dtypes and trees, and find the old one again", () => {
      let runs = 0;
      const f = capture((x: Tensor) => {
        runs++;
        return x.add(x);
      });
      for (let i = 0; i < 2; i++) {
        expect(f(ones([2])).toArray()).to.deep.equal([2, 2]);
        expect(f(ones([1, 2])).toArray()).to.deep.equal([[2, 2]]);
        expect(f(ones([2], { dtype: "int32" })).dtype).to.equal("int32");
      }
      expect(runs).to.equal(6);
    });

    it("follow train and eval, freezing, gradient mode, seeds and sharing by new plans", () => {
      manualSeed(5);
      const layer = new Linear(2, 2);
      const drop = new Dropout(0.5);
      const f = capture((x: Tensor) => drop.forward(layer.forward(x)).detach());
      const x = ones([3, 2]);
      const plain = bits(layer.forward(x));
      drop.eval();
      expect(bits(f(x))).to.equal(plain);
      drop.train();
      expect(bits(f(x))).not.to.equal(plain);
      drop.eval();
      expect(bits(f(x))).to.equal(plain);
      expect(bits(noGrad(() => f(x)))).to.equal(plain);

      const draw = capture(() => randn([4]));
      manualSeed(8);
      const eager = [bits(randn([4])), bits(randn([4]))];
      manualSeed(8);
      expect([bits(draw()), bits(draw())]).to.deep.equal(eager);

      const gradient = capture(() => {
        const y = layer.forward(x).sum();
        if (y.requiresGrad) y.backward();
        return y;
      });
      gradient();
      expect(layer.weight.grad).not.to.equal(undefined);
      layer.weight.clearGrad();
      layer.bias!.clearGrad();
      layer.freeze();
      gradient();
      expect(layer.weight.grad).to.equal(undefined);
    });

    it("see what was written to parameters, and follow them into an optimizer's memory", () => {
      const weight = new Parameter(tensor([1, 2]));
      const f = capture((x: Tensor) => x.mul(weight).detach());
      expect(f(ones([2])).toArray()).to.deep.equal([1, 2]);
      weight.assign(tensor([5, 6]));
      expect(f(ones([2])).toArray()).to.deep.equal([5, 6]);
      const sgd = new SGD([weight], { lr: 1 });
      expect(f(ones([2])).toArray()).to.deep.equal([5, 6]);
      weight.sum().backward();
      sgd.step();
      expect(f(ones([2])).toArray()).to.deep.equal([4, 5]);
      sgd.dispose();
    });

    it("keep host data that are the same each time", () => {
      const f = capture((x: Tensor) => x.add(tensor([1, 2, 3])));
      for (let i = 0; i < 3; i++) expect(f(zeros([3])).toArray()).to.deep.equal([1, 2, 3]);
    });

    it("belong to the open scope, and free everything when disposed", async () => {
      const outside = ones([2, 2]);
      const before = await referencedMemory();
      const f = capture((x: Tensor) => x.matmul(outside).add(tensor([1, 2])), { poison: true });
      scope(() => {
        f(ones([2, 2]));
        f(ones([3, 2]));
      });
      expect((await liveMemory()).buffers).to.be.greaterThan(before.buffers);
      f.dispose();
      expect(await liveMemory()).to.deep.equal(before);
      expect(failure(() => f(ones([2, 2])))).to.be.instanceOf(CaptureError);
    });

    it("are in order with eager operations before and after", () => {
      const weight = new Parameter(zeros([4]));
      const f = capture(() => {
        weight.assign(weight.detach().add(1));
        return weight.detach().mul(1);
      });
      const seen: Tensor[] = [];
      for (let i = 0; i < 20; i++) {
        weight.assign(weight.mul(2));
        seen.push(f());
      }
      let value = 0;
      for (const result of seen) {
        value = 2 * value + 1;
        expect(result.toArray()).to.deep.equal([value, value, value, value]);
      }
    });
  });

  describe("recording", () => {
    it("executes nothing and leaves all library state untouched", async () => {
      const { net, step, state } = training();
      scope(() => {
        step();
      });
      net
        .forward(ones([1, 3, 3, 2]))
        .sum()
        .backward();
      const before = state();
      const versions = net.parameters().map(({ version }) => version.value);
      const memory = await referencedMemory();
      const captured = capture(step);
      expect(captured.plan().toString()).to.contain("adam");
      expect(state()).to.deep.equal(before);
      expect(net.parameters().map(({ version }) => version.value)).to.deep.equal(versions);
      expect(await liveMemory()).to.deep.equal(memory);
      captured.dispose();
    });

    it("leaves it untouched when the function throws, too", () => {
      const { step, state } = training();
      const before = state();
      const mine = new Error("mine");
      const captured = capture(() => {
        step();
        throw mine;
      });
      expect(failure(() => captured())).to.equal(mine);
      expect(state()).to.deep.equal(before);
    });

    it("tells the memory before the first run, and each command with its layer", () => {
      const { step } = training();
      const captured = capture(step);
      const plan = captured.plan();
      const text = plan.toString();
      expect(plan.bytes).to.be.at.least(plan.arenaBytes);
      expect(text.split("\n")).to.have.length.at.least(plan.commands + 4);
      expect(text).to.match(/conv2d +net\.conv +float32 \[3, 5, 4, 8\]/);
      expect(text).to.match(/conv2dWeightGradient +net\.out/);
      captured.dispose();
    });
  });

  describe("refuses", () => {
    const expectRefusal = (fn: () => Tensor | undefined, text: RegExp): void => {
      const error = failure(() => capture(fn)());
      expect(error).to.be.instanceOf(CaptureError);
      expect(error.message).to.match(text);
    };
    const x = (): Tensor => ones([2]);

    it("reading a value", async () => {
      expectRefusal(() => (x().sum().item(), x()), /^item: a value was read in a captured function.*eager: true/);
      expectRefusal(() => (x().toArray(), x()), /^toArray: a value was read/);
      expectRefusal(() => (String(x()), x()), /^toString: a value was read/);
      const outside = ones([1]);
      expectRefusal(() => x().mul(outside.item()), /^item: a value was read/);
      let promise: Promise<unknown> = Promise.resolve();
      const f = capture(() => {
        promise = x().data();
        return x();
      });
      f();
      expect(await rejection(promise)).to.be.instanceOf(CaptureError);
    });

    it("numbers that differ between the recordings, naming operation and attribute", () => {
      let n = 0;
      expectRefusal(() => x().mul(++n), /^fill: .*recorded twice and differs: value is 1 in one and 2 in the other/);
      let more = 0;
      expectRefusal(() => (more++ ? x().neg() : x()), /^(neg|capture): .*differs/);
      let size = 2;
      expectRefusal(() => ones([size++]), /^fill: .*shape is \[2\] in one and \[3\] in the other/);
      let data = 0;
      expectRefusal(() => tensor([data++]).add(1), /^add: .*a holds host data that differ/);
      const others = [ones([2]), ones([2])];
      expectRefusal(() => others.pop()!.add(1), /^add: .*a is another tensor in each/);
      class Layer extends Module {
        forward(y: Tensor): Tensor {
          return y.mul(++n);
        }
      }
      const layer = new Layer();
      expectRefusal(() => layer.forward(x()), /^layer: fill: /);
    });

    it("tensors that escape", () => {
      let escaped: Tensor | undefined;
      const f = capture(() => (escaped = x().keep()).add(1));
      f();
      const error = failure(() => escaped!.add(1));
      expect(error).to.be.instanceOf(CaptureError);
      expect(error.message).to.match(/^add: a tensor of shape \[2\] of a captured function was used outside of it/);
      expect(failure(() => escaped!.toArray())).to.be.instanceOf(CaptureError);
      escaped!.dispose();
    });

    it("making models and optimizers, seeding, disposing what is outside, changing what requires gradients", () => {
      const layer = new Linear(2, 2);
      const outside = ones([2]);
      const adam = new Adam(layer.parameters());
      const drop = new Dropout(0.5);
      for (const [fn, text] of [
        [() => new Linear(2, 2), /a parameter was made in a captured function/],
        [() => new Adam(layer.parameters()), /an optimizer was made in a captured function/],
        [
          () => {
            manualSeed(1);
          },
          /a seed or a saved state was set/,
        ],
        [
          () => {
            drop.step = 3;
          },
          /a seed or a saved state was set/,
        ],
        [
          () => {
            outside.dispose();
          },
          /from outside was disposed in a captured function/,
        ],
        [() => outside.requireGrad(), /a tensor from outside was changed in a captured function/],
        [
          () => {
            adam.lr = 0.1;
          },
          /the learning rate was set in a captured function. Pass lr as a function of the step/,
        ],
        [
          () => {
            adam.groups[0].lr = 0.1;
          },
          /the learning rate was set/,
        ],
      ] as [() => unknown, RegExp][])
        // prettier-ignore
        expectRefusal(() => (fn(), x()), text);
      expect(outside.toArray()).to.deep.equal([1, 1]);
    });

    it("precisions that do not exist, or not on this device", () => {
      const named = failure(() => capture(() => x(), { precision: "fp16" as never }));
      expect(named).to.be.instanceOf(ArgumentError);
      expect(named.message).to.equal('capture: precision is "fp16", expected one of "float32", "tf32", "bf16".');
      if (device === "cuda") return;
      const step = capture(() => x(), { precision: "bf16" });
      for (const use of [() => step(), () => step.plan()]) {
        const error = failure(use);
        expect(error).to.be.instanceOf(DeviceError);
        expect(error.message).to.equal(
          `capture: precision is "bf16", which device "${device}" here does not have (it has float32). ` +
            "Leave precision out; tf32 and bf16 take a GPU of compute capability 8.0 or more (Ampere and later).",
        );
      }
      expect(capture(() => x(), { precision: "float32" })().size).to.equal(x().size);
    });

    it("inputs and results that are no tensors, inputs that require gradients, promises, nesting, nothing", () => {
      expect(failure(() => capture(3 as never))).to.be.instanceOf(ArgumentError);
      const identity = capture((y: Tensor) => y.add(0));
      expect(failure(() => identity(3 as never)).message).to.match(
        /^capture: what goes in and out is tensors.*this is 3/,
      );
      expect(failure(() => identity(ones([1]).requireGrad())).message).to.match(/requires a gradient/);
      const gone = ones([1]);
      gone.dispose();
      expect(failure(() => identity(gone))).to.be.instanceOf(LifetimeError);
      expect(failure(() => capture(() => x().add(1).size as never)())).to.be.instanceOf(ArgumentError);
      expect(failure(() => capture((async () => undefined) as never)()).message).to.match(/returned a promise/);
      expectRefusal(() => identity(x()), /called within another one/);
      expectRefusal(() => capture(() => x().add(1)).plan() && x(), /called within another one/);
      expectRefusal(() => undefined, /computes nothing/);
      expect(failure(() => capture(() => x(), { stepsPerCall: 0 }))).to.be.instanceOf(ArgumentError);
    });

    it("numbers of steps that are none, and replays of functions with inputs", async () => {
      const f = capture(() => x().add(1));
      for (const steps of [-1, 1.5, NaN])
        expect(await rejection(f.replay(steps).next())).to.be.instanceOf(ArgumentError);
      expect((await f.replay(0).next()).done).to.equal(true);
    });
  });

  it("follows options that a saved state brings, and the default device's change", () => {
    const weight = new Parameter(tensor([1]));
    const sgd = new SGD([weight], { lr: 0.1 });
    const step = capture(() => {
      weight.mul(1).sum().backward();
      sgd.step();
    });
    step();
    expect(weight.item()).to.be.closeTo(0.9, 1e-6);
    const state = sgd.stateDict();
    sgd.loadStateDict({
      ...state,
      numbers: { ...state.numbers, groups: [{ ...state.numbers.groups[0], weightDecay: 1 }] },
    });
    step();
    expect(weight.item()).to.be.closeTo(0.9 - 0.1 * (1 + 0.9), 1e-6);
    sgd.lr = (k) => 0.1 * k;
    sgd.lr = 0.2; // the rate that the function gives now, from here on
    step();
    step();
    const [p, q] = [0.71 - 0.2 * 1.71, (0.71 - 0.2 * 1.71) * 0.8 - 0.2];
    expect(p).to.be.closeTo(0.368, 1e-6);
    expect(weight.item()).to.be.closeTo(q, 1e-6);
  });

  it("runs eagerly in strict mode", async () => {
    const f = capture(() => tensor([-1]).log());
    f();
    setStrictMode(true);
    try {
      expect(failure(() => f())).to.be.instanceOf(NumericsError);
      expect(await rejection(f.replay(1).next())).to.be.instanceOf(NumericsError);
    } finally {
      setStrictMode(false);
    }
  });

  it("refuses what would be fixed or lost unnoticed", async () => {
    const weight = new Parameter(tensor([2]));
    const sgd = new SGD([weight], { lr: 0.1 });
    const drop = new Dropout(0.5);
    for (const read of [() => sgd.lr, () => sgd.groups[0].lr, () => drop.step, () => sgd.stateDict().numbers.step])
      expect(failure(() => capture(() => ones([1]).mul(read()))()).message).to.match(
        /a count that changes from step to step/,
      );
    expect(failure(() => capture(() => weight.mul(3))()).message).to.match(/result of shape \[1\] requires a gradient/);
    const outside = weight.mul(weight);
    const backward = capture(() => {
      outside.sum().backward();
    });
    expect(failure(() => backward()).message).to.match(/^backward: the loss depends on the result of mul .* outside/);
    outside.sum().backward();
    expect(weight.grad!.item()).to.equal(4);
    const needy = capture((x: Tensor) => x.mul(2));
    expect((await rejection(needy.replay(3).next())).message).to.match(/^replay: the captured function takes 1 inputs/);
  });

  describe("fuse", () => {
    /** Whether something runs part by part in the plan of a convolution and its activation. */
    const isFused = (options: { fuse?: boolean; checkFinite?: boolean }): boolean => {
      const [conv, x] = [new Conv2d(2, 3, 3), randn([4, 8, 8, 2])];
      const captured = capture(() => noGrad(() => conv.forward(x).silu()), options);
      const text = captured.plan().toString();
      captured.dispose();
      return text.includes("+ silu");
    };
    const withSetting = <T>(value: string, run: () => T): T => {
      process.env.LANGEVIN_FUSE = value;
      try {
        return run();
      } finally {
        delete process.env.LANGEVIN_FUSE;
      }
    };

    it("is on unless it is turned off, and off where results are looked at", () => {
      expect(isFused({})).to.equal(true);
      expect(isFused({ fuse: false })).to.equal(false);
      expect(isFused({ checkFinite: true })).to.equal(false);
      expect(isFused({ fuse: true, checkFinite: true })).to.equal(false);
    });

    it("is what LANGEVIN_FUSE says where the function does not", () => {
      expect(withSetting("off", () => isFused({}))).to.equal(false);
      expect(withSetting("off", () => isFused({ fuse: true }))).to.equal(true);
      expect(withSetting("on", () => isFused({}))).to.equal(true);
      expect(withSetting("maybe", () => failure(() => isFused({}))))
        .to.be.instanceOf(ArgumentError)
        .with.property("message")
        .equal('capture: LANGEVIN_FUSE is "maybe". Set it to "on" or "off", or leave it out.');
    });
  });

  describe("checkFinite", () => {
    it("names the first operation whose result is not finite, and its layer", async () => {
      class Root extends Module {
        forward(y: Tensor): Tensor {
          return y.sub(3).sqrt().add(1);
        }
      }
      const root = new Root();
      const counter = new Parameter(tensor([[5]]));
      const f = capture(
        () => {
          counter.assign(counter.sub(1));
          return root.forward(counter.detach());
        },
        { checkFinite: true },
      );
      const seen: number[] = [];
      const error = await rejection(
        (async () => {
          for await (const { values } of f.replay(10)) seen.push(values[0]);
        })(),
      );
      expect(seen).to.deep.equal([2, 1]);
      expect(error).to.be.instanceOf(NumericsError);
      expect(error.message).to.equal("root: sqrt: element [0, 0] of the result (shape [1, 1]) is NaN.");
      expect(counter.item()).to.equal(2);
    });
  });

  it("aborts within a step at random moments, and the state is that of the steps that ran", async () => {
    for (const wait of [0, 1, 3, 7, 12]) {
      const planned = training();
      const captured = capture(planned.step, { poison: true });
      const controller = new AbortController();
      const reason = new Error("enough");
      setTimeout(() => {
        controller.abort(reason);
      }, wait);
      let last = 0;
      const error = await rejection(
        (async () => {
          for await (const { step } of captured.replay(1_000_000, { signal: controller.signal })) last = step;
        })(),
      );
      expect(error).to.equal(reason);
      const taken = planned.adam.stateDict().numbers.step;
      expect(taken).to.equal(last);
      const eager = training();
      for (let i = 0; i < taken; i++)
        scope(() => {
          eager.step();
        });
      expect(planned.state()).to.deep.equal(eager.state());
      captured.dispose();
    }
  });

  it("lets eager operations and other plans have their turn between replays, in order", async () => {
    const planned = training();
    const captured = capture(planned.step, { stepsPerCall: 5 });
    const other = capture((y: Tensor) => y.mul(3));
    const results: number[] = [];
    for await (const { step } of captured.replay(20)) {
      if (step % 5 !== 0) continue;
      results.push(other(tensor(step)).item());
      expect(planned.adam.stateDict().numbers.step).to.equal(step);
    }
    expect(results).to.deep.equal([15, 30, 45, 60]);
    captured.dispose();
  });

  it(`runs on ${device} what is made there`, () => {
    const f = capture(() => ones([2]).add(1));
    expect(f().device).to.equal(device);
  });
});
