// Resampling of NHWC images: sums over the pixels that an output pixel sees, weighted along each axis.

import type { ResizeMode } from "../../../ops/resize.ts";
import type { Taps } from "../interpolation.ts";
import { interpolation, transposed } from "../interpolation.ts";
import type { Kernel, View } from "../view.ts";

interface Resampling {
  readonly mode: ResizeMode;
  readonly alignCorners: boolean;
}

/** y[n, oy, ox, c] = sum over ky, kx of weight[oy][ky] * weight[ox][kx] * x[n, first[oy] + ky, first[ox] + kx, c]. */
function resample(y: View, x: View, ys: Taps, xs: Taps): void {
  const [count, height, width, channels] = y.shape;
  const sums = new Float64Array(channels);
  for (let image = 0, to = y.offset; image < count; image++)
    for (let oy = 0; oy < height; oy++)
      for (let ox = 0; ox < width; ox++, to += y.pitch) {
        const [rows, columns] = [ys.weights[oy], xs.weights[ox]];
        sums.fill(0);
        for (let ky = 0; ky < rows.length; ky++) {
          const row = (image * x.shape[1] + ys.first[oy] + ky) * x.shape[2] + xs.first[ox];
          for (let kx = 0; kx < columns.length; kx++) {
            const from = x.offset + (row + kx) * x.pitch;
            const weight = rows[ky] * columns[kx];
            for (let c = 0; c < channels; c++) sums[c] += weight * x.data[from + c];
          }
        }
        for (let c = 0; c < channels; c++) y.data[to + c] = sums[c];
      }
}

/** The same where every weight is 1 and stands alone: every bit is kept. */
function copyPixels(y: View, x: View, ys: Taps, xs: Taps): void {
  const [count, height, width, channels] = y.shape;
  for (let image = 0, to = y.offset; image < count; image++)
    for (let oy = 0; oy < height; oy++) {
      const row = (image * x.shape[1] + ys.first[oy]) * x.shape[2];
      for (let ox = 0; ox < width; ox++, to += y.pitch) {
        const from = x.offset + (row + xs.first[ox]) * x.pitch;
        for (let c = 0; c < channels; c++) y.data[to + c] = x.data[from + c];
      }
    }
}

export const resize2d: Kernel<Resampling> = (y, [x], { mode, alignCorners }) => {
  const [ys, xs] = [1, 2].map((axis) => interpolation(mode, alignCorners, x!.shape[axis], y.shape[axis]));
  (mode === "nearest" ? copyPixels : resample)(y, x!, ys, xs);
};

export const resize2dGradient: Kernel<Resampling> = (dx, [dy], { mode, alignCorners }) => {
  const [ys, xs] = [1, 2].map((axis) => {
    const [from, to] = [dx.shape[axis], dy!.shape[axis]];
    return transposed(interpolation(mode, alignCorners, from, to), from);
  });
  resample(dx, dy!, ys, xs);
};
