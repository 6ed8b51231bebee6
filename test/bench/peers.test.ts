// The other libraries compute what langevin computes, for the same weights and inputs; where they are not installed, tests say so.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { Module, Tensor } from "langevin";
import {
  Conv2d,
  GroupNorm,
  MultiHeadAttention,
  manualSeed,
  noGrad,
  randint,
  randn,
  readSafetensors,
  saveWeights,
  scope,
  writeSafetensors,
} from "langevin";
import { onnxExport } from "../../bench/onnx-export.ts";
import { findTorch, torchAbsent } from "../../bench/peers.ts";
import type { Task, TaskOf } from "../../bench/tasks.ts";
import { ddpmUNet } from "../../bench/workloads/ddpm-unet.ts";
import type { Network } from "../../bench/workloads/training.ts";
import { schedule } from "../../bench/workloads/training.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import { expectAgreement } from "../pipeline/onnx/agreement.ts";
import { describeWithRuntime } from "../pipeline/onnx/runtime.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";

const named = { workload: "tiny", metric: "ms_fwd", pass: "fwd" as const };
const tutorial = { ...named, kind: "tutorial-sample", batch: 3 } as const satisfies Task;
const unet: TaskOf<"unet-forward" | "unet-train"> = {
  ...named,
  kind: "unet-forward",
  batch: 2,
  size: 32,
  base: 32,
  mults: [1, 2],
};
const conv = { ...named, kind: "conv", batch: 2, channels: 8, size: 6 } as const satisfies Task;
const norm = { ...named, kind: "group-norm-silu", batch: 2, channels: 64, size: 6 } as const satisfies Task;
const attention = { ...named, kind: "attention", batch: 2, length: 7, channels: 16, heads: 4 } as const satisfies Task;
const matmul = { ...named, kind: "matmul", size: 33 } as const satisfies Task;
const reverseStep = { ...named, kind: "reverse-step", size: 6 } as const satisfies Task;

interface Layer extends Module {
  forward(x: Tensor): Tensor;
}

/** What is computed on both sides: its weights, its inputs as they lie here, and its result. */
interface Subject {
  readonly task: Task;
  readonly model?: Module;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly forward: () => Tensor;
}

function subjects(): Subject[] {
  const images = (side: number, channels: number, batch: number): Tensor => randn([batch, side, side, channels]);
  const network = (task: Task, model: Network, x: Tensor) => {
    const t = randint(0, schedule.steps, [x.shape[0]]);
    return { task, model, inputs: { x, t }, forward: () => model.forward(x, t) };
  };
  const layer = (task: Task, model: Layer, x: Tensor, then = (y: Tensor) => y) => {
    return { task, model, inputs: { x }, forward: () => then(model.forward(x)) };
  };
  const [a, b] = [randn([33, 33]), randn([33, 33])];
  const [x, epsilon] = [images(6, 3, 1), images(6, 3, 1)];
  const z = x.mul(0);
  return [
    network(tutorial, tutorialUNet(), images(8, 1, 3)),
    network(unet, ddpmUNet(unet), images(32, 3, 2)),
    layer(conv, new Conv2d(8, 8, 3, { padding: 1 }), images(6, 8, 2)),
    layer(norm, new GroupNorm(32, 64), images(6, 64, 2), (y) => y.silu()),
    layer(attention, new MultiHeadAttention(16, 4), randn([2, 7, 16])),
    { task: matmul, inputs: { x: a, y: b }, forward: () => a.matmul(b) },
    {
      task: reverseStep,
      inputs: { x, epsilon },
      forward: () => schedule.reverseStep(x, schedule.steps / 2, epsilon, { z }),
    },
  ];
}

/** Images as PyTorch has them; anything else as it is. */
const toTorch = (x: Tensor): Tensor => (x.rank === 4 ? x.permute([0, 3, 1, 2]) : x);

describe("bench: PyTorch computes the same as langevin", function () {
  this.timeout(120_000);
  const python = findTorch();
  if (python === undefined) {
    it.skip(`skipped: ${torchAbsent}`);
    return;
  }
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "langevin-bench-"));
    manualSeed(5);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  /** What PyTorch gives for the weights and inputs in files. */
  async function torchOutput({
    task,
    model,
    inputs,
  }: Subject): Promise<{ shape: readonly number[]; data: ArrayLike<number> }> {
    const [weights, given, out] = ["weights", "inputs", "out"].map((name) => join(folder, `${name}.safetensors`));
    if (model) await saveWeights(weights, model);
    else await writeSafetensors(weights, new Map());
    const torchInputs = new Map(Object.entries(inputs).map(([name, x]) => [name, toTorch(x)]));
    await writeSafetensors(given, torchInputs);
    const script = join(packageRoot(), "bench", "peers", "torch_peer.py");
    const args = [script, "--outputs", JSON.stringify(task), weights, given, out];
    const { status, stderr } = spawnSync(python!, args, { encoding: "utf8" });
    expect(status, stderr).to.equal(0);
    const { shape, data } = (await readSafetensors(out)).tensors.get("output")!;
    return { shape, data: data as Float32Array };
  }

  for (const [i, name] of [
    "tutorial-unet",
    "ddpm-unet",
    "conv",
    "group-norm-silu",
    "attention",
    "matmul",
    "reverse-step",
  ].entries())
    // prettier-ignore
    it(`in ${name}`, async () => {
      const subject = subjects()[i];
      subject.model?.eval();
      const ours = scope(() => noGrad(() => toTorch(subject.forward()).keep()));
      const expected = await torchOutput(subject);
      expect(ours.shape).to.deep.equal(expected.shape);
      const values = await ours.data();
      const largest = Math.max(...Array.from(expected.data, Math.abs));
      const off = Math.max(...Array.from(values, (value, k) => Math.abs(value - expected.data[k])));
      expect(largest).to.be.greaterThan(0);
      expect(off / largest).to.be.lessThan(1e-5);
    });
});

describeWithRuntime("bench: onnxruntime computes the same as langevin", () => {
  for (const task of [tutorial, unet, conv, norm, attention, matmul])
    it(`in ${task.kind}`, () => expectAgreement(onnxExport(task), [task.kind === "matmul" ? 1 : task.batch], 1e-5));

  for (const task of [
    { ...named, kind: "tutorial-train", batch: 1 },
    { ...conv, pass: "bwd" },
    reverseStep,
  ] as const satisfies readonly Task[])
    it(`refuses ${task.kind}, which a file cannot hold`, () => {
      expect(() => onnxExport(task)).to.throw(/onnxruntime does not train|holds no (gradients|seeded noise)/);
    });
});
