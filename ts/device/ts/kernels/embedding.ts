// Rows of a table picked by index, and the gradient of the table.

import type { Kernel, View } from "../view.ts";

/** Element j of a view in row-major order. */
function elementAt(view: View, j: number): number {
  const row = Math.floor(j / view.cols);
  return view.data[view.offset + row * view.pitch + (j - row * view.cols)];
}

export const embedding: Kernel<object> = (y, [table, index]) => {
  for (let row = 0; row < y.rows; row++) {
    const picked = elementAt(index!, row);
    const to = y.offset + row * y.pitch;
    if (picked < 0 || picked >= table!.rows) y.data.fill(NaN, to, to + y.cols);
    else {
      const from = table!.offset + picked * table!.pitch;
      for (let col = 0; col < y.cols; col++) y.data[to + col] = table!.data[from + col];
    }
  }
};

export const embeddingGradient: Kernel<object> = (dtable, [index, dy]) => {
  const { rows, cols } = dtable;
  const sums = new Float64Array(rows * cols);
  for (let row = 0; row < dy!.rows; row++) {
    const picked = elementAt(index!, row);
    if (picked < 0 || picked >= rows) continue;
    const from = dy!.offset + row * dy!.pitch;
    for (let col = 0; col < cols; col++) sums[picked * cols + col] += dy!.data[from + col];
  }
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) dtable.data[dtable.offset + row * dtable.pitch + col] = sums[row * cols + col];
};
