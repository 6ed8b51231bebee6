// Random programs of all differentiable operations: their gradients against central differences in float64, and what
// float32 computes against float64. LANGEVIN_CHAINS sets how many programs there are.

import { expect } from "chai";
import type { Tensor } from "langevin";
import { scope } from "langevin";
import { ops } from "../../ts/ops/index.ts";
import { TapeNode } from "../../ts/tensor/tape.ts";
import { cpuIsBuilt, cudaOnHost } from "./devices.ts";
import { wrongDigits, wrongSlope } from "./program-faults.ts";
import { operations } from "./random-operations.ts";
import type { Program } from "./random-programs.ts";
import { drawProgram, leavesOf, print, run, shrink } from "./random-programs.ts";

const count = Number(process.env.LANGEVIN_CHAINS ?? (cudaOnHost ? 150 : 1000));

/** Fails with the smallest program that still has a fault, as text. */
function expectNone(programs: readonly Program[], faultOf: (program: Program) => string | undefined): void {
  const failing = programs.find((program) => faultOf(program) !== undefined);
  if (!failing) return;
  const smallest = shrink(failing, (program) => faultOf(program) !== undefined);
  expect.fail(`${faultOf(smallest)}\n${print(smallest)}`);
}

/** Names of the ops that made a value. */
function opsBelow(value: Tensor, names: Set<string>): void {
  const waiting: unknown[] = [value.node];
  for (let node = waiting.pop(); waiting.length > 0 || node; node = waiting.pop())
    if (node instanceof TapeNode) {
      names.add(node.op.name);
      waiting.push(...node.edges);
    }
}

describe(`${count} random programs`, function () {
  this.timeout(120_000 + 1000 * count);
  let programs: Program[];
  before(() => {
    programs = Array.from({ length: count }, (_, i) => drawProgram(i + 1, 2 + (i % 16)));
  });

  if (cudaOnHost) {
    it("give in float32 on cuda what they give in float64", () => {
      expectNone(programs, (program) => wrongDigits(program, "cuda"));
    });
    return;
  }

  it("have the gradients that central differences have", () => {
    expectNone(programs, wrongSlope);
  });

  it("give in float32 on ts what they give in float64", () => {
    expectNone(programs, (program) => wrongDigits(program, "ts"));
  });

  (cpuIsBuilt ? it : it.skip)("give in float32 on cpu what they give in float64", () => {
    expectNone(programs, (program) => wrongDigits(program, "cpu"));
  });

  it("contain every operation, and reach every op that has a gradient", () => {
    const drawn = new Set(programs.flatMap((program) => program.operations));
    expect([...drawn].sort()).to.deep.equal(Object.keys(operations).sort());
    const reached = new Set<string>();
    for (const program of programs)
      scope(() => {
        const values = run(program, leavesOf(program));
        for (const value of values.values()) opsBelow(value, reached);
      });
    // Made of nothing; changing the dtype; with tables of coefficients.
    const others = ["fill", "rand", "randn", "cast", "addNoise", "linearCombination"];
    const wanted = Object.values(ops).filter(({ name, gradient }) => gradient && !name.endsWith("Gradient"));
    const missing = wanted.filter(({ name }) => !reached.has(name));
    expect(missing.map(({ name }) => name).sort()).to.deep.equal(others.sort());
  });
});
