// Whole models, exported and run in onnxruntime: the tutorial's with trained weights, and one with all that others have.

import { readFileSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  Conv2d,
  DiT,
  Dropout,
  Embedding,
  ExportError,
  GroupNorm,
  LayerNorm,
  Linear,
  Module,
  MultiHeadAttention,
  RMSNorm,
  UNet2D,
  concat,
  exportOnnx,
  loadTorchState,
  pad,
  parseSafetensors,
  randn,
  resize2d,
  tensor,
  toFloat32,
} from "langevin";
import type { Tensor, TorchState } from "langevin";
import { TinyNet, TutorialUNet } from "../../../examples/tutorial-nets.ts";
import { packageRoot } from "../../../ts/device/native/addon.ts";
import { writeOnnx } from "../../../ts/io/onnx/model.ts";
import { toOnnx } from "../../../ts/pipeline/export-onnx.ts";
import { rejection } from "../../failure.ts";
import { small } from "../../nn/unet2d/small-options.ts";
import { expectAgreement } from "./agreement.ts";
import { LoadedModel, describeWithRuntime } from "./runtime.ts";

/** Part C's U-Net as PyTorch trained it. */
function trainedUNet(): TutorialUNet {
  const path = join(packageRoot(), "test/golden/seed/part_c_trained.safetensors");
  const { tensors } = parseSafetensors(readFileSync(path));
  const state: TorchState = Object.fromEntries(
    [...tensors].flatMap(([name, raw]) => {
      const data = name.startsWith("model.") ? Float32Array.from(toFloat32(raw)) : undefined;
      return data ? [[name.slice("model.".length), { data, shape: raw.shape }]] : [];
    }),
  );
  const model = new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: 1000 });
  loadTorchState(model, state);
  return model;
}

/** Sines and cosines of t at `width / 2` frequencies (Vaswani et al. 2017, section 3.5). */
function sinusoids(t: Tensor, width: number): Tensor {
  const frequencies = Float32Array.from({ length: width / 2 }, (_, i) => 10_000 ** ((-2 * i) / width));
  const angles = t
    .to("float32")
    .reshape([-1, 1])
    .mul(tensor(frequencies).reshape([1, -1]));
  return concat([angles.sin(), angles.cos()], -1);
}

/** Group norm, SiLU, a time embedding between two convolutions, and the input added at the end. */
class ResBlock extends Module {
  norm1: GroupNorm;
  conv1: Conv2d;
  time: Linear;
  norm2: GroupNorm;
  dropout = new Dropout(0.5);
  conv2: Conv2d;
  shortcut: Conv2d;

  constructor(from: number, to: number) {
    super();
    this.norm1 = new GroupNorm(2, from);
    this.conv1 = new Conv2d(from, to, 3, { padding: 1 });
    this.time = new Linear(16, 2 * to);
    this.norm2 = new GroupNorm(4, to);
    this.conv2 = new Conv2d(to, to, 3, { padding: 1, groups: 2 });
    this.shortcut = new Conv2d(from, to, 1);
  }

  forward(x: Tensor, time: Tensor): Tensor {
    const [scale, shift] = this.time.forward(time.silu()).reshape([-1, 1, 1, 2, this.conv1.outChannels]).unbind(3);
    const h = this.norm2.forward(this.conv1.forward(this.norm1.forward(x).silu()));
    const modulated = this.dropout.forward(h.mul(scale.add(1)).add(shift).silu());
    return this.conv2.forward(modulated).add(this.shortcut.forward(x));
  }
}

/** A small U-Net with what larger ones have, for images of any size, and a transformer in its middle. */
class MixedUNet extends Module {
  labels = new Embedding(10, 16);
  input = new Conv2d(3, 8, 3, { padding: 1 });
  down = [new ResBlock(8, 8), new ResBlock(8, 12)];
  downsample = new Conv2d(8, 8, 3, { stride: 2 });
  norm = new GroupNorm(3, 12);
  attention = new MultiHeadAttention(12, 3);
  layerNorm = new LayerNorm(12);
  rmsNorm = new RMSNorm(12);
  mlp = [new Linear(12, 24), new Linear(24, 12)];
  up = new ResBlock(12 + 8, 8);
  output = new Conv2d(8, 3, 3, { padding: 1 });

