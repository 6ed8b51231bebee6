// Checks of products in tf32 and bf16: that operands are rounded and sums are float32.

import type { Precision } from "langevin";
import type { Executor } from "../../ts/device/executor.ts";
import type { AnyOp } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import type { Case, Value } from "./draw.ts";
import { valueOf } from "./draw.ts";
import type { Layout } from "./run-op.ts";
import { evaluate } from "./run-op.ts";
import { expectClose, firstDifference, termsOf } from "./tolerance.ts";

/** Ops that multiply their first operands, so many of them. */
export const products: readonly (readonly [op: AnyOp, operands: number])[] = [
  [ops.conv2d, 2],
  [ops.convTranspose2d, 2],
  [ops.conv2dWeightGradient, 2],
  [ops.matmul, 2],
  // Whose products' results are operands of other products.
  [ops.attention, 3],
  [ops.attentionGradient, 4],
];

/** Half the distance from 1 to the next number, in that of float32. */
const units: Readonly<Record<Precision, number>> = { float32: 1, tf32: 2 ** 13, bf16: 2 ** 16 };

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);
/** Rounds a float32 number to one with fewer bits, as tensor cores take it: ties away from 0 for tf32, to even for bf16. */
const rounders: Readonly<Record<Precision, (x: number) => number>> = {
  float32: (x) => x,
  tf32: (x) => {
    word[0] = x;
    bits[0] = (bits[0] + 0x1000) & ~0x1fff;
    return word[0];
  },
  bf16: (x) => {
    word[0] = x;
    bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & ~0xffff;
    return word[0];
  },
};

/** Runs commands as programs of a precision. */
export function inPrecision(executor: Executor, precision: Precision): Executor {
  const submit: Executor["submit"] = (commands) => {
    const id = executor.load({
      lists: [commands],
      steps: [{ list: 0 }],
      slots: [],
      reports: [],
      checkFinite: false,
      precision,
    });
    executor.run(id, new Float64Array(0));
    executor.unload(id);
  };
  const { allocate, release, write, readSync } = executor;
  const bound = { allocate, release, write, readSync };
  for (const name of Object.keys(bound) as (keyof typeof bound)[])
    Object.assign(bound, { [name]: bound[name].bind(executor) });
  return { ...bound, submit } as unknown as Executor;
}

type Float = "float32" | "float64";

/** The case with its first operands rounded, its numbers of some type. */
function rounded({ op, inputs, attributes }: Case, precision: Precision, operands: number, dtype: Float): Case {
  const change = (value: Value | undefined, i: number): Value | undefined => {
    if (value === undefined || value.type.dtype === "int32") return value;
    const elements = Array.from(value.elements, i < operands ? rounders[precision] : (x) => x);
    return valueOf(dtype, value.type.shape, elements);
  };
  return { op, inputs: inputs.map(change), attributes };
}

/** What results are compared with: an executor, and the type in which it computes. In float32 it errs, too. */
export interface Reference {
  readonly executor: Executor;
  readonly dtype: Float;
}

/**
 * By how much more tensor cores err than `expectClose` grants to sums of n terms, which are rounded: they cut each sum off behind the
 * last bit, always towards 0, so that a loss of half a bit on average (2^-24 of the sum or less) adds up over n/4 to n/16
 * sums (of as many products as the hardware adds at a time) that grow to their end: to n/8 * 2^-24 at most, against the
 * 4 sqrt(n) * 2^-24 that are granted. From n = 1024 on, which is where the two meet, the first is taken.
 */
function truncation(c: Case, exact: Value): number {
  return Math.max(1, Math.sqrt(termsOf(c, exact)) / 32);
}

/**
 * Checks one of `products` on device cuda in a precision. Returns whether the result is another one than in float32, as it must be
 * in most cases.
 */
export function checkInPrecision(
  cuda: Executor,
  precision: Precision,
  c: Case,
  layout: Layout,
  reference: Reference,
): boolean {
  const operands = products.find(([op]) => op === c.op)![1];
  const got = evaluate(inPrecision(cuda, precision), c, layout);
  const exact = evaluate(reference.executor, rounded(c, precision, operands, reference.dtype));
  const isChained = operands > 2;
  // A weight that is rounded errs by a unit of it: a sum of n by about as much of the root of n.
  const own = isChained ? Math.max(1, units[precision] / 4) : precision === "float32" ? 1 : truncation(c, exact);
  expectClose(c, got, exact, own + (reference.dtype === "float32" ? 1 : 0));
  if (isChained) {
    // That leaves room for operands that were not rounded, which so does not.
    const again = evaluate(inPrecision(cuda, precision), rounded(c, precision, operands, "float32"), layout);
    const problem = firstDifference(got.elements, again.elements);
    if (problem !== undefined) throw new Error(`with operands that were rounded before, ${problem}`);
  }
  return firstDifference(got.elements, evaluate(cuda, c, layout).elements) !== undefined;
}
