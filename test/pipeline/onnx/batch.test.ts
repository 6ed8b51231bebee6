// Open batch sizes: functions whose shapes grow with the batch in every way, at batches that were not recorded, and those
// for which there is no such file.

import { expect } from "chai";
import {
  Dropout,
  ExportError,
  Linear,
  NoiseSchedule,
  arange,
  concat,
  dropout,
  embedding,
  full,
  iterate,
  rand,
  randn,
  stack,
  tensor,
  where,
  zerosLike,
} from "langevin";
import type { ExportOnnxOptions, Tensor, TensorTree } from "langevin";
import { toOnnx } from "../../../ts/pipeline/export-onnx.ts";
import { perStep } from "../../../ts/tensor/recording.ts";
import { rejection } from "../../failure.ts";
import { expectAgreement } from "./agreement.ts";
import { describeWithRuntime } from "./runtime.ts";

/** Functions of x [N, 4, 6]. */
const functions: Record<string, (x: Tensor) => TensorTree> = {
  "the batch merged with another axis": (x) => x.reshape([-1, 6]).softmax(-1),
  "all elements in a row": (x) => x.reshape([-1]).mul(2),
  "the batch moved to the end": (x) => x.permute([1, 2, 0]).reshape([4, -1]).tanh(),
  "two axes that grow": (x) => x.reshape([-1, 24]).matmul(x.reshape([-1, 24]).permute([1, 0])),
  "two axes that grow, reshaped": (x) => {
    const n = x.shape[0];
    return x
      .reshape([n, 1, 24])
      .add(x.reshape([1, n, 24]))
      .reshape([n, n, 4, 6])
      .exp();
  },
  "all images but the first": (x) => x.slice([1, x.shape[0]]).neg(),
  "the first image": (x) => x.slice([0, 1]).neg(),
  "the last image": (x) => x.slice([x.shape[0] - 1, x.shape[0]]).neg(),
  "a slice of channels": (x) => x.slice(null, [1, 3], [0, 6, 2]),
  "a stretch of a row of all elements": (x) => x.reshape([-1]).slice([5, 17]).abs(),
  "the batch doubled and halved again": (x) => {
    const [a, b] = concat([x, x.mul(3)], 0).split(x.shape[0], 0);
    return { a: a.add(b), both: concat([a, b, x.slice([0, 1])], 0) };
  },
  "a constant of the batch's size": (x) => full([x.shape[0], 1, 6], 0.5).mul(x),
  "zeros like it": (x) => zerosLike(x).add(1),
  "broadcasting to it": (x) => tensor([1, 2, 3, 4, 5, 6]).broadcastTo(x.shape).mul(x),
  "means over it": (x) => [x.mean(0), x.sum(0, { keepDims: true }), x.max(0), x.mean(), x.var(0, { correction: 0 })],
  "running sums along it": (x) => [x.cumsum(0), x.flip(0), x.softmax(0), x.argmax(0)],
  "padding of it": (x) => concat([x, full([2, 4, 6], 0)], 0).square(),
  "the input itself": (x) => ({ it: x, same: x, moved: x.permute([2, 0, 1]) }),
  "indices for it": (x) => embedding(tensor([1, 2, 3, 4], { shape: [4, 1] }), x.argmax(1)).reshape([-1, 6]),
  "a stack": (x) => stack([x, x.neg()], 1),
  "a mask that is turned": (x) => where(x.greater(0.2).permute([0, 2, 1]), x.permute([0, 2, 1]), -1),
  "an index of each row": (x) => x.gather(2, x.argmin(2, { keepDims: true })),
};

describeWithRuntime("an open batch size", () => {
  for (const [name, forward] of Object.entries(functions))
    it(`goes with ${name}`, async () => {
      await expectAgreement({ forward, inputs: { x: ["batch", 4, 6] } }, [1, 2, 4, 9]);
    });

  it("goes with the reverse step of a sampler whose noise is an input", async () => {
    const schedule = new NoiseSchedule({ steps: 10, betaStart: 0.1, betaEnd: 0.5 });
    const forward = (x: Tensor, t: Tensor, epsilon: Tensor, z: Tensor): Tensor =>
      schedule.reverseStep(x, t, epsilon, { z });
    const image = ["batch", 4, 4, 2] as const;
    const inputs = { x: image, t: { shape: ["batch"], dtype: "int32" as const }, epsilon: image, z: image };
    await expectAgreement({ forward, inputs }, [1, 6]);
  });

  it("names the sizes of what goes in and out", async () => {
    const forward = (x: Tensor): TensorTree => [
      x,
      concat([x, x, x.slice([0, 1])], 0),
      x.slice([1, x.shape[0]]),
      x.mean(),
    ];
    const { inputs, outputs } = await toOnnx({ forward, inputs: { x: ["n", 2] } });
    expect(inputs).to.deep.equal([{ name: "x", dtype: "float32", shape: ["n", 2] }]);
    expect(outputs.map(({ name, shape }) => [name, shape])).to.deep.equal([
      ["0", ["n", 2]],
      ["1", ["2*n+1", 2]],
      ["2", ["n-1", 2]],
      ["3", []],
    ]);
  });
});

/** What is wrong with an export, and that it is said of the right operation. */
async function refusal(options: ExportOnnxOptions): Promise<string> {
  const error = await rejection(toOnnx(options));
  expect(error).to.be.instanceOf(ExportError);
  return error.message;
}

