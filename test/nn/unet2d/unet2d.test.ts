// UNet2D against the reference in plain loops, in float64, for every option; gradients against finite differences; times,
// labels and images that are refused.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect } from "chai";
import type { Tensor, UNet2DOptions } from "langevin";
import {
  ArgumentError,
  ShapeError,
  UNet2D,
  loadWeights,
  manualSeed,
  noGrad,
  randint,
  randn,
  setDefaultDType,
  tensor,
  torchState,
} from "langevin";
import { toTorch } from "../../../ts/io/layout.ts";
import { failure } from "../../failure.ts";
import { readDataSet } from "../../golden-suite/data-set.ts";
import { liveMemory, referencedMemory, useDevice } from "../../tensor/devices.ts";
import type { Floats } from "./reference.ts";
import { referenceUNet2D } from "./reference.ts";
import { small } from "./small-options.ts";

const resnets = {
  ...small,
  downBlockTypes: ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
  upBlockTypes: ["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
  blockOutChannels: [4, 6, 6],
  downsampleType: "resnet",
  upsampleType: "resnet",
} as const satisfies UNet2DOptions;

const skips = {
  inChannels: 3,
  outChannels: 3,
  layersPerBlock: 1,
  timeEmbeddingType: "fourier",
  normNumGroups: null,
  normEps: 1e-6,
  midBlockScaleFactor: Math.SQRT2,
} as const satisfies UNet2DOptions;

/** What golden data do not exercise, and a little of what they do. */
const variants: Readonly<Record<string, UNet2DOptions>> = {
  "the plain network": small,
  "scale and shift by the time, so no norm in the middle": { ...small, resnetTimeScaleShift: "scale_shift" },
  "groups of their own before attention in the middle": {
    ...small,
    resnetTimeScaleShift: "scale_shift",
    attnNormNumGroups: 3,
  },
  "steps by resnet blocks": resnets,
  "steps by resnet blocks with scale and shift": {
    ...resnets,
    resnetTimeScaleShift: "scale_shift",
    attnNormNumGroups: 6,
  },
  mish: { ...small, actFn: "mish" },
  gelu: { ...small, actFn: "gelu" },
  relu: { ...small, actFn: "relu" },
  swish: { ...small, actFn: "swish" },
  "no attention in the middle": { ...small, addAttention: false },
  "no middle": { ...small, midBlockType: null },
  "a divisor in the middle": { ...small, midBlockScaleFactor: 1.7 },
  "one head of all channels": { ...small, attentionHeadDim: null },
  "heads that leave channels over": { ...small, attentionHeadDim: 4 },
  "padding below and right": { ...small, downsamplePadding: 0, flipSinToCos: false, freqShift: 1 },
  "three layers, another width of embedding and another epsilon": {
    ...small,
    layersPerBlock: 3,
    timeEmbeddingDim: 5,
    normEps: 1e-2,
  },
  "attention on the first level and none below": {
    ...small,
    downBlockTypes: ["AttnDownBlock2D", "DownBlock2D"],
    upBlockTypes: ["UpBlock2D", "AttnUpBlock2D"],
  },
  "names of blocks in old files": {
    ...small,
    downBlockTypes: ["UNetResDownBlock2D", "UNetResAttnDownBlock2D"],
    upBlockTypes: ["UNetResAttnUpBlock2D", "UNetResUpBlock2D"],
  },
  "one level": { ...small, blockOutChannels: [4], downBlockTypes: ["DownBlock2D"], upBlockTypes: ["UpBlock2D"] },
  "centred input": { ...small, centerInputSample: true },
  "an odd number of channels": { ...small, blockOutChannels: [5, 10], normNumGroups: 5 },
  "learned times": { ...small, timeEmbeddingType: "learned", numTrainTimesteps: 12 },
  classes: { ...small, numClassEmbeds: 4 },
  "classes as times": { ...small, classEmbedType: "timestep" },
  "classes as embeddings": { ...small, classEmbedType: "identity" },
  "noise levels": { ...small, timeEmbeddingType: "fourier" },
  "images beside features": {
    ...skips,
    blockOutChannels: [8, 12, 12],
    downBlockTypes: ["SkipDownBlock2D", "SkipDownBlock2D", "SkipDownBlock2D"],
    upBlockTypes: ["SkipUpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"],
  },
  "images beside features, with attention": {
    ...skips,
    blockOutChannels: [32, 32],
    downBlockTypes: ["AttnSkipDownBlock2D", "AttnSkipDownBlock2D"],
    upBlockTypes: ["AttnSkipUpBlock2D", "AttnSkipUpBlock2D"],
    centerInputSample: true,
  },
  "images beside features on one way only": {
    ...skips,
    normNumGroups: 2,
    blockOutChannels: [8, 8, 8],
    downBlockTypes: ["SkipDownBlock2D", "DownBlock2D", "SkipDownBlock2D"],
    upBlockTypes: ["UpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"],
  },
};

/** Images that are not square, and times that are not whole where they need not be. */
function inputsOf(options: UNet2DOptions): { x: Tensor; t: Tensor; classLabels?: Tensor } {
  const levels = options.blockOutChannels!.length;
  const [height, width] = [2 ** (levels - 1), 2 ** levels];
  const x = randn([2, height, width, options.inChannels!], { seed: 5 });
  const t = options.timeEmbeddingType === "fourier" ? tensor([0.7, 3.2]) : tensor([3, 11], { dtype: "int32" });
  const dim = options.timeEmbeddingDim ?? 4 * options.blockOutChannels![0];
  if (options.classEmbedType === "identity") return { x, t, classLabels: randn([2, dim], { seed: 6 }) };
  if (options.classEmbedType === "timestep") return { x, t, classLabels: tensor([1.5, 0]) };
  if (options.numClassEmbeds) return { x, t, classLabels: randint(0, options.numClassEmbeds, [2], { seed: 7 }) };
  return { x, t };
}

const floats = (x: Tensor): Floats => ({
  data: Float64Array.from([x.toArray()].flat(9) as number[]),
  shape: x.shape,
});

const imagesOf = (x: Tensor): Floats => {
  const { data, shape } = floats(x);
  return toTorch("NCHW", data, shape);
};

/** Moves weights that begin as 0 and 1 away from there. */
function stir(model: UNet2D): void {
  let seed = 100;
  for (const parameter of model.parameters())
    if (parameter.shape.length === 1)
      parameter.assign(parameter.add(randn(parameter.shape, { seed: seed++ }).mul(0.3)));
}

function expectNear(got: Floats, expected: Floats, limit: number): void {
  expect(got.shape).to.deep.equal(expected.shape);
  const largest = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = got.data.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.data[i])), 0);
  expect(difference / largest).to.be.below(limit);
  expect(largest).to.be.above(1e-3);
}

