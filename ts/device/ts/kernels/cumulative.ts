// Running sums and products along an axis.

import { otherAxes, positionsAlong, resolved } from "../positions.ts";
import type { Kernel, View } from "../view.ts";
import { stridesOf } from "../view.ts";

/** Calls `line` for each line along `axis` with its first position in every view, and the views' steps along it. */
function eachLine(
  views: readonly View[],
  axis: number,
  line: (length: number, starts: readonly number[], steps: readonly number[]) => void,
): void {
  const { shape } = views[0];
  const [along] = resolved(shape.length, [axis]);
  const steps = views.map((view) => stridesOf(view)[along]);
  const offsets = views.map((view) => positionsAlong(view, otherAxes(shape.length, [along])));
  for (let k = 0; k < offsets[0].length; k++)
    line(
      shape[along],
      views.map((view, v) => view.offset + offsets[v][k]),
      steps,
    );
}

export const cumsum: Kernel<{ readonly axis: number; readonly reverse: boolean }> = (y, [x], { axis, reverse }) =>
  eachLine([y, x!], axis, (n, [y0, x0], [dy, dx]) => {
    let total = 0;
    for (let k = 0; k < n; k++) {
      const i = reverse ? n - 1 - k : k;
      total += x!.data[x0 + i * dx];
      y.data[y0 + i * dy] = total;
    }
  });

export const cumprod: Kernel<{ readonly axis: number }> = (y, [x], { axis }) =>
  eachLine([y, x!], axis, (n, [y0, x0], [dy, dx]) => {
    let product = 1;
    for (let i = 0; i < n; i++) {
      product *= x!.data[x0 + i * dx];
      y.data[y0 + i * dy] = product;
    }
  });

export const cumprodGradient: Kernel<{ readonly axis: number }> = (result, [x, dy], { axis }) =>
  eachLine([result, x!, dy!], axis, (n, [r0, x0, g0], [dr, dx, dg]) => {
    const before = new Float64Array(n);
    let product = 1;
    for (let i = 0; i < n; i++) {
      before[i] = product;
      product *= x!.data[x0 + i * dx];
    }
    let after = 0;
    for (let i = n - 1; i >= 0; i--) {
      after += dy!.data[g0 + i * dg];
      result.data[r0 + i * dr] = before[i] * after;
      after *= x!.data[x0 + i * dx];
    }
  });
