// The blocks of UNet2D by themselves: options that no network of diffusers uses, steps by a filter, what they refuse.

import { expect } from "chai";
import type { ResnetBlock2DOptions, Tensor } from "langevin";
import {
  ArgumentError,
  Downsample2D,
  ResnetBlock2D,
  SpatialAttention,
  Upsample2D,
  manualSeed,
  noGrad,
  randn,
  setDefaultDType,
  tensor,
  torchState,
} from "langevin";
import { toTorch } from "../../../ts/io/layout.ts";
import { firDownsample, firUpsample } from "../../../ts/nn/unet2d/fir.ts";
import { failure } from "../../failure.ts";
import { useDevice } from "../../tensor/devices.ts";
import { Weights, resnetBlock } from "./reference.ts";

const flat = (x: Tensor): number[] => [x.toArray()].flat(9) as number[];

describe("blocks of UNet2D in float64", () => {
  useDevice("ts");
  before(() => {
    setDefaultDType("float64");
  });
  after(() => {
    setDefaultDType("float32");
  });

  const blocks: readonly ResnetBlock2DOptions[] = [
    { embeddingChannels: 5, groups: 2, skipTimeActivation: true },
    { embeddingChannels: 5, groups: 4, groupsOut: 3, outputScale: 3, resample: "firUp", activation: "relu" },
    { embeddingChannels: 5, groups: 1, resample: "firDown", timeScaleShift: "scale_shift", epsilon: 0.1 },
    { embeddingChannels: 5, groups: 2, resample: "up", timeScaleShift: "scale_shift", skipTimeActivation: true },
    { embeddingChannels: 5, groups: 2, resample: "down", activation: "gelu" },
  ];
  for (const options of blocks)
    it(`ResnetBlock2D is the reference: ${JSON.stringify(options)}`, async () => {
      manualSeed(1);
      const block = new ResnetBlock2D(4, 6, options);
      const [x, embedding] = [randn([2, 4, 6, 4], { seed: 2 }), randn([2, 5], { seed: 3 })];
      const state = await torchState(block);
      const named = Object.fromEntries(Object.entries(state).map(([name, values]) => [`block.${name}`, values]));
      const expected = resnetBlock(
        toTorch("NCHW", Float64Array.from(flat(x)), x.shape),
        { data: Float64Array.from(flat(embedding)), shape: embedding.shape },
        new Weights(named, "block"),
        {
          act_fn: options.activation ?? "silu",
          norm_eps: options.epsilon ?? 1e-5,
          resnet_time_scale_shift: options.timeScaleShift ?? "default",
        },
        {
          groups: options.groups!,
          groupsOut: options.groupsOut,
          scale: options.outputScale,
          resample: options.resample,
          skipTimeAct: options.skipTimeActivation,
        },
      );
      const y = noGrad(() => block.forward(x, embedding));
      const got = toTorch("NCHW", Float64Array.from(flat(y)), y.shape);
      expect(got.shape).to.deep.equal(expected.shape);
      got.data.forEach((value, i) => expect(value).to.be.closeTo(expected.data[i], 1e-11));
    });

  it("images are filtered by [1, 3, 3, 1] to half and to double size", () => {
    const x = tensor([1, 2, 4, 8], { shape: [1, 1, 4, 1] });
    // One row: above and below are zeros, so that rows weigh 3/8 at half size, and 3/4 at double size.
    const pair = x.broadcastTo([1, 2, 4, 1]);
    expect(flat(firDownsample(pair))).to.deep.equal([(0 + 3 + 6 + 4) / 8, (2 + 12 + 24 + 0) / 8].map((v) => v * 0.75));
    const row = [3, 5, 7, 10, 14, 20, 28, 24].map((v) => v / 4);
    const doubled = flat(firUpsample(x));
    expect(doubled).to.deep.equal([...row, ...row].map((v) => v * 0.75));
  });

  it("Downsample2D with padding 0 sees zeros below and right only", () => {
    const x = randn([1, 4, 4, 2], { seed: 1 });
    const below = new Downsample2D(2, 0);
    expect(below.forward(x).shape).to.deep.equal([1, 2, 2, 2]);
    // So its first pixel sees the first 3x3 of x.
    const first = below.forward(x).slice(null, [0, 1], [0, 1]);
    const corner = below.conv.weight.mul(x.slice(null, [0, 3], [0, 3]).reshape([3, 3, 2, 1])).sum([0, 1, 2]);
    flat(corner.add(below.conv.bias!)).forEach((value, i) => expect(flat(first)[i]).to.be.closeTo(value, 1e-12));
  });

  it("have the names of diffusers", () => {
    expect([...new Upsample2D(2).namedParameters().keys()]).to.deep.equal(["conv.weight", "conv.bias"]);
    expect([...new SpatialAttention(4, { headDim: 3, groups: 2 }).namedParameters()].map(([n, p]) => [n, p.shape])).to.deep.equal([
      ["group_norm.weight", [4]],
      ["group_norm.bias", [4]],
      ["to_q.weight", [4, 3]],
      ["to_q.bias", [3]],
      ["to_k.weight", [4, 3]],
      ["to_k.bias", [3]],
      ["to_v.weight", [4, 3]],
      ["to_v.bias", [3]],
      ["to_out.0.weight", [3, 4]],
      ["to_out.0.bias", [4]],
    ]); // prettier-ignore
  });

  it("refuse what does not fit", () => {
    const messages = [
      () => new SpatialAttention(4, { headDim: 5 }),
      () => new SpatialAttention(4, { groups: 3 }),
      () => new ResnetBlock2D(4, 6, { embeddingChannels: 2, groups: 3 }),
      () => new ResnetBlock2D(4, 6, { embeddingChannels: 2, groups: 2, convShortcut: false }),
      () => new ResnetBlock2D(4, 4, { embeddingChannels: 2, groups: 2, outputScale: 0 }),
      () => new ResnetBlock2D(4, 4, { embeddingChannels: 2, groups: 2, dropout: 2 }),
      () => new ResnetBlock2D(2, 2, { embeddingChannels: 2, groups: 2 }).forward(randn([2, 2, 2, 2]), randn([1, 2])),
    ].map((call) => failure(call).message);
    expect(messages).to.deep.equal([
      "SpatialAttention: headDim is 5, expected an integer from 1 to 4, the number of channels. Leave headDim out (attention_head_dim null) for one head of all channels.",
      "group_norm: GroupNorm: 4 channels do not divide into 3 groups. The number of groups must divide the number of channels.",
      "norm1: GroupNorm: 4 channels do not divide into 3 groups. The number of groups must divide the number of channels.",
      "ResnetBlock2D: convShortcut is false, but 4 channels cannot be added to 6.",
      "ResnetBlock2D: outputScale is 0, expected a number above 0.",
      "dropout: Dropout: p is 2, expected a probability from 0 to 1.",
      "resnetBlock2D: ResnetBlock2D: the embedding has shape [1, 2] for x [2, 2, 2, 2], expected [N, channels].",
    ]);
    expect(failure(() => new SpatialAttention(4, { headDim: 0 }))).to.be.instanceOf(ArgumentError);
  });
});
