// The functions of tasks as ONNX files can hold them, for onnxruntime.

import type { ExportOnnxOptions, Tensor } from "langevin";
import { Conv2d, GroupNorm, MultiHeadAttention } from "langevin";
import type { Task } from "./tasks.ts";
import { ddpmUNet } from "./workloads/ddpm-unet.ts";
import { tutorialUNet } from "./workloads/tutorial-unet.ts";

const time = (batch: number) => ({ shape: [batch], dtype: "int32" as const });

/** What to export of a task, with new weights; where a file cannot hold it, an error says why. */
export function onnxExport(task: Task): ExportOnnxOptions {
  if ("pass" in task && task.pass !== "fwd") throw new Error("an ONNX file holds no gradients");
  switch (task.kind) {
    case "tutorial-sample":
      return { model: tutorialUNet(), inputs: { x: [task.batch, 8, 8, 1], t: time(task.batch) } };
    case "unet-forward":
      return { model: ddpmUNet(task), inputs: { x: [task.batch, task.size, task.size, 3], t: time(task.batch) } };
    case "conv": {
      const { batch, channels, size } = task;
      return { model: new Conv2d(channels, channels, 3, { padding: 1 }), inputs: { x: [batch, size, size, channels] } };
    }
    case "group-norm-silu": {
      const { batch, channels, size } = task;
      const model = new GroupNorm(32, channels);
      return { model, forward: (x) => model.forward(x).silu(), inputs: { x: [batch, size, size, channels] } };
    }
    case "attention": {
      const { batch, length, channels, heads } = task;
      return { model: new MultiHeadAttention(channels, heads), inputs: { x: [batch, length, channels] } };
    }
    case "matmul":
      return { forward: (x: Tensor, y: Tensor) => x.matmul(y), inputs: { x: square(task.size), y: square(task.size) } };
    case "tutorial-train":
    case "unet-train":
    case "adam":
      throw new Error("onnxruntime does not train");
    case "reverse-step":
      throw new Error("an ONNX file holds no seeded noise");
  }
}

const square = (size: number): [number, number] => [size, size];
