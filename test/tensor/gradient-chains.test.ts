// Random programs of many operations, whose gradients are compared with central differences in float64.

import { expect } from "chai";
import fc from "fast-check";
import type { Tensor } from "langevin";
import { concat, linear, mse, noGrad, scope, setDefaultDType, tensor } from "langevin";
import { generator } from "../ops/draw.ts";
import { useDevice } from "./devices.ts";

/** One instruction of a program: an operation, and which earlier values it takes. */
interface Instruction {
  readonly operation: number;
  readonly a: number;
  readonly b: number;
}

/** Results stay within about [-3, 3], so that chains of any length keep their digits. */
type Operation = (a: Tensor, b: Tensor) => Tensor | undefined;

const fits = (a: Tensor, b: Tensor): boolean =>
  a.shape.every((n, i) => {
    const m = b.shape[i - a.rank + b.rank] ?? 1;
    return m === n || m === 1 || n === 1;
  });

/** Whether no element lies so near to the kink at 0 that a difference would step over it. */
const clearOfZero = (a: Tensor): boolean => {
  const values = [a.toArray()].flat(9) as number[];
  return values.every((value) => Math.abs(value) > 1e-3);
};

const operations: Record<string, Operation> = {
  add: (a, b) => (fits(a, b) ? a.add(b).tanh() : undefined),
  sub: (a, b) => (fits(a, b) ? a.sub(b).tanh() : undefined),
  mul: (a, b) => (fits(a, b) ? a.mul(b).tanh() : undefined),
  div: (a, b) => (fits(a, b) ? a.div(b.square().add(1)) : undefined),
  square: (a) => a.mul(0.5).square(),
  sqrt: (a) => a.square().add(0.5).sqrt(),
  exp: (a) => a.sigmoid().exp(),
  log: (a) => a.square().add(1).log(),
  silu: (a) => a.silu(),
  sigmoid: (a) => a.sigmoid(),
  relu: (a) => (clearOfZero(a) ? a.relu() : undefined),
  abs: (a) => (clearOfZero(a) ? a.abs() : undefined),
  neg: (a) => a.neg(),
  clone: (a) => a.clone(),
  transpose: (a) => (a.rank >= 2 ? a.transpose() : undefined),
  flatten: (a) => a.reshape([-1]),
  "to a column": (a) => a.reshape([-1, 1]),
  "first half": (a) => (a.rank > 0 && a.shape[0] > 1 ? a.slice([0, Math.ceil(a.shape[0] / 2)]) : undefined),
  "last row": (a) => (a.rank > 0 ? a.slice(-1) : undefined),
  "every other column": (a) => (a.rank === 2 ? a.slice(null, [0, a.shape[1], 2]) : undefined),
  concat: (a, b) =>
    a.rank === 2 && b.rank === 2 && a.shape[0] === b.shape[0] && a.shape[1] + b.shape[1] < 12
      ? concat([a, b], 1)
      : undefined,
  "join rows": (a, b) => (a.rank === 1 && b.rank === 1 && a.size + b.size < 20 ? concat([a, b, a], 0) : undefined),
  sum: (a) => (a.rank > 0 ? a.sum(0, { keepDims: true }).tanh() : undefined),
  mean: (a) => (a.rank > 0 ? a.mean(-1) : undefined),
  broadcast: (a) => (a.rank === 1 && a.size < 8 ? a.broadcastTo([2, a.size]) : undefined),
  matmul: (a, b) =>
    a.rank === 2 && b.rank === 2 && a.shape[1] === b.shape[0] ? a.matmul(b).tanh() : undefined,
  linear: (a, b) =>
    b.rank === 2 && a.rank > 0 && a.shape[a.rank - 1] === b.shape[0]
      ? linear(a, b, b.slice(0)).tanh()
      : undefined,
  mse: (a, b) => (String(a.shape) === String(b.shape) ? mse(a, b) : undefined),
}; // prettier-ignore
const names = Object.keys(operations);
/** Operations that found operands to fit. */
const applied = new Set<string>();

/** Runs a program on leaves, and sums everything that it made into one number. */
function run(program: readonly Instruction[], leaves: readonly Tensor[]): Tensor {
  const values = [...leaves];
  for (const { operation, a, b } of program) {
    const name = names[operation % names.length];
    const result = operations[name](values[a % values.length], values[b % values.length]);
    if (!result) continue;
    values.push(result);
    applied.add(name);
  }
  return values.slice(-4).reduce((total, value, i) => total.add(value.mul(i + 0.5).sum()), tensor(0));
}

const shapes = [[2, 3], [3], [3, 3], []];

/** Values of the leaves, away from the kinks at 0. */
function drawLeaves(seed: number): number[][] {
  const random = generator(seed);
  return shapes.map((shape) =>
    Array.from({ length: shape.reduce((n, m) => n * m, 1) }, () => {
      const value = 2 * random() - 1;
      return value + Math.sign(value) * 0.05;
    }),
  );
}

function lossAt(program: readonly Instruction[], leaves: readonly number[][]): number {
  return noGrad(() =>
    scope(() =>
      run(
        program,
        leaves.map((data, i) => tensor(data, { shape: shapes[i] })),
      ).item(),
    ),
  );
}

describe("gradients of random programs on ts in float64", () => {
  useDevice("ts");
  before(() => {
    setDefaultDType("float64");
  });
  after(() => {
    setDefaultDType("float32");
  });

  const instruction = fc.record({ operation: fc.nat(1000), a: fc.nat(1000), b: fc.nat(1000) });

  it("equal central differences in 400 programs", () => {
    fc.assert(
      fc.property(fc.array(instruction, { minLength: 3, maxLength: 14 }), fc.nat(1e6), (program, seed) => {
        const data = drawLeaves(seed + 1);
        const gradients = scope(() => {
          const leaves = data.map((values, i) => tensor(values, { shape: shapes[i] }).requireGrad());
          const loss = run(program, leaves);
          if (loss.requiresGrad) loss.backward();
          return leaves.map((leaf) => [leaf.grad?.toArray() ?? []].flat(9) as number[]);
        });
        const random = generator(seed + 7);
        for (let k = 0; k < 6; k++) {
          const i = Math.floor(random() * data.length);
          const j = Math.floor(random() * data[i].length);
          const at = (offset: number): number =>
            lossAt(
              program,
              data.map((values, n) => (n === i ? values.map((v, m) => (m === j ? v + offset : v)) : values)),
            );
          const step = 1e-5;
          const expected = (at(step) - at(-step)) / (2 * step);
          const got = gradients[i][j] ?? 0;
          expect(got, `leaf ${i}, element ${j}`).to.be.closeTo(expected, 1e-6 * Math.max(1, Math.abs(expected)));
        }
      }),
      { numRuns: 400, seed: 1931 },
    );
    expect([...applied].sort(), "operations that were applied").to.deep.equal([...names].sort());
  });
});