  forward(x: Tensor, t: Tensor, label: Tensor): { noise: Tensor; features: Tensor } {
    const time = sinusoids(t, 16).add(this.labels.forward(label));
    const full = this.down[0].forward(this.input.forward(x), time);
    // As diffusers pads: below and on the right only.
    const half = this.down[1].forward(this.downsample.forward(pad(full, [0, 1, 0, 1])), time);
    const attended = this.attention.forward(this.norm.forward(half)).add(half);
    const [n, h, w, c] = attended.shape;
    const tokens = attended.reshape([n, h * w, c]);
    const mixed = tokens.add(this.mlp[1].forward(this.mlp[0].forward(this.layerNorm.forward(tokens)).gelu()));
    const features = this.rmsNorm.forward(mixed);
    const [height, width] = [full.shape[1], full.shape[2]];
    const raised = resize2d(features.reshape([n, h, w, c]), { size: [height, width], mode: "nearest" });
    return { noise: this.output.forward(this.up.forward(concat([raised, full], -1), time)), features };
  }
}

describeWithRuntime("models in onnxruntime", () => {
  const t = { shape: ["batch"], dtype: "int32" } as const;

  it("the tutorial's U-Net with trained weights, at any batch size", async () => {
    await expectAgreement(
      { model: trainedUNet(), inputs: { x: ["batch", 8, 8, 1], t }, timesteps: 1000 },
      [1, 2, 5, 64],
    );
  });

  it("the same as NHWC, and on images of another shape", async () => {
    const model = trainedUNet();
    await expectAgreement(
      { model, inputs: { x: ["n", 12, 20, 1], t: { ...t, shape: ["n"] } }, layout: "NHWC" },
      [1, 3],
    );
  });

  it("the same with a fixed batch size", async () => {
    await expectAgreement({ model: trainedUNet(), inputs: { x: [3, 8, 8, 1], t: { ...t, shape: [3] } } }, [3]);
  });

  it("part B's layers on images of odd size", async () => {
    await expectAgreement({ model: new TinyNet(3), inputs: { x: ["batch", 7, 5, 3], t } }, [1, 4]);
  });

  it("UNet2D", async () => {
    await expectAgreement({ model: new UNet2D(small), inputs: { x: ["batch", 8, 12, 2], t } }, [1, 3], 1e-5);
  });

  it("UNet2D with classes, steps by resnet blocks, scale and shift", async () => {
    const steps = { downsampleType: "resnet", upsampleType: "resnet", resnetTimeScaleShift: "scale_shift" } as const;
    const model = new UNet2D({ ...small, ...steps, numClassEmbeds: 10 });
    const forward = (x: Tensor, times: Tensor, classLabels: Tensor): Tensor => model.forward(x, times, { classLabels });
    await expectAgreement({ model, forward, inputs: { x: ["batch", 8, 12, 2], t, label: t } }, [1, 3], 1e-5);
  });

  it("UNet2D with noise levels and images beside features", async () => {
    const model = new UNet2D({
      inChannels: 3,
      outChannels: 3,
      layersPerBlock: 1,
      timeEmbeddingType: "fourier",
      normNumGroups: null,
      blockOutChannels: [8, 12],
      downBlockTypes: ["SkipDownBlock2D", "SkipDownBlock2D"],
      upBlockTypes: ["SkipUpBlock2D", "SkipUpBlock2D"],
    });
    const forward = (x: Tensor, level: Tensor): Tensor => model.forward(x, level.abs().add(0.1));
    await expectAgreement({ model, forward, inputs: { x: ["batch", 8, 8, 3], level: ["batch"] } }, [1, 3], 1e-5);
  });

  it("DiT, alone and guided", async () => {
    const size = { patchSize: 2, width: 24, depth: 2, heads: 3 };
    const model = new DiT({ ...size, imageSize: [8, 12], inChannels: 3, classes: 10 });
    // Fresh ones are 0 where it matters.
    for (const parameter of model.parameters()) parameter.assign(randn(parameter.shape, { seed: 3 }).mul(0.1));
    const inputs = { x: ["batch", 8, 12, 3], t, label: t };
    const forward = (x: Tensor, times: Tensor, classLabels: Tensor): Tensor => model.forward(x, times, { classLabels });
    await expectAgreement({ model, forward, inputs }, [1, 3], 1e-5);
    const guided = (x: Tensor, times: Tensor, classLabels: Tensor): Tensor =>
      model.forwardGuided(x, times, { classLabels, guidanceScale: 2 });
    await expectAgreement({ model, forward: guided, inputs }, [1, 3], 1e-5);
  });

  for (const size of [
    [8, 12],
    [9, 7],
  ])
    it(`norms, attention, groups, resampling and embeddings at ${size.join("x")}`, async () => {
      const inputs = { x: ["batch", ...size, 3], t, label: t };
      await expectAgreement({ model: new MixedUNet(), inputs }, [1, 2, 7]);
      await expectAgreement({ model: new MixedUNet(), inputs, layout: "NHWC" }, [2]);
    });
});

