// An op that may take over an operand's memory gives the same bits there as in memory of its own, on every executor.

import { expect } from "chai";

import type { AnyOp } from "../../ts/ops/index.ts";
import { opList } from "../../ts/ops/index.ts";
import type { Case } from "./draw.ts";
import { drawCase } from "./draw.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { layouts, runCase, runInPlace } from "./run-op.ts";
import { firstDifference } from "./tolerance.ts";

/** The inputs that the output may replace in this case: those that the record lists, in the output's shape and dtype. */
function replaceable({ op, inputs, attributes }: Case): number[] {
  const output = op.infer(
    inputs.map((value) => value?.type),
    attributes,
  );
  return op.inPlace!.filter((index) => {
    const type = inputs[index]?.type;
    return type?.dtype === output.dtype && type.shape.join() === output.shape.join();
  });
}

/** The case with one value for several inputs: `x op x`. */
function withOneValue(c: Case, indexes: readonly number[]): Case {
  const inputs = [...c.inputs];
  for (const index of indexes) inputs[index] = c.inputs[indexes[0]];
  return { ...c, inputs };
}

const listed = opList.filter((op) => op.inPlace);
const hasSeveral = (op: AnyOp): boolean =>
  op.samples.some((sample) => replaceable(drawCase(op, sample, "float32")).length > 1);

describe("in place", () => {
  it("ops list inputs that exist, each once, and have samples in which each can be replaced", () => {
    for (const op of listed) {
      expect(op.writes, op.name).to.equal(undefined);
      expect(new Set(op.inPlace).size, op.name).to.equal(op.inPlace!.length);
      const replaced = op.samples.flatMap((sample) => replaceable(drawCase(op, sample, "float32")));
      expect([...new Set(replaced)].sort(), op.name).to.deep.equal([...op.inPlace!].sort());
    }
  });

  for (const subject of [oracle, ...subjects])
    describeSubject(subject, () => {
      const expectSameBits = (c: Case, indexes: readonly number[]): void => {
        for (const layout of layouts) {
          const apart = runCase(subject.open(), c, layout)[0];
          for (const index of indexes) {
            const { elements } = runInPlace(subject.open(), c, index, layout);
            const where = `input ${index}, ${layout.name}`;
            expect(firstDifference(elements, apart.elements), where).to.equal(undefined);
          }
        }
      };

      for (const op of listed) {
        it(`${op.name} replaces an operand`, () => {
          for (const sample of op.samples) {
            const c = drawCase(op, sample, subject.float);
            expectSameBits(c, replaceable(c));
          }
        });

        if (hasSeveral(op))
          it(`${op.name} replaces an operand that is all of its operands`, () => {
            for (const sample of op.samples) {
              const c = drawCase(op, sample, subject.float);
              const indexes = replaceable(c);
              if (indexes.length > 1) expectSameBits(withOneValue(c, indexes), indexes);
            }
          });
      }
    });
});
