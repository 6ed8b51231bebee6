// config.json of diffusers, options and presets: round trips, defaults, and what is refused in which words.

import { mkdtemp, rm } from "node:fs/promises";
import { readFileSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect } from "chai";
import type { UNet2DOptions, UNet2DPreset } from "langevin";
import {
  ArgumentError,
  FormatError,
  UNet2D,
  loadTorchState,
  loadWeights,
  noGrad,
  randn,
  readSafetensors,
  saveWeights,
  torchState,
} from "langevin";
import { presets } from "../../../ts/nn/unet2d/presets.ts";
import { resolveOptions } from "../../../ts/nn/unet2d/options.ts";
import { failure } from "../../failure.ts";
import { cpuIsBuilt, liveMemory, referencedMemory, useDevice } from "../../tensor/devices.ts";

const golden = resolve(import.meta.dirname, "../../golden/unet2d");
const models = readdirSync(golden, { withFileTypes: true }).filter((entry) => entry.isDirectory());
const configOf = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(resolve(golden, name, "unet/config.json"), "utf8")) as Record<string, unknown>;

/** Two levels as small as they get. */
const small: UNet2DOptions = {
  blockOutChannels: [4, 8],
  downBlockTypes: ["DownBlock2D", "AttnDownBlock2D"],
  upBlockTypes: ["AttnUpBlock2D", "UpBlock2D"],
  layersPerBlock: 1,
  normNumGroups: 2,
};
const smallConfig = { block_out_channels: [4, 8], down_block_types: ["DownBlock2D", "AttnDownBlock2D"], up_block_types: ["AttnUpBlock2D", "UpBlock2D"], layers_per_block: 1, norm_num_groups: 2 }; // prettier-ignore

