// The kernel distance (KID) of two sets of pictures, by their features.

import { shuffledOrder } from "../data/shuffle.ts";
import { ArgumentError } from "../errors/index.ts";
import type { Seed } from "../tensor/random.ts";
import { draws, seedKey } from "../tensor/random.ts";
import type { Features } from "./features.ts";
import { expectEnough, expectSameWidth, readFeatures } from "./features.ts";
import type { Matrix } from "./matrices.ts";
import { dot } from "./matrices.ts";

/** How the kernel distance is estimated. */
export interface KernelDistanceOptions {
  /** Pictures of each set in a subset. Without it the whole sets are compared, in time that grows with their square. */
  readonly subsetSize?: number;
  /** Number of subsets whose distances are averaged; default 100. */
  readonly subsets?: number;
  /** Decides what is in the subsets; default 0. */
  readonly seed?: Seed;
}

/**
 * The kernel distance (KID, Binkowski et al. 2018): the unbiased estimate of the squared maximum mean discrepancy (Gretton
 * et al. 2012, eq. 3) with the kernel (x·y / D + 1)³, of features [N, D] of at least two pictures on each side. Unlike the
 * Frechet distance it has no bias for small sets; it may be a little below 0. Papers commonly give the mean over 100 subsets
 * of 1,000 pictures.
 */
export async function kernelDistance(
  first: Features,
  second: Features,
  options: KernelDistanceOptions = {},
): Promise<number> {
  const op = "kernelDistance";
  const [a, b] = [await readFeatures(op, "first", first), await readFeatures(op, "second", second)];
  expectSameWidth(op, a.columns, b.columns);
  const { subsetSize, subsets = 100, seed = 0 } = options;
  expectEnough(op, "the first features", a.rows, subsetSize ?? 2);
  expectEnough(op, "the second features", b.rows, subsetSize ?? 2);
  if (subsetSize === undefined) return discrepancy(a, allOf(a), b, allOf(b));
  for (const [name, value, least] of [
    ["subsetSize", subsetSize, 2],
    ["subsets", subsets, 1],
  ] as const)
    if (!Number.isInteger(value) || value < least)
      throw new ArgumentError({ op, problem: `${name} is ${value}, expected an integer >= ${least}.` });
  const key = seedKey(op, seed);
  const choose = ({ rows }: Matrix, number: number): Int32Array =>
    shuffledOrder(rows, key, number, draws.shuffle).subarray(0, subsetSize);
  let sum = 0;
  for (let k = 0; k < subsets; k++) sum += discrepancy(a, choose(a, 2 * k), b, choose(b, 2 * k + 1));
  return sum / subsets;
}

/** The mean of the kernel over pairs within each set, of different pictures, less that over pairs between the sets, twice. */
function discrepancy(a: Matrix, inA: Int32Array, b: Matrix, inB: Int32Array): number {
  return withinMean(a, inA) + withinMean(b, inB) - 2 * betweenMean(a, inA, b, inB);
}

function withinMean(set: Matrix, chosen: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < chosen.length; i++) for (let j = 0; j < i; j++) sum += kernel(set, chosen[i], set, chosen[j]);
  return (2 * sum) / (chosen.length * (chosen.length - 1));
}

function betweenMean(a: Matrix, inA: Int32Array, b: Matrix, inB: Int32Array): number {
  let sum = 0;
  for (const i of inA) for (const j of inB) sum += kernel(a, i, b, j);
  return sum / (inA.length * inB.length);
}

function kernel(a: Matrix, i: number, b: Matrix, j: number): number {
  const d = a.columns;
  return (dot(a.data, i * d, b.data, j * d, d) / d + 1) ** 3;
}

function allOf({ rows }: Matrix): Int32Array {
  return Int32Array.from({ length: rows }, (_, i) => i);
}
