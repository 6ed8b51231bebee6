// sample as a plan has the bits of sample step by step: models of all kinds, previews, batches; and what a plan refuses.

import { expect } from "chai";
import {
  Adam,
  CaptureError,
  Conv2d,
  Dropout,
  Embedding,
  GroupNorm,
  Module,
  MultiHeadAttention,
  NoiseSchedule,
  concat,
  embedding,
  iterate,
  manualSeed,
  randn,
  sample,
  scope,
  setStrictMode,
  tensor,
  train,
} from "langevin";
import type { Denoiser, SampleOptions, Tensor } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { rejection } from "../failure.ts";
import { bits } from "../plan/bits.ts";
import { liveMemory, onEveryDevice, referencedMemory, sampleByGraphs } from "../tensor/devices.ts";
import { SmallNet, pictures, schedule, smallRun } from "../train/small-net.ts";

/** A net with all that has a state of its own: attention, norms, dropout, a skip connection. */
class WideNet extends Module {
  embed = new Embedding(20, 4);
  conv1 = new Conv2d(1, 4, 3, { padding: 1 });
  norm = new GroupNorm(2, 4);
  attention = new MultiHeadAttention(4, 2);
  drop = new Dropout(0.3);
  conv2 = new Conv2d(5, 1, 3, { padding: 1 });

  forward(x: Tensor, t: Tensor): Tensor {
    const h = this.norm
      .forward(this.conv1.forward(x))
      .add(this.embed.forward(t).reshape([-1, 1, 1, 4]))
      .silu();
    const [n, height, width, channels] = h.shape;
    const seen = this.attention.forward(h.reshape([n, height * width, channels])).reshape(h.shape);
    return this.conv2.forward(concat([this.drop.forward(h.add(seen)), x], -1));
  }
}

