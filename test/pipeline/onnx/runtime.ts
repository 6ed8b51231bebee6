// onnxruntime as a judge of exported models: where it is not installed, the tests that need it are skipped with the reason.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { packageRoot } from "../../../ts/device/native/addon.ts";
import type { OnnxModel } from "../../../ts/io/onnx/model.ts";
import { encodeOnnx } from "../../../ts/io/onnx/model.ts";
import type { Value } from "../../ops/draw.ts";

interface RuntimeTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: Float32Array | Int32Array;
}

interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(inputs: Record<string, RuntimeTensor>): Promise<Record<string, RuntimeTensor>>;
  release(): Promise<void>;
}

/** The little of onnxruntime-node that is used: its own types are not there where it is not installed. */
interface Runtime {
  readonly InferenceSession: { create(model: Uint8Array | string, options: object): Promise<Session> };
  readonly Tensor: new (type: string, data: Float32Array | Int32Array, dims: readonly number[]) => RuntimeTensor;
}

/** The folder of the packages that this library is compared with. */
export const peers = join(packageRoot(), "bench", "peers");

/** The runtime, or why it is not there. */
const found = findRuntime();

function findRuntime(): { readonly runtime: Runtime } | { readonly absent: string } {
  if (!existsSync(join(peers, "node_modules", "onnxruntime-node")))
    return { absent: "onnxruntime-node is not installed (npm ci --ignore-scripts --prefix bench/peers)" };
  try {
    return { runtime: createRequire(join(peers, "package.json"))("onnxruntime-node") as Runtime };
  } catch (error) {
    return { absent: `onnxruntime-node does not load here (${(error as Error).message.split("\n")[0]})` };
  }
}

function runtime(): Runtime {
  if ("runtime" in found) return found.runtime;
  throw new Error(found.absent);
}

/** Opens a block of tests that need onnxruntime; where it is absent, one skipped test says why. */
export function describeWithRuntime(name: string, tests: () => void): void {
  describe(name, () => {
    if ("absent" in found) it.skip(`skipped: ${found.absent}`);
    else tests();
  });
}

/** A model that onnxruntime has loaded, and with that checked. */
export class LoadedModel {
  private readonly session: Session;

  private constructor(session: Session) {
    this.session = session;
  }

  /** From a file, or from memory. */
  static async load(model: OnnxModel | string): Promise<LoadedModel> {
    const source = typeof model === "string" ? model : Buffer.concat(encodeOnnx(model).pieces);
    const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };
    return new LoadedModel(await runtime().InferenceSession.create(source, options));
  }

  /** Runs it once; inputs that it does not have are left out, since none of its nodes reads them. */
  async run(inputs: Readonly<Record<string, Value>>): Promise<Record<string, Value>> {
    const { Tensor } = runtime();
    const given = Object.entries(inputs).map(([name, { type, elements }]) => {
      return [name, new Tensor(type.dtype, elements as Float32Array | Int32Array, type.shape)] as const;
    });
    const results = await this.session.run(Object.fromEntries(given));
    return Object.fromEntries(
      Object.entries(results).map(([name, { type, dims, data }]) => [
        name,
        { type: { shape: [...dims], dtype: type as "float32" | "int32" }, elements: data },
      ]),
    );
  }

  /** Frees it. */
  release(): Promise<void> {
    return this.session.release();
  }
}

/** Loads a model, runs it once, and frees it. */
export async function runOnnx(
  model: OnnxModel,
  inputs: Readonly<Record<string, Value>>,
): Promise<Record<string, Value>> {
  const loaded = await LoadedModel.load(model);
  try {
    return await loaded.run(inputs);
  } finally {
    await loaded.release();
  }
}
