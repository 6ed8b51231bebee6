// Elements picked along an axis by index, and added up by index.

import { otherAxes, positionOf, positionsAlong, resolved } from "../positions.ts";
import type { Kernel, View } from "../view.ts";
import { stridesOf } from "../view.ts";

/** Where the place that index element i points to lies in `target`, or -1 if it is outside; in row-major order of i. */
function places(index: View, target: View, axis: number): Int32Array {
  const rank = index.shape.length;
  const [along] = resolved(rank, [axis]);
  const others = otherAxes(rank, [along]);
  const step = stridesOf(target)[along];
  const size = target.shape[along];
  const from = positionsAlong(index, others);
  const to = positionsAlong(target, others, index.shape);
  const outer = index.shape.slice(0, along).reduce((product, n) => product * n, 1);
  const inner = index.shape.slice(along + 1).reduce((product, n) => product * n, 1);
  const ahead = stridesOf(index)[along];
  const found = new Int32Array(outer * index.shape[along] * inner);
  for (let o = 0, i = 0; o < outer; o++)
    for (let k = 0; k < index.shape[along]; k++)
      for (let c = 0; c < inner; c++, i++) {
        const picked = index.data[index.offset + from[o * inner + c] + k * ahead];
        found[i] = picked < 0 || picked >= size ? -1 : target.offset + to[o * inner + c] + picked * step;
      }
  return found;
}

export const gather: Kernel<{ readonly axis: number }> = (y, [x, index], { axis }) => {
  const outside = y.dtype === "int32" ? -0x80000000 : NaN;
  places(index!, x!, axis).forEach((place, i) => {
    y.data[positionOf(y, i)] = place < 0 ? outside : x!.data[place];
  });
};

export const scatterAdd: Kernel<{ readonly axis: number }> = (y, [index, x], { axis }) => {
  const sums = new Float64Array(y.rows * y.pitch);
  places(index!, { ...y, offset: 0 }, axis).forEach((place, i) => {
    if (place >= 0) sums[place] += x!.data[positionOf(x!, i)];
  });
  for (let row = 0; row < y.rows; row++)
    for (let col = 0; col < y.cols; col++) y.data[y.offset + row * y.pitch + col] = sums[row * y.pitch + col];
};
