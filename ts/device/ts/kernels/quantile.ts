// Quantiles along the last axis.

import { otherAxes, positionsAlong } from "../positions.ts";
import type { Kernel } from "../view.ts";

export const quantile: Kernel<{ readonly q: number }> = (y, [x], { q }) => {
  const rank = x!.shape.length;
  const starts = positionsAlong(x!, otherAxes(rank, [rank - 1]));
  const results = positionsAlong(
    y,
    y.shape.map((_, axis) => axis),
  );
  const place = q * (x!.cols - 1);
  const below = Math.floor(place);
  starts.forEach((start, k) => {
    const sorted = Float64Array.from(x!.data.subarray(x!.offset + start, x!.offset + start + x!.cols)).sort();
    // NaN is sorted to the end.
    const isNaN = Number.isNaN(sorted[sorted.length - 1]);
    const above = sorted[Math.min(below + 1, sorted.length - 1)];
    // Not over the way between equal infinities, which is NaN.
    const value = place === below ? sorted[below] : sorted[below] + (place - below) * (above - sorted[below]);
    y.data[y.offset + results[k]] = isNaN ? NaN : value;
  });
};
