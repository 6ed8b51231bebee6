// Every sample of every op that can be exported, as an ONNX graph of its own, against double arithmetic.

import { expect } from "chai";
import { ExportError } from "langevin";
import type { Tensor } from "langevin";
import { permute } from "../../../ts/io/layout.ts";
import type { AnyOp, TensorType } from "../../../ts/ops/index.ts";
import { opList, sizeOf } from "../../../ts/ops/index.ts";
import { toOnnx } from "../../../ts/pipeline/export-onnx.ts";
import { ruleFor, views } from "../../../ts/pipeline/onnx/rules.ts";
import { apply } from "../../../ts/tensor/tensor.ts";
import type { Case, Value } from "../../ops/draw.ts";
import { drawCase, magnitudeOf } from "../../ops/draw.ts";
import { oracle } from "../../ops/executors.ts";
import { evaluate } from "../../ops/run-op.ts";
import { expectClose } from "../../ops/tolerance.ts";
import { rejection } from "../../failure.ts";
import { expectNear } from "./agreement.ts";
import { describeWithRuntime, runOnnx } from "./runtime.ts";

const isExportable = (op: AnyOp): boolean => views.includes(op) || typeof ruleFor(op) === "function";

const reversedAxes = ({ shape }: TensorType): number[] => shape.map((_, axis) => shape.length - 1 - axis);

/** A value with its axes in the opposite order. */
function reversed({ type, elements }: Value): Value {
  const { data, shape } = permute(elements, type.shape, reversedAxes(type));
  return { type: { ...type, shape }, elements: data };
}

/**
 * The op as a model of its own, with the inputs of the case: as they are, or given with their axes in the opposite order,
 * which rules then find stored so.
 */
async function modelOf({ op, inputs, attributes }: Case, order: "our order" | "the opposite order") {
  const turned = order === "the opposite order";
  const present = inputs.flatMap((value, i) => (value ? [[`x${i}`, turned ? reversed(value) : value] as const] : []));
  const types = present.map(([name, { type }]) => [name, type as { shape: number[]; dtype: "float32" }] as const);
  const forward = (...given: Tensor[]): Tensor => {
    const operands = given.map((x) => (turned ? x.permute(reversedAxes(x)) : x));
    return apply(
      op,
      inputs.map((value) => value && operands.shift()!),
      attributes as never,
    );
  };
  const model = await toOnnx({ forward, inputs: Object.fromEntries(types), layout: "NHWC" });
  return { model, inputs: Object.fromEntries(present) };
}

/** Half the distance between 1 and the next float32. */
const unit = 2 ** -24;

/**
 * How many roundings of the largest number among operands and results a runtime's float32 may be off: means and
 * coordinates are rounded to float32 before they are used, sums are not pairwise, sigmoids and the like are polynomials.
 */
function roundings(c: Case, { elements }: Value): number {
  const { op, inputs } = c;
  if (op.name === "resize2d") return 4 * Math.max(...inputs[0]!.type.shape.slice(1, 3)); // coordinates
  return 4 * Math.sqrt(termsOf(c, elements.length));
}

/** How many numbers are added up for one of the results. */
function termsOf({ op, inputs, attributes }: Case, results: number): number {
  const types = inputs.map((value) => value?.type);
  if (op.terms) return op.terms(types, attributes);
  if (op.name.endsWith("Norm")) return sizeOf(types[0]!.shape.slice(1)); // for a mean, if not for the result
  const largest = Math.max(1, ...inputs.map((value) => value?.elements.length ?? 0));
  return Math.max(1, largest / Math.max(1, results));
}

/** Refuses a result that is further from the expected one than a runtime's roundings explain; moved elements are exact. */
function expectAgrees(c: Case, got: Value, expected: Value): void {
  if (c.op.exact === true || got.type.dtype === "int32") {
    expectClose(c, got, expected);
    return;
  }
  const magnitude = Math.max(...[expected, ...c.inputs].map((value) => (value ? magnitudeOf(value) : 0)));
  const absolute = roundings(c, expected) * unit * magnitude;
  expectNear(c.op.name, got, expected, absolute, 8 * unit);
}

/** The one rule that does not hold for all samples: a reverse step may draw its noise. */
const isRefused = ({ op, inputs }: Case): boolean => op.name === "ddpmStep" && inputs[4] === undefined;

describe("rules of ONNX export", () => {
  for (const op of opList)
    it(`${op.name} can be exported, or there is a reason why not`, () => {
      const rule = views.includes(op) ? "a view" : ruleFor(op);
      expect(rule, `write its rule in ts/pipeline/onnx/rules/, or give the reason in ts/pipeline/onnx/rules.ts`).to
        .exist;
    });
});

describeWithRuntime("ops in onnxruntime", () => {
  for (const order of ["our order", "the opposite order"] as const)
    describe(`on values stored in ${order}`, () => {
      for (const op of opList.filter(isExportable))
        for (const sample of op.samples)
          it(`${op.name}: ${sample.name}`, async () => {
            const c = drawCase(op, sample, "float32");
            if (isRefused(c)) {
              const error = await rejection(modelOf(c, order));
              expect(error).to.be.instanceOf(ExportError).with.property("problem").that.includes("noise");
              return;
            }
            const { model, inputs } = await modelOf(c, order);
            const { output } = await runOnnx(model, inputs);
            const expected = evaluate(oracle.open(), drawCase(op, sample, "float64"));
            expect(output.type.dtype === "int32").to.equal(expected.type.dtype === "int32");
            expectAgrees(c, output, expected);
          });
    });
});
