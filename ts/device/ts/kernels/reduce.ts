// Reductions over any axes: each output's elements are brought together and handed to the function that sums or judges them.

import { pairwiseSum } from "../pairwise.ts";
import { otherAxes, positionOf, positionsAlong, resolved } from "../positions.ts";
import type { Kernel, View } from "../view.ts";
import { broadcastPath, pathOf, walk } from "../walk.ts";

/** Calls `visit` with the elements of x that each output stands for, the outputs in row-major order. The array is reused. */
function eachOutput(x: View, axes: readonly number[], visit: (terms: Float64Array, output: number) => void): void {
  const positions = positionsAlong(x, resolved(x.shape.length, axes));
  const starts = positionsAlong(x, otherAxes(x.shape.length, axes));
  const terms = new Float64Array(positions.length);
  starts.forEach((start, output) => {
    const { data } = x;
    const first = x.offset + start;
    for (let k = 0; k < terms.length; k++) terms[k] = data[first + positions[k]];
    visit(terms, output);
  });
}

/** Writes `reduced` of the elements that each output stands for. */
function reduce(y: View, x: View, axes: readonly number[], reduced: (terms: Float64Array) => number): void {
  eachOutput(x, axes, (terms, output) => (y.data[positionOf(y, output)] = reduced(terms)));
}

function sumOf(terms: Float64Array): number {
  return pairwiseSum(0, terms.length, (from, to) => {
    let total = 0;
    for (let k = from; k < to; k++) total += terms[k];
    return total;
  });
}

/** Place of the first largest (sign 1) or smallest (sign -1) term; NaN wins, and the first NaN stays. */
function placeOf(terms: Float64Array, sign: 1 | -1): number {
  let place = 0;
  for (let k = 1; k < terms.length; k++) {
    const best = terms[place];
    const value = terms[k];
    if (sign * (value - best) > 0 || (value !== value && best === best)) place = k;
  }
  return place;
}

interface Axes {
  readonly axes: readonly number[];
}

export const sum: Kernel<Axes> = (y, [x], { axes }) => reduce(y, x!, axes, sumOf);
export const mean: Kernel<Axes> = (y, [x], { axes }) => reduce(y, x!, axes, (terms) => sumOf(terms) / terms.length);

export const max: Kernel<Axes> = (y, [x], { axes }) => reduce(y, x!, axes, (terms) => terms[placeOf(terms, 1)]);
export const min: Kernel<Axes> = (y, [x], { axes }) => reduce(y, x!, axes, (terms) => terms[placeOf(terms, -1)]);

export const argmax: Kernel<{ readonly axis: number }> = (y, [x], { axis }) =>
  reduce(y, x!, [axis], (terms) => placeOf(terms, 1));
export const argmin: Kernel<{ readonly axis: number }> = (y, [x], { axis }) =>
  reduce(y, x!, [axis], (terms) => placeOf(terms, -1));

export const extremeGradient: Kernel<Axes & { readonly of: "max" | "min" }> = (dx, [x, dy], { axes, of }) => {
  for (let row = 0; row < dx.rows; row++)
    dx.data.fill(0, dx.offset + row * dx.pitch, dx.offset + row * dx.pitch + dx.cols);
  const starts = positionsAlong(dx, otherAxes(dx.shape.length, axes));
  const positions = positionsAlong(dx, resolved(dx.shape.length, axes));
  const sign = of === "max" ? 1 : -1;
  eachOutput(x!, axes, (terms, output) => {
    dx.data[dx.offset + starts[output] + positions[placeOf(terms, sign)]] = dy!.data[positionOf(dy!, output)];
  });
};

export const variance: Kernel<Axes & { readonly correction: number }> = (y, [x], { axes, correction }) =>
  reduce(y, x!, axes, (terms) => {
    const center = sumOf(terms) / terms.length;
    for (let k = 0; k < terms.length; k++) terms[k] = (terms[k] - center) ** 2;
    return sumOf(terms) / Math.max(0, terms.length - correction);
  });

export const logSumExp: Kernel<Axes> = (y, [x], { axes }) =>
  reduce(y, x!, axes, (terms) => {
    if (terms.length === 0) return -Infinity;
    const largest = terms[placeOf(terms, 1)];
    if (!Number.isFinite(largest)) return largest;
    for (let k = 0; k < terms.length; k++) terms[k] = Math.exp(terms[k] - largest);
    return largest + Math.log(sumOf(terms));
  });

export const norm: Kernel<Axes> = (y, [x], { axes }) =>
  reduce(y, x!, axes, (terms) => {
    let largest = 0;
    for (let k = 0; k < terms.length; k++) largest = Math.max(largest, Math.abs(terms[k]));
    if (largest === 0 || !Number.isFinite(largest)) return largest;
    const scale = 2 ** Math.floor(Math.log2(largest));
    for (let k = 0; k < terms.length; k++) terms[k] = (terms[k] / scale) ** 2;
    return scale * Math.sqrt(sumOf(terms));
  });

export const normGradient: Kernel<object> = (dx, [x, y, dy]) => {
  const paths = [pathOf(dx), pathOf(x!), broadcastPath(y!, dx.shape), broadcastPath(dy!, dx.shape)];
  walk(dx.shape, paths, (n, at, step) => {
    const [to, values, norms, slopes] = [dx.data, x!.data, y!.data, dy!.data];
    for (let i = 0; i < n; i++) {
      const length = norms[at[2] + i * step[2]];
      to[at[0] + i * step[0]] = length === 0 ? 0 : slopes[at[3] + i * step[3]] * (values[at[1] + i * step[1]] / length);
    }
  });
};
