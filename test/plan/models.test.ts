// All models as plans with poisoned memory: training steps and whole reverse chains have eager's bits.

import { expect } from "chai";
import type { Tensor, UNet2DOptions } from "langevin";
import {
  Adam,
  AdamW,
  AdaptiveAvgPool2d,
  AvgPool2d,
  Conv2d,
  ConvTranspose2d,
  Dropout,
  ELU,
  Embedding,
  Flatten,
  GELU,
  GroupNorm,
  Identity,
  LayerNorm,
  LeakyReLU,
  Linear,
  MaxPool2d,
  Mish,
  Module,
  MultiHeadAttention,
  NoiseSchedule,
  PixelShuffle,
  PixelUnshuffle,
  RMSNorm,
  RMSprop,
  ReLU,
  ReLU6,
  SGD,
  Sequential,
  SiLU,
  Sigmoid,
  Softmax,
  Softplus,
  Tanh,
  UNet2D,
  Upsample,
  capture,
  clipGradNorm,
  clipGradValue,
  concat,
  defaultDevice,
  draws,
  iterate,
  manualSeed,
  mse,
  noGrad,
  randint,
  randn,
  sample,
  scope,
  setDefaultDType,
  setDefaultDevice,
  smoothL1,
  tensor,
} from "langevin";
import { ConvBlock, TinyNet, TutorialUNet } from "../../examples/tutorial-nets.ts";
import { SmallNet } from "../train/small-net.ts";
import { cudaOnHost, onEveryDevice, sampleByGraphs, useDevice } from "../tensor/devices.ts";
import { expectAsExactAsEager } from "./accuracy.ts";
import { bits } from "./bits.ts";

const steps = 10;
const schedule = new NoiseSchedule({ steps, betaStart: 0.05, betaEnd: 0.6 });

/** A model of images and timesteps. */
interface Net extends Module {
  forward(x: Tensor, t: Tensor): Tensor;
}

/** The tutorial's block alone, between a table of embeddings and a convolution back. */
class OneBlock extends Module implements Net {
  readonly embed = new Embedding(steps, 6);
  readonly block = new ConvBlock(2, 5, 6);
  readonly out = new Conv2d(5, 2, 1);

  forward(x: Tensor, t: Tensor): Tensor {
    return this.out.forward(this.block.forward(x, this.embed.forward(t)));
  }
}

/** Norms, dropout, attention, skips that are joined twice, a tied and a frozen parameter: what U-Nets and transformers have. */
class Attending extends Module implements Net {
  readonly embed = new Embedding(steps, 8);
  readonly inner = new Conv2d(1, 8, 3, { padding: 1 });
  readonly norm1 = new GroupNorm(4, 8);
  readonly attention = new MultiHeadAttention(8, 2);
  readonly norm2 = new LayerNorm(16);
  readonly drop = new Dropout(0.2);
  readonly wide = new Sequential(new Linear(16, 16), new GELU(), new Dropout(0.1), new Linear(16, 16));
  readonly norm3 = new RMSNorm(16);
  readonly context = new MultiHeadAttention(16, 4, { contextDim: 8 });
  readonly down = new Conv2d(16, 8, 2, { stride: 2 });
  readonly up = new ConvTranspose2d(8, 8, 2, { stride: 2 });
  readonly out = new Conv2d(25, 1, 3, { padding: 1 });
  readonly frozen = new Linear(8, 8);
  /** Used twice. */
  readonly shared = this.inner;

  constructor() {
    super();
    this.frozen.freeze();
  }

  forward(x: Tensor, t: Tensor): Tensor {
    const time = this.frozen.forward(this.embed.forward(t));
    const h = this.shared.forward(x).add(time.reshape([-1, 1, 1, 8]));
    const seen = this.attention.forward(this.norm1.forward(h).silu()).add(h);
    const both = concat([h, seen], -1);
    const fed = this.wide.forward(this.drop.forward(this.norm2.forward(both))).add(both);
    const told = this.context.forward(this.norm3.forward(fed), time.reshape([-1, 1, 8])).add(fed);
    const small = this.down.forward(told).silu();
    return this.out
      .forward(concat([x, told, this.up.forward(small)], -1))
      .add(this.inner.forward(x).mean(-1, { keepDims: true }));
  }
}

/** All other layers in a row. */
class Layers extends Module implements Net {
  readonly chain = new Sequential(
    new Conv2d(1, 4, 3, { padding: 1 }),
    new SiLU(),
    new Softplus(),
    new MaxPool2d(2),
    new Tanh(),
    new Conv2d(4, 4, 1),
    new LeakyReLU(),
    new Upsample({ scale: 2 }),
    new Mish(),
    new PixelUnshuffle(2),
    new Conv2d(16, 16, 1),
    new ELU(),
    new PixelShuffle(2),
    new Identity(),
    new AvgPool2d(2),
    new Upsample({ scale: 2, mode: "bilinear" }),
    new ReLU6(),
    new Conv2d(4, 4, 3, { padding: 1 }),
    new ReLU(),
  );
  readonly weigh = new Sequential(
    new AdaptiveAvgPool2d(1),
    new Flatten(),
    new Linear(4, 4),
    new Softmax(),
    new Sigmoid(),
  );
  readonly out = new Conv2d(4, 1, 1);

