// Random programs of all differentiable operations: their gradients against central differences in float64, and what
// float32 computes against float64. LANGEVIN_CHAINS sets how many programs there are.

import { expect } from "chai";
import type { DeviceName, Tensor } from "langevin";
import { noGrad, scope, tensor } from "langevin";
import { ops } from "../../ts/ops/index.ts";
import { TapeNode } from "../../ts/tensor/tape.ts";
import { generator } from "../ops/draw.ts";
import { cpuIsBuilt } from "./devices.ts";
import { operations } from "./random-operations.ts";
import type { Program } from "./random-programs.ts";
import { drawProgram, leavesOf, lossOf, print, run, shrink, withDefaults } from "./random-programs.ts";

const count = Number(process.env.LANGEVIN_CHAINS ?? 300);

const elementsOf = (value: Tensor): number[] => [value.toArray()].flat(16) as number[];

const largest = (elements: readonly number[]): number => elements.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** Gradients of the leaves in order. */
function gradientsOf(program: Program): number[][] {
  return scope(() => {
    const leaves = leavesOf(program);
    lossOf(program, run(program, leaves)).backward();
    return leaves.map((leaf) => (leaf.grad ? elementsOf(leaf.grad) : new Array<number>(leaf.size).fill(0)));
  });
}

/** The loss with every leaf moved by `step` along a direction. */
function lossAlong(program: Program, direction: readonly (readonly number[])[], step: number): number {
  const moved = program.leaves.map((leaf, k) => ({
    ...leaf,
    data: leaf.data.map((x, i) => x + step * direction[k][i]),
  }));
  return noGrad(() => scope(() => lossOf(program, run(program, leavesOf({ ...program, leaves: moved }))).item()));
}

/** What is wrong with a program's gradient, seen along random directions through all leaves. */
function wrongSlope(program: Program): string | undefined {
  return withDefaults("ts", "float64", () => {
    const gradients = gradientsOf(program);
    const random = generator(program.seed + 7);
    for (let i = 0; i < 2; i++) {
      const direction = program.leaves.map(({ data }) => data.map(() => 2 * random() - 1));
      const products = gradients.flatMap((gradient, k) => gradient.map((g, j) => g * direction[k][j]));
      const got = products.reduce((sum, x) => sum + x, 0);
      const scale = products.reduce((sum, x) => sum + Math.abs(x), 1);
      const step = 1e-6;
      const expected = (lossAlong(program, direction, step) - lossAlong(program, direction, -step)) / (2 * step);
      if (!(Math.abs(got - expected) <= 1e-7 * scale)) return `the slope is ${expected}, the gradient says ${got}`;
    }
    return undefined;
  });
}

/** All floating values of a program and the gradients of its leaves, by name. */
function results(program: Program, disturb?: (value: Tensor) => Tensor): Map<string, readonly number[]> {
  return scope(() => {
    const leaves = leavesOf(program);
    const values = run(program, leaves, (compute) => {
      const value = compute();
      return disturb && value.dtype !== "int32" ? disturb(value) : value;
    });
    lossOf(program, values).backward();
    const floats = [...values].filter(([, { dtype }]) => dtype !== "int32");
    const gradients = program.leaves.map(({ name }, i) => [`gradient of ${name}`, leaves[i].grad] as const);
    return new Map([...floats, ...gradients].flatMap(([name, value]) => (value ? [[name, elementsOf(value)]] : [])));
  });
}

/** Roundings of a float32 number, and the much smaller ones by which it is found out how far they spread. */
const [rounding, disturbance] = [2 ** -24, 2 ** -32];
/** How many roundings of the worst size one operation may take: a few of its own, and sums of many terms. */
const roundings = 24;

/**
 * How far each result may be off in float32. Every value is multiplied by factors near to 1, and with it the gradient
 * that comes back through it; what this does to the results is what as small roundings do.
 */
function bounds(program: Program, exact: ReadonlyMap<string, readonly number[]>): Map<string, number> {
  const random = generator(program.seed + 11);
  const bounds = new Map([...exact].map(([name, elements]) => [name, largest(elements) + rounding]));
  for (let i = 0; i < 3; i++) {
    const disturbed = results(program, (value) => {
      const factors = Array.from({ length: value.size }, () => 1 + (random() < 0.5 ? -disturbance : disturbance));
      return value.mul(tensor(factors, { shape: value.shape }));
    });
    for (const [name, elements] of disturbed) {
      const moved = largest(elements.map((x, k) => x - exact.get(name)![k])) / disturbance;
      bounds.set(name, Math.max(bounds.get(name)!, moved));
    }
  }
  return new Map([...bounds].map(([name, bound]) => [name, roundings * rounding * bound]));
}

/** What float32 on `device` computes too far from float64 on `ts`. */
function wrongDigits(program: Program, device: DeviceName): string | undefined {
  const [exact, allowed] = withDefaults("ts", "float64", () => {
    const exact = results(program);
    return [exact, bounds(program, exact)] as const;
  });
  const rounded = withDefaults(device, "float32", () => results(program));
  for (const [name, elements] of exact) {
    const got = rounded.get(name);
    if (got?.length !== elements.length) return `${name} has ${got?.length} elements, expected ${elements.length}`;
    const k = elements.findIndex((x, i) => !(Math.abs(x - got[i]) <= allowed.get(name)!));
    if (k >= 0) return `${name}[${k}] is ${got[k]}, expected ${elements[k]} within ${allowed.get(name)}`;
  }
  return undefined;
}

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
    // Made of nothing; changing the dtype; within gradients only; with the tables of a schedule.
    const others = ["fill", "rand", "randn", "cast", "conv2dWeightGradient", "embeddingGradient", "addNoise"];
    const missing = Object.values(ops).filter(({ name, gradient }) => gradient && !reached.has(name));
    expect(missing.map(({ name }) => name).sort()).to.deep.equal(others.sort());
  });
});