describe("exportOnnx", () => {
  const inputs = { x: ["batch", 8, 8, 1], t: { shape: ["batch"], dtype: "int32" } } as const;

  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-onnx-"))));
  afterEach(() => rm(folder, { recursive: true }));

  it("writes one file and says what is in it", async () => {
    const path = join(folder, "unet.onnx");
    const summary = await exportOnnx(path, { model: trainedUNet(), inputs });
    expect(summary.files).to.deep.equal([{ path, bytes: (await stat(path)).size }]);
    expect(summary.opset).to.equal(18);
    expect(summary.operators).to.deep.equal({
      Gather: 1,
      Gemm: 5,
      Conv: 11,
      Reshape: 5,
      Add: 5,
      Relu: 10,
      MaxPool: 2,
      ConvTranspose: 2,
      Concat: 2,
    });
    expect(await readdir(folder)).to.deep.equal(["unet.onnx"]);
  });

  it("moves no image of a U-Net but at its ends, whatever the layout of these", async () => {
    const transposes = async (layout: "NCHW" | "NHWC", channels: number): Promise<number> => {
      const model = new TutorialUNet({ imageChannels: channels, channels: [16, 32, 64], timeDim: 16, steps: 9 });
      const { nodes } = await toOnnx({ model, inputs: { ...inputs, x: ["batch", 8, 8, channels] }, layout });
      return nodes.filter(({ type }) => type === "Transpose").length;
    };
    expect(await transposes("NCHW", 1)).to.equal(0);
    expect(await transposes("NCHW", 3)).to.equal(0);
    expect(await transposes("NHWC", 3)).to.equal(2);
  });

  it("names weights and lays them out as PyTorch does, tied ones once", async () => {
    class Tied extends Module {
      first = new Conv2d(2, 3, [3, 1], { padding: [1, 0] });
      second = new Linear(3, 3);
      third = this.second;
      forward(x: Tensor): Tensor {
        return this.third.forward(this.second.forward(this.first.forward(x)));
      }
    }
    const model = new Tied();
    const { initializers } = await toOnnx({ model, inputs: { x: [1, 4, 4, 2] } });
    const weights = initializers.filter(({ dtype }) => dtype === "float32");
    expect(weights.map(({ name, shape }) => [name, shape])).to.deep.equal([
      ["first.weight", [3, 2, 3, 1]],
      ["first.bias", [3]],
      ["second.weight", [3, 3]],
      ["second.bias", [3]],
    ]);
    const linear = await model.second.weight.permute([1, 0]).data();
    expect([...weights[2].data]).to.deep.equal([...linear]);
  });

  it("exports the model in eval mode, and leaves each layer in the mode that it was in", async () => {
    const model = new MixedUNet();
    model.down[1].eval();
    const modes = (): boolean[] => [...model.namedModules().values()].map(({ training }) => training);
    const before = modes();
    const { nodes } = await toOnnx({
      model,
      inputs: { x: [1, 8, 8, 3], t: { shape: [1], dtype: "int32" }, label: { shape: [1], dtype: "int32" } },
    });
    expect(modes()).to.deep.equal(before);
    expect(nodes.map(({ name }) => name)).to.include("mixedUnet.down[1].conv2.Conv");
  });

  it("leaves an existing file as it is when it fails", async () => {
    const path = join(folder, "net.onnx");
    await exportOnnx(path, { forward: (x) => x.add(1), inputs: { x: [2] } });
    const before = await readFile(path);
    const error = await rejection(exportOnnx(path, { forward: (x) => x.add(randn([2])), inputs: { x: [2] } }));
    expect(error).to.be.instanceOf(ExportError);
    expect((await readFile(path)).equals(before)).to.equal(true);
    expect(await readdir(folder)).to.deep.equal(["net.onnx"]);
  });
});

describeWithRuntime("an exported file", () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-onnx-"))));
  afterEach(() => rm(folder, { recursive: true }));

  const inputs = { x: [1, 8, 8, 1], t: { shape: [1], dtype: "int32" } } as const;
  const given = {
    x: { type: { shape: [1, 1, 8, 8], dtype: "float32" }, elements: new Float32Array(64).fill(0.5) },
    t: { type: { shape: [1], dtype: "int32" }, elements: Int32Array.of(7) },
  } as const;

  async function runFile(path: string): Promise<number[]> {
    const loaded = await LoadedModel.load(path);
    try {
      return Array.from((await loaded.run(given)).output.elements);
    } finally {
      await loaded.release();
    }
  }

  it("is the same model whether its weights lie in it or beside it", async () => {
    const model = trainedUNet();
    const [one, two] = [join(folder, "one.onnx"), join(folder, "two.onnx")];
    await exportOnnx(one, { model, inputs });
    const files = await writeOnnx(two, await toOnnx({ model, inputs }), 100_000);
    expect(files).to.have.length(2);
    expect(await runFile(two)).to.deep.equal(await runFile(one));
  });
});
