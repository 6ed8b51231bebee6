// Runs a function here and, exported, in onnxruntime, on the same random inputs, and compares what they give.

import { expect } from "chai";
import type { ExportOnnxOptions, Tensor, TensorTree } from "langevin";
import { noGrad, scope, tensor } from "langevin";
import { toOnnx } from "../../../ts/pipeline/export-onnx.ts";
import { tensorsByPath } from "../../../ts/tensor/tree.ts";
import type { Value } from "../../ops/draw.ts";
import { drawInput, generator, magnitudeOf } from "../../ops/draw.ts";
import { LoadedModel } from "./runtime.ts";

/** The function that is exported, and what its numbers are drawn from. */
export interface Subject extends ExportOnnxOptions {
  /** Integers are drawn from 0 to this, exclusive. */
  readonly timesteps?: number;
}

const sizeAt = (size: number | string, batch: number): number => (typeof size === "string" ? batch : size);

/** Random inputs for a batch, in this library's order of axes. */
function drawInputs({ inputs, timesteps = 10 }: Subject, batch: number): Map<string, Value> {
  const random = generator(31 + batch);
  return new Map(
    Object.entries(inputs).map(([name, given]) => {
      const { shape, dtype } = "shape" in given ? given : { shape: given, dtype: "float32" as const };
      const range = dtype === "int32" ? ([0, timesteps] as const) : ([-1.5, 1.5] as const);
      return [name, drawInput({ shape: shape.map((size) => sizeAt(size, batch)), dtype, range }, random)];
    }),
  );
}

function toTensor({ type, elements }: Value): Tensor {
  return tensor(elements, { shape: type.shape, dtype: type.dtype });
}

function toValue(x: Tensor): Value {
  return { type: { shape: [...x.shape], dtype: x.dtype }, elements: x.elements("test") };
}

/** Images in the other order of axes, by means of this library. */
function permuted(value: Value, axes: readonly number[]): Value {
  const isImages = value.type.shape.length === 4 && value.type.dtype === "float32";
  return isImages ? scope(() => toValue(toTensor(value).permute(axes))) : value;
}

/** What the function gives here. */
function computed(subject: Subject, inputs: ReadonlyMap<string, Value>): Map<string, Value> {
  const forward = subject.forward ?? ((...given: Tensor[]) => subject.model!.forward(...given) as TensorTree);
  subject.model?.eval();
  return scope(() => {
    const result = noGrad(() => forward(...[...inputs.values()].map(toTensor)));
    return new Map([...tensorsByPath(result)].map(([path, x]) => [path === "" ? "output" : path, toValue(x)]));
  });
}

/**
 * Refuses an exported function that gives anything else than here at one of the batches: other shapes, integers that
 * differ, or floats that are off by more than `tolerance` of the largest.
 */
export async function expectAgreement(subject: Subject, batches: readonly number[], tolerance = 2e-6): Promise<void> {
  const toFile = (value: Value): Value => (subject.layout === "NHWC" ? value : permuted(value, [0, 3, 1, 2]));
  const loaded = await LoadedModel.load(await toOnnx(subject));
  try {
    for (const batch of batches) {
      const inputs = drawInputs(subject, batch);
      const given = [...inputs].map(([name, value]) => [name, toFile(value)] as const);
      const results = await loaded.run(Object.fromEntries(given));
      const expected = computed(subject, inputs);
      expect(Object.keys(results), "outputs").to.have.members([...expected.keys()]);
      for (const [name, ours] of expected) {
        expect(results[name].type.dtype, name).to.equal(ours.type.dtype);
        const absolute = ours.type.dtype === "int32" ? 0 : tolerance * magnitudeOf(ours);
        expectNear(`${name}, batch ${batch}`, results[name], toFile(ours), absolute);
      }
    }
  } finally {
    await loaded.release();
  }
}

/** Refuses values of another shape, and the first element that is off by more than `absolute + relative * |expected|`. */
export function expectNear(name: string, got: Value, expected: Value, absolute: number, relative = 0): void {
  expect(got.type.shape, name).to.deep.equal(expected.type.shape);
  expected.elements.forEach((element, i) => {
    const off = Math.abs(got.elements[i] - element);
    const allowed = absolute + relative * Math.abs(element);
    if (!(off <= allowed))
      throw new Error(`${name}: element ${i} is ${got.elements[i]}, expected ${element} within ${allowed}`);
  });
}
