// Elements picked along an axis by index, and added up by index.

import { DeviceError } from "../../../errors/index.ts";
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

/** Row i of a view that is dense over rows as the rows of a view of its own. */
function rowOf(x: View, index: number, rows: number): View {
  const perRow = x.rows / x.shape[0];
  return x.shape.length === 1
    ? { ...x, offset: x.offset + index, rows: 1, cols: 1, pitch: 1 }
    : { ...x, offset: x.offset + index * perRow * x.pitch, rows, cols: x.cols };
}

function expectRow(op: string, index: number, rows: number): void {
  if (index < 0 || index >= rows)
    throw new DeviceError({ op, problem: `index ${index} is outside a table of ${rows} rows.` });
}

export const row: Kernel<{ readonly index: number }> = (y, [x], { index }) => {
  expectRow("row", index, x!.shape[0]);
  const from = rowOf(x!, index, y.rows);
  for (let r = 0; r < y.rows; r++)
    for (let c = 0; c < y.cols; c++) y.data[y.offset + r * y.pitch + c] = x!.data[from.offset + r * from.pitch + c];
};

export const rowGradient: Kernel<{ readonly index: number }> = (y, [x], { index }) => {
  expectRow("rowGradient", index, y.shape[0]);
  for (let r = 0; r < y.rows; r++) y.data.fill(0, y.offset + r * y.pitch, y.offset + r * y.pitch + y.cols);
  const to = rowOf(y, index, x!.rows);
  for (let r = 0; r < x!.rows; r++)
    for (let c = 0; c < x!.cols; c++) y.data[to.offset + r * to.pitch + c] = x!.data[x!.offset + r * x!.pitch + c];
};

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