  forward(x: Tensor, t: Tensor): Tensor {
    const h = this.chain.forward(x);
    const weights = this.weigh.forward(h).add(t.to(x.dtype).reshape([-1, 1]).mul(0.01));
    return this.out.forward(h.mul(weights.reshape([-1, 1, 1, 4])));
  }
}

interface Setting {
  readonly name: string;
  readonly make: () => Net;
  /** Images of a batch. */
  readonly shape: readonly [number, number, number, number];
  readonly optimizer: (net: Net) => Adam | SGD | RMSprop;
}

/** Two levels, the lower one with attention. */
const unet2d = {
  inChannels: 1,
  outChannels: 1,
  blockOutChannels: [8, 12],
  downBlockTypes: ["DownBlock2D", "AttnDownBlock2D"],
  upBlockTypes: ["AttnUpBlock2D", "UpBlock2D"],
  layersPerBlock: 1,
  normNumGroups: 2,
} as const satisfies UNet2DOptions;

const settings: readonly Setting[] = [
  {
    name: "TinyNet",
    make: () => new TinyNet(3),
    shape: [4, 6, 5, 3],
    optimizer: (net) => new Adam(net.parameters(), { lr: (step) => 0.01 / (1 + step) }),
  },
  {
    name: "ConvBlock",
    make: () => new OneBlock(),
    shape: [3, 5, 5, 2],
    optimizer: (net) => new SGD(net.parameters(), { lr: 0.02, momentum: 0.9, nesterov: true }),
  },
  {
    name: "TutorialUNet",
    make: () => new TutorialUNet({ imageChannels: 1, channels: [8, 12, 16], timeDim: 8, steps }),
    shape: [5, 8, 8, 1],
    optimizer: (net) => new AdamW(net.parameters(), { lr: 0.005, amsgrad: true }),
  },
  {
    name: "TutorialUNet of the demo's size",
    make: () => new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps }),
    shape: [2, 8, 8, 1],
    optimizer: (net) => new Adam(net.parameters(), { lr: 0.003 }),
  },
  {
    name: "the small net of the tests",
    make: () => new SmallNet(),
    shape: [1, 4, 4, 1],
    optimizer: (net) => new RMSprop(net.parameters(), { lr: 0.005, momentum: 0.5, centered: true }),
  },
  {
    name: "a net of norms, attention and dropout",
    make: () => new Attending(),
    shape: [2, 4, 4, 1],
    optimizer: (net) => {
      const [first, ...others] = net.parameters();
      return new Adam([
        { parameters: [first], lr: 0.02 },
        { parameters: others, weightDecay: 0.1 },
      ]);
    },
  },
  {
    name: "a net of all other layers",
    make: () => new Layers(),
    shape: [3, 4, 4, 1],
    optimizer: (net) => new AdamW(net.parameters()),
  },
  {
    name: "UNet2D with attention and dropout",
    make: () => new UNet2D({ ...unet2d, sampleSize: [4, 6], dropout: 0.1, downsamplePadding: 0, attentionHeadDim: 3 }),
    shape: [2, 4, 6, 1],
    optimizer: (net) => new Adam(net.parameters(), { lr: 0.003 }),
  },
  {
    name: "UNet2D with steps by resnet blocks, scale and shift",
    make: () =>
      new UNet2D({
        ...unet2d,
        downBlockTypes: ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        upBlockTypes: ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
        downsampleType: "resnet",
        upsampleType: "resnet",
        resnetTimeScaleShift: "scale_shift",
        timeEmbeddingType: "learned",
        numTrainTimesteps: steps,
        actFn: "mish",
      }),
    shape: [1, 4, 4, 1],
    optimizer: (net) => new AdamW(net.parameters()),
  },
  {
    name: "UNet2D through which images go beside their features",
    make: () =>
      new UNet2D({
        ...unet2d,
        inChannels: 3,
        outChannels: 3,
        downBlockTypes: ["SkipDownBlock2D", "SkipDownBlock2D"],
        upBlockTypes: ["SkipUpBlock2D", "SkipUpBlock2D"],
        centerInputSample: true,
        midBlockScaleFactor: Math.SQRT2,
      }),
    shape: [2, 4, 4, 3],
    optimizer: (net) => new SGD(net.parameters(), { lr: 0.02, momentum: 0.9 }),
  },
];