onEveryDevice("sample as a plan", () => {
  sampleByGraphs();

  const options = (model: Denoiser, changes: Partial<SampleOptions> = {}): SampleOptions => ({
    model,
    schedule,
    count: 5,
    batch: 2,
    size: [4, 4, 1],
    seed: 5,
    ...changes,
  });

  /** The bits of the images, and of the previews on the way. */
  const sampled = async (model: Denoiser, changes: Partial<SampleOptions> = {}): Promise<string[]> => {
    const seen: string[] = [];
    const onPreview: SampleOptions["onPreview"] = ({ image, step, x }) => {
      seen.push(`${image} ${step} ${bits(x)}`);
    };
    const images = await sample(options(model, { onPreview, ...changes }));
    seen.push(bits(images));
    images.dispose();
    return seen;
  };

  const expectSameBits = async (make: () => Denoiser, changes: Partial<SampleOptions> = {}): Promise<void> => {
    const run = (eager: boolean): Promise<string[]> => {
      manualSeed(1);
      return sampled(make(), { ...changes, eager });
    };
    expect(await run(false)).to.deep.equal(await run(true));
  };

  let table: Tensor;
  before(() => {
    table = scope(() => randn([20, 1], { seed: 2 }).mul(0.2).keep());
  });
  const models: [string, () => Denoiser][] = [
    ["convolutions", () => new SmallNet()],
    ["attention, norms and dropout in use", () => new WideNet().eval()],
    ["attention, norms and dropout while training", () => new WideNet()],
    ["the tutorial's network", () => new TutorialUNet({ imageChannels: 1, channels: [4, 8, 16], timeDim: 8, steps: 20 })],
    ["a function", () => ({ forward: (x, t) => x.mul(table.row(0)).add(embedding(table, t).reshape([-1, 1, 1, 1])) })],
    ["a loop", () => ({ forward: (x) => iterate(3, x, (state, index) => state.mul(table.row(index)).tanh()) })],
    ["noise of the global stream", () => ({ forward: (x) => x.mul(0.2).add(randn(x.shape).mul(0.1)) })],
    ["the picture itself", () => ({ forward: (x) => x })],
  ]; // prettier-ignore
  for (const [name, make] of models)
    it(`has eager's bits for ${name}`, () => expectSameBits(make, { previewEvery: 6 }));

  it("has eager's bits for other schedules, sizes and steps", async () => {
    const flat: Denoiser = { forward: (x) => x.mul(0.4).tanh() };
    for (const steps of [1, 2, 3, 50])
      await expectSameBits(() => flat, {
        schedule: new NoiseSchedule({ steps, betaStart: 0.05, betaEnd: 0.99 }),
        size: [3, 5, 2],
        allowResidualSignal: true,
      });
  });

  it("calls the model twice for batches of one size, and twice more for the rest", async () => {
    manualSeed(1);
    const net = new SmallNet();
    let calls = 0;
    const model: Denoiser = {
      forward: (x, t) => {
        calls++;
        return net.forward(x, t);
      },
    };
    await sampled(model, { count: 6, batch: 2, previewEvery: 3 });
    expect(calls).to.equal(2);
    await sampled(model, { count: 5, batch: 2 });
    expect(calls).to.equal(2 + 4);
    await sampled(model, { count: 2, eager: true });
    expect(calls).to.equal(2 + 4 + 20);
  });

  it("counts dropout's forwards as eager does", async () => {
    const run = async (eager: boolean): Promise<number> => {
      manualSeed(1);
      const net = new WideNet();
      await sampled(net, { eager });
      return net.drop.step;
    };
    expect(await run(false)).to.equal(60);
    expect(await run(true)).to.equal(60);
  });

  describe("previews", () => {
    it("show the same pictures however often they come", async () => {
      manualSeed(1);
      const model = new WideNet();
      model.eval();
      const every = await sampled(model, { count: 2, previewEvery: 1 });
      expect(every).to.have.length(22);
      for (const previewEvery of [2, 7, 20, 1000]) {
        const some = await sampled(model, { count: 2, previewEvery });
        expect(every).to.include.members(some);
      }
    });

    it("may change the weights that the rest is computed with, and sample from another model", async () => {
      const run = async (eager: boolean): Promise<unknown> => {
        manualSeed(1);
        const [model, other] = [new SmallNet(), new SmallNet()];
        const others: Promise<unknown>[] = [];
        const images = await sample(
          options(model, {
            previewEvery: 10,
            eager,
            onPreview: ({ step }) => {
              if (step === 10) model.conv2.weight.assign(model.conv2.weight.mul(0.5));
              if (step === 0) others.push(sampled(other, { count: 1, eager }));
            },
          }),
        );
        return [bits(images), await Promise.all(others)];
      };
      expect(await run(false)).to.deep.equal(await run(true));
    });
  });

  it("sees the weights that training left, from run to run", async () => {
    const run = async (eager: boolean): Promise<string[][]> => {
      manualSeed(1);
      const { model, step } = smallRun();
      const seen: string[][] = [];
      for (const seed of [1, 2, 3]) {
        await train({ iterations: 5, seed, schedule, data: pictures.batches(3), step, eager });
        seen.push(await sampled(model, { eager }));
      }
      return seen;
    };
    const seen = await run(false);
    expect(seen).to.deep.equal(await run(true));
    expect(new Set(seen.map((pictures) => pictures.at(-1))).size).to.equal(3);
  });

  it("may run in eval and in train mode in turn", async () => {
    const run = async (eager: boolean): Promise<string[][]> => {
      manualSeed(1);
      const model = new WideNet();
      return [
        await sampled(model, { eager }),
        await sampled(model.eval(), { eager }),
        await sampled(model.train(), { eager }),
      ];
    };
    const seen = await run(false);
    expect(seen).to.deep.equal(await run(true));
    expect(new Set(seen.map((pictures) => pictures.at(-1))).size).to.equal(3);
  });

  describe("in strict mode", () => {
    afterEach(() => {
      setStrictMode(false);
    });

    it("runs step by step", async () => {
      manualSeed(1);
      const net = new SmallNet();
      const plan = await sampled(net, { count: 1 });
      let calls = 0;
      const counted: Denoiser = {
        forward: (x, t) => {
          calls++;
          return net.forward(x, t);
        },
      };
      setStrictMode(true);
      expect(await sampled(counted, { count: 1 })).to.deep.equal(plan);
      expect(calls).to.equal(20);
    });
  });

  describe("refuses, with the advice to run eagerly, and leaves nothing behind,", () => {
    const wrong: [string, RegExp, (x: Tensor, t: Tensor) => unknown][] = [
      ["a picture that is read", /^toArray: a value was read in a captured function/, (x) => x.toArray()],
      ["a timestep that is read", /^toArray: a value was read in a captured function/, (_, t) => t.toArray()],
      ["a number read from it", /^item: a value was read in a captured function/, (x) => x.mean().item()],
    ];
    for (const [name, message, act] of wrong)
      it(name, async () => {
        const model: Denoiser = {
          forward: (x, t) => {
            act(x, t);
            return x.mul(0.5);
          },
        };
        await sampled({ forward: (x) => x.mul(0.5) });
        const before = await referencedMemory();
        const error = await rejection(sample(options(model)));
        expect(error).to.be.instanceOf(CaptureError);
        expect(error.message).to.match(message).and.to.include("eager: true");
        expect(await liveMemory()).to.deep.equal(before);
        await sampled(model, { eager: true });
      });

    it("a model that computes something else each time", async () => {
      let calls = 0;
      const error = await rejection(sample(options({ forward: (x) => x.mul(++calls) })));
      expect(error).to.be.instanceOf(CaptureError);
      expect(error.message).to.match(/recorded twice and differs.*eager: true/);
    });

    it("a model that makes its parameters as it runs", async () => {
      const error = await rejection(sample(options({ forward: (x, t) => new SmallNet().forward(x, t) })));
      expect(error).to.be.instanceOf(CaptureError);
    });
  });

  it("leaves an optimizer and gradients of its model alone", async () => {
    manualSeed(1);
    const model = new SmallNet();
    const adam = new Adam(model.parameters());
    scope(() => {
      model.forward(tensor(new Float32Array(16), { shape: [1, 4, 4, 1] }), tensor([1], { dtype: "int32" })).mean().backward(); // prettier-ignore
    });
    const gradient = scope(() => bits(model.conv1.weight.grad!));
    await sampled(model);
    expect(scope(() => bits(model.conv1.weight.grad!))).to.equal(gradient);
    adam.step();
  });
});
