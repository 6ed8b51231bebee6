// Compares the gradient rule of every op record with central differences, in float64 on the `ts` executor.

import { expect } from "chai";

import type { AnyAttributes, AnyOp, DType, GradientContext, OpBuilder } from "../../ts/ops/index.ts";
import { opList } from "../../ts/ops/index.ts";
import type { Case, Value } from "./draw.ts";
import { drawCase, drawInput, generator, magnitudeOf } from "./draw.ts";
import { oracle } from "./executors.ts";
import { evaluate } from "./run-op.ts";

/** Applies ops to values at once. */
const builder: OpBuilder<Value> = {
  apply: (op, inputs, attributes) => evaluate(oracle.open(), { op: op as AnyOp, inputs, attributes }),
  type: (value) => value.type,
};

interface Rule {
  readonly gradients: readonly (Value | undefined)[];
  /** What the rule looked at: inputs by their number, and the output as "output". */
  readonly read: ReadonlySet<number | "output">;
}

/** Runs the gradient rule, refusing to hand out what the record does not keep. */
function applyRule(c: Case, output: Value, gradient: Value, needs: (index: number) => boolean): Rule {
  const { op, inputs, attributes } = c;
  const read = new Set<number | "output">();
  const context: GradientContext<Value, AnyAttributes> = {
    attributes,
    inputTypes: inputs.map((value) => value?.type),
    outputType: output.type,
    input(index) {
      if (!op.keeps?.inputs?.includes(index)) throw new Error(`${op.name} reads input ${index} but does not keep it`);
      read.add(index);
      return inputs[index]!;
    },
    output() {
      if (!op.keeps?.output) throw new Error(`${op.name} reads its output but does not keep it`);
      read.add("output");
      return output;
    },
    gradient,
    needs,
  };
  return { gradients: op.gradient!(builder, context), read };
}

const isFloat = (value: Value | undefined): value is Value => value !== undefined && value.type.dtype !== "int32";

function dot(a: Value, b: Value): number {
  let sum = 0;
  for (let i = 0; i < a.elements.length; i++) sum += a.elements[i] * b.elements[i];
  return sum;
}

/** d/dx[i] of sum(output * cotangent). */
function difference(c: Case, index: number, i: number, cotangent: Value): number {
  const step = 1e-5;
  const at = (offset: number): number => {
    const moved = Float64Array.from(c.inputs[index]!.elements);
    moved[i] += offset;
    const inputs = c.inputs.map((value, k) => (k === index ? { type: value!.type, elements: moved } : value));
    return dot(evaluate(oracle.open(), { ...c, inputs }), cotangent);
  };
  return (at(step) - at(-step)) / (2 * step);
}

/** Up to `count` elements to try, spread over all. */
function chosen(size: number, count: number): number[] {
  return [...new Set(Array.from({ length: Math.min(size, count) }, (_, k) => Math.floor((k * size) / count)))];
}

/** Dtype of the output in the op's first sample. */
function outputDType(op: AnyOp): DType {
  const c = drawCase(op, op.samples[0], "float64");
  return op.infer(
    c.inputs.map((value) => value?.type),
    c.attributes,
  ).dtype;
}

describe("gradients of the op records", () => {
  it("are there, but for ops of integers, ops in place, fused gradients, and where the record says why not", () => {
    const without = opList.filter((op) => !op.gradient && !op.writes && !op.name.endsWith("Gradient"));
    const unexplained = without.filter((op) => op.withoutGradient === undefined && outputDType(op) !== "int32");
    expect(unexplained.map((op) => op.name)).to.deep.equal([]);
  });

  for (const op of opList) {
    if (!op.gradient) continue;
    const unread = new Set<number | "output">([
      ...(op.keeps?.inputs ?? []),
      ...(op.keeps?.output ? ["output"] : []),
    ] as (number | "output")[]);

    describe(op.name, () => {
      for (const sample of op.samples) {
        const c = drawCase(op, sample, "float64");
        const output = () => evaluate(oracle.open(), c);
        const outputType = op.infer(
          c.inputs.map((value) => value?.type),
          c.attributes,
        );
        if (outputType.dtype === "int32") continue;
        const cotangent = drawInput({ shape: outputType.shape, dtype: "float64" }, generator(99));

        it(`${sample.name}: equals central differences`, () => {
          const { gradients, read } = applyRule(c, output(), cotangent, (index) => isFloat(c.inputs[index]));
          read.forEach((item) => unread.delete(item));
          expect(gradients.length).to.be.at.most(c.inputs.length);
          c.inputs.forEach((input, index) => {
            const gradient = gradients[index];
            if (!isFloat(input) || op.constants?.includes(index))
              return expect(gradient, `input ${index}`).to.equal(undefined);
            if (!gradient) throw new Error(`input ${index} has no gradient`);
            expect(gradient.type, `input ${index}`).to.deep.equal(input.type);
            const scale = magnitudeOf(gradient, 1e-3);
            for (const i of chosen(input.elements.length, 24)) {
              const expected = difference(c, index, i, cotangent);
              expect(gradient.elements[i], `input ${index}, element ${i}`).to.be.closeTo(expected, 1e-6 * scale);
            }
          });
        });

        it(`${sample.name}: needs only what is asked for`, () => {
          const all = applyRule(c, output(), cotangent, () => true).gradients;
          c.inputs.forEach((input, index) => {
            if (!isFloat(input) || op.constants?.includes(index)) return;
            const alone = applyRule(c, output(), cotangent, (i) => i === index).gradients[index];
            expect(alone?.elements, `input ${index}`).to.deep.equal(all[index]?.elements);
          });
        });
      }

      it("reads everything that it keeps", () => expect([...unread]).to.deep.equal([]));
    });
  }
});
