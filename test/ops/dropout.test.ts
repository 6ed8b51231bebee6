// Dropout draws the numbers of rand and drops the same elements on every executor, also where p is no float32.

import { expect } from "chai";

import { ops } from "../../ts/ops/index.ts";
import type { Value } from "./draw.ts";
import { drawInput, generator } from "./draw.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate, layouts } from "./run-op.ts";

const place = { seed: 0x123456789abcn, draw: 300, image: 1, step: 4 };
const shape = [3, 7, 1001];

/** What rand draws there. */
const uniform = evaluate(oracle.open(), {
  op: ops.rand,
  inputs: [],
  attributes: { ...place, shape, dtype: "float32", low: 0, high: 1 },
}).elements;

const threshold = uniform[17];
const probabilities: readonly [string, number][] = [
  ["0.1", 0.1],
  ["0.7", 0.7],
  ["one of the numbers drawn", threshold],
  ["hardly more than a number drawn", threshold + 2 ** -40],
  ["hardly less than a number drawn", threshold - 2 ** -40],
  ["0", 0],
  ["1", 1],
];

describe("dropout", () => {
  for (const subject of [oracle, ...subjects])
    describeSubject(subject, () => {
      for (const [name, p] of probabilities)
        for (const layout of layouts)
          it(`with p ${name} keeps what rand draws at p or above, ${layout.name}`, () => {
            const drawn = drawInput({ shape, range: [1, 2] }, generator(3));
            const x: Value = subject.float === "float32" ? drawn : { type: { shape, dtype: "float64" }, elements: Float64Array.from(drawn.elements) }; // prettier-ignore
            const y = evaluate(subject.open(), { op: ops.dropout, inputs: [x], attributes: { p, ...place } }, layout);
            y.elements.forEach((value, i) => {
              const expected = uniform[i] >= p ? x.elements[i] / (1 - p) : 0;
              expect(Math.abs(value - expected) <= 2e-7 * expected, `element ${i}: ${value}, ${expected}`).to.equal(
                true,
              );
            });
          });

      it("drops NaN and infinities, too", () => {
        const elements = (subject.float === "float32" ? Float32Array : Float64Array).from([
          NaN,
          Infinity,
          -Infinity,
          1,
        ]);
        const x: Value = { type: { shape: [1, 4], dtype: subject.float }, elements };
        const y = evaluate(subject.open(), { op: ops.dropout, inputs: [x], attributes: { p: 1, ...place } });
        expect([...y.elements]).to.deep.equal([0, 0, 0, 0]);
      });
    });
});
