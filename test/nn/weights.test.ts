// Weights in files and in PyTorch's layouts: round trips bit for bit, and what is refused.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import {
  Adam,
  ArgumentError,
  Conv2d,
  ConvTranspose2d,
  FormatError,
  Linear,
  Module,
  loadTorchState,
  loadWeights,
  ones,
  readSafetensors,
  saveWeights,
  tensor,
  torchState,
  writeSafetensors,
} from "langevin";
import type { RawTensor, Tensor, TorchState } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { failure, rejection } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

function bitsOf(model: Module): number[][] {
  return model
    .parameters()
    .map((p) => [...new Int32Array(Float32Array.from([p.toArray()].flat(9) as number[]).buffer)]);
}

const unet = (): TutorialUNet => new TutorialUNet({ imageChannels: 1, channels: [2, 4, 6], timeDim: 3, steps: 7 });

onEveryDevice("weights", () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-weights-"))));
  afterEach(() => rm(folder, { recursive: true }));

  it("come back from a file bit for bit, also into a model that an optimizer has packed", async () => {
    const path = join(folder, "model.safetensors");
    const [a, b] = [unet(), unet()];
    const adam = new Adam(b.parameters());
    await saveWeights(path, a, { note: "kept" });
    expect(bitsOf(b)).not.to.deep.equal(bitsOf(a));
    const before = await referencedMemory();
    await loadWeights(path, b);
    expect(await liveMemory()).to.deep.equal(before);
    expect(bitsOf(b)).to.deep.equal(bitsOf(a));
    expect((await readSafetensors(path)).metadata).to.deep.include({ note: "kept" });
    adam.dispose();
  });

  it("are written in PyTorch's names and layouts", async () => {
    class Net extends Module {
      conv = new Conv2d(1, 2, [1, 2]);
      up = new ConvTranspose2d(1, 2, [1, 2], { bias: false });
      head = new Linear(3, 2);
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    const net = new Net();
    net.conv.weight.assign(tensor([[[[1, 2]], [[3, 4]]]])); // [kh, kw, I, O] = [1, 2, 1, 2]
    net.up.weight.assign(
      tensor([
        [
          [[1], [2]],
          [[3], [4]],
        ],
      ]),
    ); // [kh, kw, O, I] = [1, 2, 2, 1]
    net.head.weight.assign(tensor([[1, 2], [3, 4], [5, 6]])); // prettier-ignore
    const state = await torchState(net);
    expect(Object.keys(state)).to.deep.equal(["conv.weight", "conv.bias", "up.weight", "head.weight", "head.bias"]);
    expect([state["conv.weight"].shape, [...state["conv.weight"].data]]).to.deep.equal([
      [2, 1, 1, 2],
      [1, 3, 2, 4],
    ]);
    expect([state["up.weight"].shape, [...state["up.weight"].data]]).to.deep.equal([
      [1, 2, 1, 2],
      [1, 3, 2, 4],
    ]);
    expect([state["head.weight"].shape, [...state["head.weight"].data]]).to.deep.equal([
      [2, 3],
      [1, 3, 5, 2, 4, 6],
    ]);
    const other = new Net();
    loadTorchState(other, state);
    expect(bitsOf(other)).to.deep.equal(bitsOf(net));
  });

  it("are refused, all of them, when one does not fit", async () => {
    const layer = new Linear(2, 2);
    const before = bitsOf(layer);
    const good = { data: new Float32Array(4), shape: [2, 2] };
    for (const [bias, text] of [
      [undefined, /missing \[bias\]/],
      [{ data: new Float32Array(3), shape: [3] }, /bias has shape \[3\], the parameter \[2\]/],
      [{ data: new Float32Array(2), shape: [1, 2] }, /bias/],
    ] as const) {
      const state: TorchState = bias ? { weight: good, bias } : { weight: good };
      expect(failure(() => loadTorchState(layer, state)).message).to.match(text);
      expect(bitsOf(layer)).to.deep.equal(before);
    }
  });

  it("of half precision are read, with the values that they have", async () => {
    const path = join(folder, "model.safetensors");
    const layer = new Linear(2, 1);
    const tensors = new Map<string, RawTensor>([
      ["weight", { dtype: "F16", shape: [1, 2], data: Uint16Array.of(0x3c00, 0xb555) }], // 1, -0.33325
      ["bias", { dtype: "BF16", shape: [1], data: Uint16Array.of(0x4049) }], // 3.140625
    ]);
    await writeSafetensors(path, tensors);
    await loadWeights(path, layer);
    expect(layer.weight.toArray()).to.deep.equal([[1], [-0.333251953125]]);
    expect(layer.bias!.toArray()).to.deep.equal([3.140625]);
  });

  it("that are no floats are refused by name", async () => {
    const path = join(folder, "model.safetensors");
    await writeSafetensors(path, new Map([["weight", { dtype: "I32", shape: [1], data: new Int32Array(1) }]]));
    const error = await rejection(loadWeights(path, new Linear(1, 1)));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.match(
      /^loadWeights: weight in .*model\.safetensors is I32\. Weights are F64, F32, F16, BF16\./,
    );
  });

  it("of a damaged file are refused, and of no file too", async () => {
    const path = join(folder, "model.safetensors");
    const layer = new Linear(2, 2);
    await saveWeights(path, layer);
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, bytes.length - 3));
    const before = bitsOf(layer);
    expect(await rejection(loadWeights(path, layer))).to.be.instanceOf(FormatError);
    expect((await rejection(loadWeights(join(folder, "none"), layer))).message).to.contain("none");
    expect(bitsOf(layer)).to.deep.equal(before);
  });

  it("are read at the moment of the call, even if training goes on", async () => {
    const layer = new Linear(1, 1);
    layer.weight.assign(tensor([[5]]));
    const state = torchState(layer);
    layer.weight.assign(ones([1, 1]));
    expect((await state).weight.data[0]).to.equal(5);
  });
});
