// The process that writes a task's ONNX file: `node --import tsx bench/export-onnx.ts TASK FILE`.

import { exportOnnx } from "langevin";
import { onnxExport } from "./onnx-export.ts";
import type { Task } from "./tasks.ts";

const [task, file] = process.argv.slice(2);
await exportOnnx(file, onnxExport(JSON.parse(task) as Task));