describe("an open batch size is refused", () => {
  const inputs = { x: ["batch", 3] };

  it("where a size is no line in it", async () => {
    const outer = (x: Tensor): Tensor =>
      x
        .matmul(x.permute([1, 0]))
        .reshape([-1])
        .exp();
    expect(await refusal({ forward: outer, inputs })).to.match(
      /^exp.*: it has a shape of 4, 9, 25 for batches of 2, 3, 5.*Give the batch as a number/,
    );
  });

  it("where a number is computed from it", async () => {
    const message = await refusal({ forward: (x) => x.sum().div(x.shape[0]), inputs });
    expect(message).to.match(/^fill: it has another value at each size of the batch: 2, 3, 5/);
  });

  it("where other operations follow", async () => {
    const message = await refusal({ forward: (x) => (x.shape[0] > 2 ? x.exp() : x.tanh()), inputs });
    expect(message).to.match(/^tanh: it is computed at some sizes of the batch and not at others/);
  });

  it("where there are more of them", async () => {
    const message = await refusal({
      forward: (x) =>
        stack(
          x.unbind(0).map((row) => row.exp()),
          0,
        ),
      inputs,
    });
    expect(message).to.match(/^concat: it is computed at some sizes of the batch/);
  });

  it("where an operation has more operands", async () => {
    const forward = (x: Tensor): Tensor => concat(new Array<Tensor>(x.shape[0]).fill(x.slice([0, 1])), 0);
    expect(await refusal({ forward, inputs })).to.match(/^concat: it has other operands at each size of the batch/);
  });

  it("where host data depend on it", async () => {
    const message = await refusal({
      forward: (x) => x.mul(tensor([...x.shape.keys()].map(() => x.shape[0])).mean()),
      inputs,
    });
    expect(message).to.include("depend");
  });

  it("where the divisor of a variance depends on it, which is fine for a fixed one", async () => {
    const forward = (x: Tensor): Tensor => x.var(0);
    expect(await refusal({ forward, inputs })).to.match(
      /^variance: its number of terms depends on the size of the batch/,
    );
    await toOnnx({ forward, inputs: { x: [5, 3] } });
  });
});

describe("exportOnnx refuses", () => {
  const inputs = { x: [2, 3] };

  it("noise, and says what to do", async () => {
    for (const draw of [randn, rand])
      expect(await refusal({ forward: (x) => x.add(draw([2, 3])), inputs })).to.match(
        /^rand.?: this cannot be exported: it draws noise, and no other runtime draws the same\. Pass the noise as an input\.$/,
      );
    expect(await refusal({ forward: (x) => dropout(x, 0.5), inputs })).to.include("eval");
  });

  it("a layer of dropout that is not the model's", async () => {
    const layer = new Dropout(0.5);
    expect(await refusal({ forward: (x) => layer.forward(x), inputs })).to.match(/^dropout: dropout: this cannot/);
  });

  it("in-place updates", async () => {
    const layer = new Linear(3, 3);
    const forward = (x: Tensor): Tensor => {
      layer.weight.assign(layer.weight.mul(2));
      return layer.forward(x);
    };
    expect(await refusal({ forward, inputs })).to.include("assign: this cannot be exported: it overwrites a tensor");
  });

  it("loops of repeat and numbers of steps", async () => {
    expect(await refusal({ forward: (x) => iterate(50, x, (y) => y.mul(0.9)), inputs })).to.match(/^repeat: a loop of/);
    const table = arange(12).reshape([4, 3]).to("float32");
    const message = await refusal({ forward: (x) => x.add(table.row(perStep(() => 2))), inputs });
    expect(message).to.match(/^row: .*index differs from step to step/);
  });

  it("float64", async () => {
    const model = new Linear(3, 3, { device: "ts" });
    const forward = (x: Tensor): Tensor => model.forward(x.to("float64").exp().to("float32"));
    expect(await refusal({ model, forward, inputs })).to.match(/the function computes in float64/);
    const linear = new Linear(3, 3, { dtype: "float64", device: "ts" });
    expect(await refusal({ model: linear, inputs })).to.include("weight is float64");
  });

  it("arguments that mean nothing", async () => {
    const forward = (x: Tensor): Tensor => x.exp();
    const problem = async (options: object): Promise<string> =>
      (await rejection(toOnnx(options as ExportOnnxOptions))).message;
    expect(await problem({ inputs })).to.include("neither a model nor a function");
    expect(await problem({ forward, inputs: { x: [2, "width"] } })).to.include('input x has shape [2, "width"]');
    expect(await problem({ forward, inputs: { x: [0] } })).to.include("input x has shape [0]");
    expect(await problem({ forward, inputs: { x: { shape: [2], dtype: "int64" } } })).to.include('"int64"');
    expect(await problem({ forward, inputs: { x: ["n"], t: ["m"] } })).to.include("n, m");
    expect(await problem({ forward, inputs, layout: "CHWN" })).to.include('layout is "CHWN"');
    expect(await problem({ forward: (x: Tensor) => ({ x: x.exp() }), inputs })).to.include("a result is called x");
    expect(await problem({ model: new Linear(3, 3), inputs: { weight: ["batch", 3] } })).to.include(
      "inputs are called weight, as parameters of the model are. Give them other names.",
    );
    expect(await problem({ forward: () => undefined, inputs })).to.include("returns no tensor");
    expect(await problem({ forward: (x: Tensor) => x.toArray(), inputs })).to.include("read");
  });
});