describe("UNet2D's config.json", () => {
  useDevice("ts");

  for (const { name } of models)
    it(`of golden data comes back as it was, key by key: ${name}`, () => {
      const written = UNet2D.fromConfig(configOf(name)).config();
      expect(written).to.deep.equal(configOf(name));
      expect(Object.keys(written)).to.deep.equal(Object.keys(configOf(name)));
    });

  it("has diffusers' defaults where keys are missing; a head of 8 channels is not one head", () => {
    const { attention_head_dim: _, ...without } = configOf("cifar10_small");
    const [given, missing] = [UNet2D.fromConfig(configOf("cifar10_small")), UNet2D.fromConfig(without)];
    expect(given.config().attention_head_dim).to.equal(null);
    expect(missing.config().attention_head_dim).to.equal(8);
    const heads = (model: UNet2D): number => model.mid_block!.attentions[0].heads;
    expect([heads(given), heads(missing)]).to.deep.equal([1, 5]);
    const defaults = resolveOptions({}, { name: (option) => option, error: (problem) => new ArgumentError({ op: "", problem }) }); // prettier-ignore
    expect(defaults).to.deep.equal({
      sampleSize: null,
      inChannels: 3,
      outChannels: 3,
      centerInputSample: false,
      timeEmbeddingType: "positional",
      timeEmbeddingDim: null,
      freqShift: 0,
      flipSinToCos: true,
      downBlockTypes: ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
      midBlockType: "UNetMidBlock2D",
      upBlockTypes: ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
      blockOutChannels: [224, 448, 672, 896],
      layersPerBlock: 2,
      midBlockScaleFactor: 1,
      downsamplePadding: 1,
      downsampleType: "conv",
      upsampleType: "conv",
      dropout: 0,
      actFn: "silu",
      attentionHeadDim: 8,
      normNumGroups: 32,
      attnNormNumGroups: null,
      normEps: 1e-5,
      resnetTimeScaleShift: "default",
      addAttention: true,
      classEmbedType: null,
      numClassEmbeds: null,
      numTrainTimesteps: null,
    });
  });

  it("is written for a model of options, and keeps the notes of a file", () => {
    const config = new UNet2D(small).config();
    expect(config).to.include({ _class_name: "UNet2DModel", layers_per_block: 1, attention_head_dim: 8 });
    expect(UNet2D.fromConfig(config).config()).to.deep.equal(config);
    const noted = UNet2D.fromConfig({ ...smallConfig, _name_or_path: "mine", sample_size: [4, 6] }).config();
    expect(noted).to.include({ _name_or_path: "mine", _class_name: "UNet2DModel" });
    expect(noted.sample_size).to.deep.equal([4, 6]);
  });

  const refused: readonly (readonly [config: unknown, words: string])[] = [
    [undefined, "the config is undefined, expected an object"],
    [[1], "the config is an array of 1, expected an object"],
    [{ ...smallConfig, cross_attention_dim: 768, decay: 0.9 }, "unknown keys: cross_attention_dim, decay"],
    [{ ...smallConfig, sampleSize: 8 }, "unknown keys: sampleSize"],
    [{ _class_name: "UNet2DConditionModel" }, '_class_name is "UNet2DConditionModel", expected "UNet2DModel"'],
    [{ ...smallConfig, in_channels: "3" }, 'in_channels is "3", expected an integer >= 1'],
    [{ ...smallConfig, layers_per_block: 0 }, "layers_per_block is 0, expected an integer >= 1"],
    [{ ...smallConfig, layers_per_block: 1.5 }, "layers_per_block is 1.5, expected an integer >= 1"],
    [{ ...smallConfig, block_out_channels: [4, -8] }, "block_out_channels[1] is -8, expected an integer >= 1"],
    [{ ...smallConfig, block_out_channels: [] }, "block_out_channels is an array of 0, expected a list of integers >= 1"],
    [{ ...smallConfig, sample_size: [4] }, "sample_size is an array of 1, expected an integer >= 1, a pair of them, or null"],
    [{ ...smallConfig, sample_size: 5 }, "sample_size is 5, expected multiples of 2, as 2 levels halve images 1 times"],
    [{ ...smallConfig, sample_size: [4, 5] }, "sample_size is 4 x 5, expected multiples of 2"],
    [{ ...smallConfig, act_fn: "elu" }, 'act_fn is "elu", expected one of "silu", "swish", "mish", "gelu", "relu"'],
    [{ ...smallConfig, add_attention: 1 }, "add_attention is 1, expected true or false"],
    [{ ...smallConfig, dropout: 1.5 }, "dropout is 1.5, expected a number from 0 to 1"],
    [{ ...smallConfig, norm_eps: 0 }, "norm_eps is 0, expected a number above 0"],
    [{ ...smallConfig, norm_eps: null }, "norm_eps is null, expected a number above 0"],
    [{ ...smallConfig, downsample_padding: 2 }, "downsample_padding is 2, expected one of 0, 1"],
    [{ ...smallConfig, upsample_type: "deconv" }, 'upsample_type is "deconv", expected one of "conv", "resnet"'],
    [{ ...smallConfig, mid_block_type: "UNetMidBlock2DCrossAttn" }, 'mid_block_type is "UNetMidBlock2DCrossAttn", expected one of "UNetMidBlock2D"'],
    [{ ...smallConfig, resnet_time_scale_shift: "ada_group" }, 'resnet_time_scale_shift is "ada_group", expected one of "default", "scale_shift"'],
    [{ ...smallConfig, class_embed_type: "projection" }, 'class_embed_type is "projection", expected one of "timestep", "identity"'],
    [{ ...smallConfig, down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"] }, 'down_block_types[1] is "CrossAttnDownBlock2D", expected one of DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D, SkipDownBlock2D, AttnSkipDownBlock2D (blocks with cross-attention are those of a text-conditional UNet2DConditionModel)'],
    [{ ...smallConfig, up_block_types: ["UpDecoderBlock2D", "KUpBlock2D"] }, "(encoder and decoder blocks are those of an autoencoder, without a time); up_block_types[1] is \"KUpBlock2D\", expected one of UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D, SkipUpBlock2D, AttnSkipUpBlock2D (blocks of the K-upscaler are not supported)"],
    [{ ...smallConfig, down_block_types: ["DownBlock2D"] }, "down_block_types has 1 blocks, expected 2, as many as block_out_channels"],
    [{ ...smallConfig, block_out_channels: [4] }, "down_block_types has 2 blocks, expected 1, as many as block_out_channels; up_block_types has 2 blocks"],
    [{ ...smallConfig, time_embedding_type: "learned" }, 'num_train_timesteps is null, expected the number of timesteps, as time_embedding_type is "learned"'],
    [{ ...smallConfig, freq_shift: 2 }, "freq_shift is 2, expected less than 2, half of block_out_channels[0]"],
    [{ ...smallConfig, norm_num_groups: null }, "norm_num_groups is null, expected a number of groups for down_block_types[0] (DownBlock2D)"],
    [{ ...smallConfig, in_channels: 1, down_block_types: ["SkipDownBlock2D", "SkipDownBlock2D"] }, "in_channels is 1, expected 3, as down_block_types[0] (SkipDownBlock2D) knows no other images"],
    [{ ...smallConfig, up_block_types: ["SkipUpBlock2D", "UpBlock2D"] }, "up_block_types[1] is UpBlock2D after SkipUpBlock2D, which does not pass on an image of the right size"],
    [{ ...smallConfig, block_out_channels: [8, 8, 8], down_block_types: ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"], up_block_types: ["UpBlock2D", "UpBlock2D", "UpBlock2D"] }, "down_block_types[1] is SkipDownBlock2D after DownBlock2D, which does not pass on"],
  ]; // prettier-ignore
  for (const [config, words] of refused)
    it(`is refused: ${words}`, () => {
      const error = failure(() => UNet2D.fromConfig(config));
      expect(error).to.be.instanceOf(FormatError);
      expect(error.message).to.include(words);
      expect(error.message).to.match(
        /^UNet2D\.fromConfig: .*\. A config\.json of diffusers' UNet2DModel is expected\.$/,
      );
    });
});

describe("UNet2D's options", () => {
  useDevice("ts");

  it("are refused under their own names", () => {
    const wrong: readonly (readonly [options: unknown, message: string])[] = [
      [{ ...small, actFn: "tanh" }, 'UNet2D: actFn is "tanh", expected one of "silu", "swish", "mish", "gelu", "relu".'],
      [{ ...small, act_fn: "silu", groups: 3 }, "UNet2D: unknown: act_fn, groups."],
      [{ ...small, layersPerBlock: 0, dropout: -1 }, "UNet2D: layersPerBlock is 0, expected an integer >= 1; dropout is -1, expected a number from 0 to 1."],
      [{ ...small, upBlockTypes: ["UpBlock2D"] }, "UNet2D: upBlockTypes has 1 blocks, expected 2, as many as blockOutChannels."],
    ]; // prettier-ignore
    for (const [options, message] of wrong) {
      const error = failure(() => new UNet2D(options as UNet2DOptions));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(message);
    }
  });

  it("that a block cannot be built of name the block and the layer", () => {
    const wrong: readonly (readonly [options: UNet2DOptions, message: string])[] = [
      [{ normNumGroups: 3 }, "down_blocks[0].resnets[0].norm1: GroupNorm: 4 channels do not divide into 3 groups."],
      [{ normNumGroups: 4, blockOutChannels: [4, 6], attentionHeadDim: null, downBlockTypes: ["DownBlock2D", "DownBlock2D"] }, "down_blocks[1].resnets[0].norm2: GroupNorm: 6 channels"],
      [{ attentionHeadDim: 9 }, "down_blocks[1].attentions[0]: SpatialAttention: headDim is 9, expected an integer from 1 to 8, the number of channels."],
      [{ attnNormNumGroups: 5 }, "mid_block.attentions[0].group_norm: GroupNorm: 8 channels do not divide into 5 groups."],
      [{ upBlockTypes: ["UpBlock2D", "AttnUpBlock2D"], attentionHeadDim: 5 }, "up_blocks[1].attentions[0]: SpatialAttention: headDim is 5, expected an integer from 1 to 4"],
      [{ downBlockTypes: ["AttnSkipDownBlock2D", "AttnSkipDownBlock2D"], attentionHeadDim: null }, "down_blocks[0].attentions[0].group_norm: GroupNorm: 4 channels do not divide into 32 groups."],
    ]; // prettier-ignore
    for (const [options, message] of wrong)
      expect(failure(() => new UNet2D({ ...small, ...options })).message).to.include(message);
  });

  it("do not change with the caller's lists, nor can be changed", () => {
    const blockOutChannels = [4, 8];
    const model = new UNet2D({ ...small, blockOutChannels });
    blockOutChannels[0] = 5;
    expect(model.options.blockOutChannels).to.deep.equal([4, 8]);
    expect(() => (model.options.blockOutChannels as number[]).push(1)).to.throw(TypeError);
    (model.config().block_out_channels as number[])[0] = 7;
    expect(model.config().block_out_channels).to.deep.equal([4, 8]);
    expect(model.config().in_channels).to.equal(3);
  });
});

describe("UNet2D's presets", () => {
  useDevice("ts");

  for (const name of Object.keys(presets) as UNet2DPreset[])
    it(`are options that a network can be built of: ${name}`, () => {
      // The same blocks with an eighth of the channels: groups and heads shrink with them.
      const { blockOutChannels, ...options } = presets[name] as UNet2DOptions;
      const thinned = blockOutChannels!.map((channels) => channels / 8);
      const attends = options.downBlockTypes!.some((type) => type.startsWith("AttnSkip"));
      const model = UNet2D.preset(name, {
        blockOutChannels: attends ? thinned.map(() => 32) : thinned,
        normNumGroups: options.normNumGroups === null ? null : 4,
        attentionHeadDim: options.attentionHeadDim === null ? null : 8,
        layersPerBlock: 1,
        attnNormNumGroups: options.attnNormNumGroups ? 4 : null,
      });
      const smallest = 2 ** (thinned.length - 1);
      const labels = model.options.numClassEmbeds === null ? {} : { classLabels: randn([1]).mul(0).to("int32") };
      const y = noGrad(() => model.forward(randn([1, smallest, smallest, 3], { seed: 1 }), 1, labels));
      expect(y.shape).to.deep.equal([1, smallest, smallest, 3]);
      model.dispose();
    });

  it("are refused by a name that is none", () => {
    expect(failure(() => UNet2D.preset("toString" as UNet2DPreset)).message).to.match(
      /^UNet2D\.preset: the name is "toString"\. Known are ddpm-cifar10, ddpm-256, /,
    );
  });
});

describe("UNet2D's preset ddpm-cifar10", () => {
  if (cpuIsBuilt) useDevice("cpu");

  it("has 35,746,307 parameters in 328 tensors, and needs no more memory than these", async function () {
    if (!cpuIsBuilt) this.skip();
    const before = await referencedMemory("cpu");
    const model = UNet2D.preset("ddpm-cifar10");
    expect(model.parameterCount()).to.equal(35_746_307);
    expect(model.namedParameters().size).to.equal(328);
    const { buffers, bytes } = await liveMemory("cpu");
    expect(buffers - before.buffers).to.equal(328);
    expect((bytes - before.bytes) / (4 * 35_746_307)).to.be.within(1, 1.001);
    model.dispose();
  });
});

describe("UNet2D's weights", () => {
  useDevice("ts");
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-unet2d-"))));
  afterEach(() => rm(folder, { recursive: true }));

  it("are written with the names, the shapes and in the order of diffusers", async () => {
    const path = resolve(golden, "class_cond/unet/diffusion_pytorch_model.safetensors");
    const theirs = (await readSafetensors(path)).tensors;
    const model = UNet2D.fromConfig(configOf("class_cond"));
    await loadWeights(path, model);
    await saveWeights(join(folder, "copy.safetensors"), model);
    const ours = (await readSafetensors(join(folder, "copy.safetensors"))).tensors;
    expect([...ours.keys()].sort()).to.deep.equal([...theirs.keys()].sort());
    for (const [name, { data, shape }] of theirs) {
      expect(ours.get(name)!.shape, name).to.deep.equal(shape);
      expect(ours.get(name)!.data, name).to.deep.equal(data);
    }
  });

  it("are read under the names that attention had before, and written under those of today", async () => {
    const path = resolve(golden, "legacy_names/unet/diffusion_pytorch_model.safetensors");
    const old = (await readSafetensors(path)).tensors;
    const model = UNet2D.fromConfig(configOf("legacy_names"));
    await loadWeights(path, model);
    const state = await torchState(model);
    const [block, now] = ["mid_block.attentions.0", await torchState(model)];
    for (const [before, after] of Object.entries({ query: "to_q", key: "to_k", value: "to_v", proj_attn: "to_out.0" }))
      for (const parameter of ["weight", "bias"]) {
        expect(now[`${block}.${after}.${parameter}`].data).to.deep.equal(
          old.get(`${block}.${before}.${parameter}`)!.data,
        );
        expect(state).not.to.have.property(`${block}.${before}.${parameter}`);
      }
    loadTorchState(model, state);
    const { [`${block}.to_q.weight`]: moved, ...rest } = state;
    // Both names at once are one too many, and a name of another layer is not understood.
    expect(failure(() => { loadTorchState(model, { ...state, [`${block}.query.weight`]: moved }); }).message).to.include(`unknown [${block}.query.weight]`); // prettier-ignore
    expect(failure(() => { loadTorchState(model, { ...rest, "mid_block.query.weight": moved }); }).message).to.include("mid_block.query.weight"); // prettier-ignore
  });
});
