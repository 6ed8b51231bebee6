// Ops that make values out of nothing: constants, seeded noise, uniform numbers and integers.

import { ArgumentError } from "../errors/index.ts";
import { expectHolds, expectSizes } from "./checks.ts";
import type { DType, Op, OpBuilder, Shape, TensorType } from "./types.ts";
import { defineOp } from "./types.ts";

const floatTypes = ["float32", "float64"] as const;

/** A constant, which the dtype must hold. */
export const fill: Op<{
  readonly shape: "ints";
  readonly dtype: readonly ["float32", "int32", "float64"];
  readonly value: "float";
}> = defineOp({
  name: "fill",
  inputs: [],
  attributes: { shape: "ints", dtype: ["float32", "int32", "float64"], value: "float" },
  perStep: ["value"],
  infer(_, { shape, dtype, value }) {
    expectSizes("fill", shape);
    expectHolds("fill", dtype, value);
    return { shape, dtype };
  },
  gradient: () => [],
  samples: [
    { name: "float", inputs: [], attributes: { shape: [3, 5], dtype: "float32", value: 0.3 } },
    { name: "int", inputs: [], attributes: { shape: [7], dtype: "int32", value: -3 } },
    { name: "scalar", inputs: [], attributes: { shape: [], dtype: "float32", value: 2.5 } },
  ],
});

/** A number as a value that broadcasts: for gradient rules. */
export function scalar<V>(b: OpBuilder<V>, dtype: DType, value: number): V {
  return b.apply(fill, [], { shape: [], dtype, value });
}

/** The gradient of what is constant between its steps. */
export function zeros<V>(b: OpBuilder<V>, { shape, dtype }: TensorType): V {
  return b.apply(fill, [], { shape, dtype, value: 0 });
}

/**
 * Where in the noise a tensor lies. Element e of row i (axis 0) is drawn at the Philox counter
 * (e / 4, draw, image + i, step) under the 64-bit key `seed`; e counts within the row.
 */
export const counter = { seed: "seed", draw: "int", image: "int", step: "int" } as const;
/** What of it differs between the steps of a plan. */
export const perStepCounter = ["image", "step"] as const;

/** A counter word: the 32 bits that Philox has for it. */
const counterWord = 2 ** 32;

/** Refuses a place in the noise that the generator's counter does not hold. */
export function expectCounter(
  op: string,
  shape: Shape,
  at: { readonly draw: number; readonly image: number; readonly step: number },
): void {
  for (const [name, value] of [
    ["draw", at.draw],
    ["image", at.image],
    ["step", at.step],
  ] as const)
    if (!Number.isInteger(value) || value < 0 || value >= counterWord)
      throw new ArgumentError({ op, problem: `${name} is ${value}, expected an integer from 0 to 2^32 - 1.` });
  if (at.image + (shape[0] ?? 1) > counterWord)
    throw new ArgumentError({ op, problem: `images ${at.image} to ${at.image + shape[0]} exceed 2^32.` });
}

/** Standard normal noise: the same bits on every executor, at any batch size. In float64 the same float32 values. */
export const randn = defineOp({
  name: "randn",
  inputs: [],
  exact: true,
  attributes: { shape: "ints", dtype: floatTypes, ...counter },
  parts: [],
  wholeImages: true,
  perStep: perStepCounter,
  infer(_, { shape, dtype, ...at }) {
    expectSizes("randn", shape);
    expectCounter("randn", shape, at);
    return { shape, dtype };
  },
  gradient: () => [],
  samples: [
    {
      name: "odd rows",
      inputs: [],
      attributes: { shape: [3, 5, 7], dtype: "float32", seed: 7n, draw: 1, image: 2, step: 9 },
    },
    {
      name: "64-bit seed",
      inputs: [],
      attributes: { shape: [2, 4096], dtype: "float32", seed: 0xfedcba9876543210n, draw: 0, image: 0, step: 0 },
    },
    { name: "scalar", inputs: [], attributes: { shape: [], dtype: "float32", seed: 1n, draw: 0, image: 0, step: 0 } },
  ],
});

/** Uniform numbers in [low, high): low + (high - low) * u, each operation rounded to float32, u a multiple of 2^-24. */
export const rand = defineOp({
  name: "rand",
  inputs: [],
  exact: true,
  attributes: { shape: "ints", dtype: floatTypes, ...counter, low: "float", high: "float" },
  parts: [],
  wholeImages: true,
  perStep: perStepCounter,
  infer(_, { shape, dtype, low, high, ...at }) {
    expectSizes("rand", shape);
    expectCounter("rand", shape, at);
    if (!(low < high)) throw new ArgumentError({ op: "rand", problem: `low ${low} is not below high ${high}.` });
    return { shape, dtype };
  },
  gradient: () => [],
  samples: [
    {
      name: "unit",
      inputs: [],
      attributes: { shape: [3, 33], dtype: "float32", seed: 3n, draw: 2, image: 0, step: 1, low: 0, high: 1 },
    },
    {
      name: "symmetric",
      inputs: [],
      attributes: { shape: [130], dtype: "float32", seed: 4n, draw: 2, image: 5, step: 1, low: -0.25, high: 0.25 },
    },
  ],
});

/** Integers low <= value < high: low + floor(x * (high - low) / 2^32) of a 32-bit x. */
export const randint = defineOp({
  name: "randint",
  inputs: [],
  exact: true,
  attributes: { shape: "ints", ...counter, low: "int", high: "int" },
  parts: [],
  wholeImages: true,
  perStep: perStepCounter,
  infer(_, { shape, low, high, ...at }) {
    expectSizes("randint", shape);
    expectCounter("randint", shape, at);
    if (!Number.isInteger(low) || !Number.isInteger(high) || low >= high || low < -(2 ** 31) || high > 2 ** 31 - 1)
      throw new ArgumentError({ op: "randint", problem: `no int32 lies in ${low} <= value < ${high}.` });
    return { shape, dtype: "int32" };
  },
  samples: [
    {
      name: "timesteps",
      inputs: [],
      attributes: { shape: [128], seed: 11n, draw: 2, image: 0, step: 5, low: 0, high: 1000 },
    },
    {
      name: "wide",
      inputs: [],
      attributes: { shape: [3, 9], seed: 11n, draw: 2, image: 1, step: 5, low: -2147483648, high: 2147483647 },
    },
  ],
});