const golden = resolve(import.meta.dirname, "../../golden/unet2d/legacy_names");

describe("UNet2D in float64", () => {
  useDevice("ts");
  before(() => {
    setDefaultDType("float64");
  });
  after(() => {
    setDefaultDType("float32");
  });
  beforeEach(() => {
    manualSeed(3);
  });

  for (const [name, options] of Object.entries(variants))
    it(`is the reference: ${name}`, async () => {
      const model = new UNet2D(options);
      stir(model);
      const { x, t, classLabels } = inputsOf(options);
      const got = noGrad(() => model.forward(x, t, { classLabels }));
      const times = t.toArray() as number[];
      const state = await torchState(model);
      const expected = referenceUNet2D(model.config(), state, imagesOf(x), times, classLabels && floats(classLabels));
      expectNear(imagesOf(got), expected, 1e-10);
      model.dispose();
    });

  it("is as near to diffusers' own result as the reference is", async () => {
    const data = readDataSet(resolve(golden, "golden.json"));
    const model = UNet2D.fromConfig(JSON.parse(readFileSync(resolve(golden, "unet/config.json"), "utf8")));
    await loadWeights(resolve(golden, "unet/diffusion_pytorch_model.safetensors"), model);
    const [x, expected, times] = ["sample", "output", "timestep"].map((name) => data.read(name));
    const reference = referenceUNet2D(model.config(), await torchState(model), x, [...times.data]);
    expectNear(reference, expected, 1e-5);
    const ours = noGrad(() => model.forward(tensor(x.data, { shape: x.shape }).permute([0, 2, 3, 1]), times.data[0]));
    expectNear(imagesOf(ours), reference, 1e-10);
  });

  for (const name of [
    "the plain network",
    "steps by resnet blocks with scale and shift",
    "classes as times",
    "images beside features, with attention",
    "learned times",
    "mish",
  ])
    it(`has the gradients of finite differences: ${name}`, () => {
      // Groups of few pixels without an epsilon worth the name bend too much for finite differences.
      const model = new UNet2D({ ...variants[name], normEps: 0.1 });
      stir(model);
      const { x, t, classLabels } = inputsOf(variants[name]);
      const leaf = x.requireGrad();
      const weights = randn([2, x.shape[1], x.shape[2], model.outChannels], { seed: 8 });
      const loss = (): Tensor => model.forward(leaf, t, { classLabels }).mul(weights).sum();
      loss().backward();
      const parameters = model.parameters().filter(({ requiresGrad }) => requiresGrad);
      // One random direction through all parameters and the images, and one through the images alone.
      const directions = parameters.map((parameter, i) => randn(parameter.shape, { seed: 1000 + i }));
      const step = 1e-5;
      const moved = (sign: number): number => {
        parameters.forEach((parameter, i) => {
          parameter.assign(noGrad(() => parameter.add(directions[i].mul(sign * step))));
        });
        const value = noGrad(() => loss().item());
        parameters.forEach((parameter, i) => {
          parameter.assign(noGrad(() => parameter.sub(directions[i].mul(sign * step))));
        });
        return value;
      };
      const slope = (moved(1) - moved(-1)) / (2 * step);
      const expected = parameters.reduce((sum, { grad }, i) => sum + grad!.mul(directions[i]).sum().item(), 0);
      expect(Math.abs(slope - expected) / Math.abs(expected)).to.be.below(1e-6);
      const direction = randn(x.shape, { seed: 9 });
      const at = (sign: number): number =>
        noGrad(() =>
          model
            .forward(x.add(direction.mul(sign * step)), t, { classLabels })
            .mul(weights)
            .sum()
            .item(),
        );
      const slopeOfX = (at(1) - at(-1)) / (2 * step);
      const expectedOfX = leaf.grad!.mul(direction).sum().item();
      expect(Math.abs(slopeOfX - expectedOfX) / Math.abs(expectedOfX)).to.be.below(1e-6);
      model.dispose();
    });

  it("takes a time of each image, one of all, and numbers, whole or not", () => {
    const model = new UNet2D(small);
    const x = randn([2, 2, 4, 2], { seed: 1 });
    const result = (t: Tensor | number): unknown => noGrad(() => model.forward(x, t).toArray());
    const expected = result(tensor([7, 7], { dtype: "int32" }));
    for (const t of [7, tensor([7]), tensor(7), tensor([7], { dtype: "int32" }), tensor([7, 7])])
      expect(result(t)).to.deep.equal(expected);
    expect(result(7.5)).to.deep.equal(result(tensor([7.5, 7.5])));
    expect(result(7.5)).not.to.deep.equal(expected);
  });

  it("keeps the frequencies of noise levels out of training", () => {
    const model = new UNet2D(variants["noise levels"]);
    expect(model.namedParameters().get("time_proj.weight")!.requiresGrad).to.equal(false);
    expect(model.namedParameters().get("time_embedding.linear_1.weight")!.requiresGrad).to.equal(true);
  });

  it("drops features while training, and only then", () => {
    const model = new UNet2D({ ...small, dropout: 0.5 });
    const [x, y] = [randn([1, 2, 2, 2], { seed: 1 }), new UNet2D(small)];
    y.loadStateDict(model.stateDict());
    const result = (net: UNet2D): unknown => noGrad(() => net.forward(x, 3).toArray());
    expect(result(model)).not.to.deep.equal(result(model));
    expect(result(model.eval())).to.deep.equal(result(y));
  });

  it("leaves nothing behind but its result", async () => {
    const model = new UNet2D(variants["images beside features"]);
    const { x, t } = inputsOf(variants["images beside features"]);
    const before = await referencedMemory();
    const y = noGrad(() => model.forward(x, t));
    expect((await liveMemory()).buffers).to.equal(before.buffers + 1);
    y.dispose();
    expect(await liveMemory()).to.deep.equal(before);
    model.dispose();
  });

  describe("refuses", () => {
    const model = (options: UNet2DOptions = {}): UNet2D => new UNet2D({ ...small, ...options });
    const x = (): Tensor => randn([2, 2, 2, 2], { seed: 1 });

    it("images whose size cannot be halved often enough, or with other channels", () => {
      const error = failure(() => model().forward(randn([2, 3, 2, 2]), 1));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(
        "unet2D: UNet2D: x has shape [2, 3, 2, 2], expected height and width to be multiples of 2: images are halved 1 times. Pad or resize the images.",
      );
      expect(failure(() => model().forward(randn([2, 2, 8, 6]), 1)).message).to.equal(
        "unet2D: UNet2D: x has shape [2, 2, 8, 6], expected [N, H, W, 2]. Images are NHWC: of NCHW ones take permute([0, 2, 3, 1]).",
      );
      expect(failure(() => model().forward(randn([2, 2, 2]), 1)).message).to.include("[N, H, W, C]");
    });

    it("times that are not one of each image", () => {
      expect(failure(() => model().forward(x(), tensor([1, 2, 3]))).message).to.equal(
        "unet2D: UNet2D: t has shape [3], expected [2], one for each image of x [2, 2, 2, 2], or one for all.",
      );
      expect(failure(() => model().forward(x(), tensor([[1], [2]]))).message).to.include("t has shape [2, 1]");
      const error = failure(() => model().forward(x(), undefined as never));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.match(/^unet2D: UNet2D: t is undefined/);
    });

    it("class labels that are missing, not wanted, or not one of each image", () => {
      const labels = tensor([0, 1], { dtype: "int32" });
      expect(failure(() => model().forward(x(), 1, { classLabels: labels })).message).to.include("numClassEmbeds");
      const error = failure(() => model({ numClassEmbeds: 3 }).forward(x(), 1));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(
        "unet2D: UNet2D: classLabels are missing: the model is conditioned on classes. Call forward(x, t, { classLabels }).",
      );
      const three = tensor([0, 1, 2], { dtype: "int32" });
      expect(failure(() => model({ numClassEmbeds: 3 }).forward(x(), 1, { classLabels: three })).message).to.include(
        "classLabels have shape [3] for x [2, 2, 2, 2], expected [2].",
      );
      expect(
        failure(() => model({ classEmbedType: "identity" }).forward(x(), 1, { classLabels: labels })).message,
      ).to.include("expected [2, 16].");
    });
  });
});
