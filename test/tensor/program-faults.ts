// What can be wrong with a random program: its gradient, or what it gives in float32.

import type { DeviceName, Tensor } from "langevin";
import { noGrad, scope, tensor, zerosLike } from "langevin";
import { generator } from "../ops/draw.ts";
import type { Program } from "./random-programs.ts";
import { largestOperand, leavesOf, lossOf, run, withDefaults } from "./random-programs.ts";

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
export function wrongSlope(program: Program): string | undefined {
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

const gradientName = (leaf: string): string => `gradient of ${leaf}`;
const isGradient = (name: string): boolean => name.startsWith(gradientName(""));

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
    const gradients = program.leaves.map(({ name }, i) => [gradientName(name), leaves[i].grad] as const);
    return new Map([...floats, ...gradients].flatMap(([name, value]) => (value ? [[name, elementsOf(value)]] : [])));
  });
}

/** Roundings of a float32 number, and the much smaller ones by which it is found out how far they spread. */
const [rounding, disturbance] = [2 ** -24, 2 ** -32];
/** How many roundings of the worst size one operation may take: a few of its own, and sums of many terms. */
const roundings = 24;

/** The largest gradient of any value of a program: what cancels inside of one operation is not larger by much. */
function largestGradient(program: Program): number {
  return scope(() => {
    const leaves = leavesOf(program);
    const zero: Tensor[] = [];
    const values = run(program, leaves, (compute, { constant }) => {
      const value = compute();
      if (constant) return value;
      zero.push(zerosLike(value).requireGrad());
      return value.add(zero[zero.length - 1]);
    });
    lossOf(program, values).backward();
    return largest([...leaves, ...zero].flatMap(({ grad }) => (grad ? elementsOf(grad) : [])));
  });
}

/**
 * How far each result may be off in float32: by roundings of its own magnitude, of operands and gradients, and by what
 * roundings of the values before it grow to. For the last, every value is multiplied by factors near to 1, and with it
 * the gradient that comes back through it.
 */
function bounds(program: Program, exact: ReadonlyMap<string, readonly number[]>): Map<string, number> {
  const random = generator(program.seed + 11);
  const steepest = largestGradient(program);
  const own = [...exact].map(
    ([name, elements]) => [name, isGradient(name) ? steepest : Math.max(largestOperand, largest(elements))] as const,
  );
  const bounds = new Map(own);
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
export function wrongDigits(program: Program, device: DeviceName): string | undefined {
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
