// Which input positions an output position of a resampled axis sees, and with which weights.
//
// Position o of an axis of n elements that becomes one of m; A = -0.75 (PyTorch's and OpenCV's):
//
//   source s  = (o + 1/2) n/m - 1/2, or o (n-1)/(m-1) with corners aligned (0 where m = 1);   f = floor(s), t = s - f
//   nearest     x[floor(o n/m)]
//   bilinear    (1 - t) x[f] + t x[f+1], where s < 0 counts as 0
//   bicubic     k(t+1) x[f-1] + k(t) x[f] + k(1-t) x[f+1] + k(2-t) x[f+2]
//               with k(d) = (A+2) d^3 - (A+3) d^2 + 1 for d <= 1, A d^3 - 5A d^2 + 8A d - 4A for 1 < d <= 2
//   area        mean of x[floor(o n/m)] ... x[ceil((o+1) n/m) - 1]
//
// Positions outside of the axis are those at its ends, whose weights add up. This is area_pixel_compute_source_index and
// adaptive_avg_pool2d of PyTorch, with source positions rounded once in double. native/cpu/kernels/interpolation.h is the same.

import type { ResizeMode } from "../../ops/resize.ts";

/** For each output position the first input position that it sees, and the weights of that and the following ones. */
export interface Taps {
  readonly first: readonly number[];
  readonly weights: readonly (readonly number[])[];
}

/** The taps of an axis of `from` elements that becomes one of `to`. */
export function interpolation(mode: ResizeMode, alignCorners: boolean, from: number, to: number): Taps {
  const first: number[] = [];
  const weights: number[][] = [];
  const add = (start: number, taps: readonly number[]): void => {
    const merged: number[] = [];
    let begin = -1;
    taps.forEach((weight, k) => {
      if (weight === 0) return; // so that a position is copied where it is met exactly
      const position = Math.min(Math.max(start + k, 0), from - 1);
      if (begin < 0) begin = position;
      merged[position - begin] = (merged[position - begin] ?? 0) + weight;
    });
    first.push(begin);
    weights.push(merged);
  };
  for (let o = 0; o < to; o++) {
    const start = Math.floor((o * from) / to);
    if (mode === "nearest") {
      add(start, [1]);
      continue;
    }
    if (mode === "area") {
      const count = Math.ceil(((o + 1) * from) / to) - start;
      add(start, new Array<number>(count).fill(1 / count));
      continue;
    }
    const source = sourceOf(o, alignCorners, from, to);
    if (mode === "bilinear") {
      const s = Math.max(source, 0);
      const t = s - Math.floor(s);
      add(Math.floor(s), [1 - t, t]);
    } else {
      const t = source - Math.floor(source);
      add(Math.floor(source) - 1, [outerCubic(t + 1), innerCubic(t), innerCubic(1 - t), outerCubic(2 - t)]);
    }
  }
  return { first, weights };
}

function sourceOf(o: number, alignCorners: boolean, from: number, to: number): number {
  if (alignCorners) return to === 1 ? 0 : (o * (from - 1)) / (to - 1);
  return ((o + 0.5) * from) / to - 0.5;
}

const A = -0.75;

/** k(d) for d <= 1. */
function innerCubic(d: number): number {
  return ((A + 2) * d - (A + 3)) * d * d + 1;
}

/** k(d) for 1 < d <= 2. */
function outerCubic(d: number): number {
  return ((A * d - 5 * A) * d + 8 * A) * d - 4 * A;
}

/**
 * The other way round: for each of `from` input positions the first output position that sees it, and the weights with
 * which that and the following ones do; 0 for one in between that does not.
 */
export function transposed({ first, weights }: Taps, from: number): Taps {
  const starts = new Array<number>(from).fill(0);
  const columns = Array.from({ length: from }, (): number[] => []);
  first.forEach((begin, o) => {
    weights[o].forEach((weight, k) => {
      const column = columns[begin + k];
      if (column.length === 0) starts[begin + k] = o;
      while (column.length < o - starts[begin + k]) column.push(0);
      column.push(weight);
    });
  });
  return { first: starts, weights: columns };
}