/** A net with an optimizer, and a step on data, timesteps and noise that are drawn in it. */
function training({ make, shape, optimizer }: Setting) {
  manualSeed(11);
  const net = make();
  const updates = optimizer(net);
  const step = (): { loss: Tensor; norm: Tensor; output: Tensor } => {
    const [x0, noise] = [randn(shape).mul(0.5), randn(shape)];
    const t = randint(0, steps, [shape[0]]);
    const output = net.forward(schedule.addNoise(x0, t, noise), t);
    const loss = mse(output, noise).add(smoothL1(output, noise).mul(0.1));
    loss.backward();
    const norm = clipGradNorm(net.parameters(), 1);
    clipGradValue(net.parameters(), 0.3);
    updates.step();
    return { loss, norm, output: output.detach() };
  };
  const state = (): string[] => [
    ...net.parameters().map(bits),
    ...Object.values(updates.stateDict().tensors).map(bits),
    JSON.stringify(updates.stateDict().numbers),
  ];
  return { net, step, state };
}

/** The reverse chain of a net, its noise drawn by step. */
function chainOf(net: Net, shape: readonly number[]): () => Tensor {
  const falling = Int32Array.from({ length: steps * shape[0] }, (_, i) => steps - 1 - Math.floor(i / shape[0]));
  const timesteps = tensor(falling, { shape: [steps, shape[0]] });
  return () =>
    noGrad(() =>
      iterate(steps, randn(shape, { seed: 5, draw: draws.initialNoise }), (x, k) => {
        const t = timesteps.row(k);
        return schedule.reverseStep(x, t, net.forward(x, t), { seed: 5, step: k });
      }),
    );
}

function testModels(): void {
  for (const setting of settings)
    describe(setting.name, () => {
      it("trains with eager's bits, called and replayed", async () => {
        const eager = training(setting);
        const expected = Array.from({ length: 7 }, () =>
          scope(() => {
            const { loss, norm, output } = eager.step();
            return { numbers: [loss.item(), norm.item()], bits: [loss, norm, output].map(bits) };
          }),
        );
        expect(expected.flatMap(({ numbers }) => numbers).every(Number.isFinite)).to.equal(true);
        for (const fuse of [true, false]) {
          const planned = training(setting);
          const step = capture(planned.step, { poison: true, fuse });
          for (const { bits: values } of expected.slice(0, 3))
            expect(scope(() => Object.values(step()).map(bits))).to.deep.equal(values);
          const reported: (readonly number[])[] = [];
          for await (const { values } of step.replay(4)) reported.push(values);
          expect(reported).to.deep.equal(expected.slice(3).map(({ numbers }) => numbers));
          expect(planned.state()).to.deep.equal(eager.state());
          step.dispose();
        }
      });

      it("samples with eager's bits, in one program", async () => {
        const { net, step } = training(setting);
        for (let i = 0; i < 2; i++) scope(step);
        const { shape } = setting;
        net.eval();
        const chain = chainOf(net, shape);
        const expected = scope(() => {
          const pictures = chain();
          expect([...pictures.elements("test")].every(Number.isFinite)).to.equal(true);
          return bits(pictures);
        });
        const captured = capture(chain, { poison: true });
        for (let call = 0; call < 2; call++) expect(scope(() => bits(captured()))).to.equal(expected);
        expect(captured.plan().toString()).to.match(/repeat (9|10)\b/);
        captured.dispose();
        expect(bits(await sampled(net, shape))).to.equal(expected);
      });
    });
}

/** Pictures of the net, by `sample`. */
function sampled(model: Net, [count, ...size]: Setting["shape"], eager = false): Promise<Tensor> {
  return sample({ model, schedule, count, size, seed: 5, eager });
}

onEveryDevice("models as plans", () => {
  sampleByGraphs();
  testModels();
});

if (!cudaOnHost)
  describe("models as plans on ts in float64", () => {
    useDevice("ts");
    before(() => {
      setDefaultDType("float64");
    });
    after(() => {
      setDefaultDType("float32");
    });
    testModels();
  });
else
  describe("models in one kernel, where they fit one multiprocessor, on cuda", () => {
    useDevice("cuda");
    for (const { name, make, shape } of settings)
      it(`${name}: samples err at most twice as much as eager's`, async () => {
        manualSeed(11);
        const net = make().eval();
        const weights = await Promise.all(net.parameters().map((parameter) => parameter.data()));
        const valuesOf = async (x: Tensor): Promise<number[]> => [...(await x.data())];
        const got = await valuesOf(await sampled(net, shape));
        const eager = await valuesOf(await sampled(net, shape, true));
        const exact = await inFloat64(() => {
          const copy = make().eval();
          copy.parameters().forEach((parameter, i) => {
            parameter.assign(tensor(Float64Array.from(weights[i]), { shape: parameter.shape }));
          });
          return sampled(copy, shape, true).then(valuesOf);
        });
        expectAsExactAsEager(got, eager, exact);
      });
  });

/** What `fn` gives where everything is computed in float64. */
async function inFloat64<T>(fn: () => Promise<T>): Promise<T> {
  const device = defaultDevice();
  setDefaultDevice("ts");
  setDefaultDType("float64");
  try {
    return await fn();
  } finally {
    setDefaultDevice(device);
    setDefaultDType("float32");
  }
}
