// Max and average pooling over windows of NHWC images, and their gradients.

import type { Kernel, View } from "../view.ts";

interface Window {
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly padding: readonly number[];
}

/** Writes to `winners`, for each channel, the position in x of the window's winner; padding takes no part. */
function findWinners(x: View, image: number, oy: number, ox: number, window: Window, winners: Int32Array): void {
  const [, height, width, channels] = x.shape;
  const top = oy * window.stride[0] - window.padding[0];
  const left = ox * window.stride[1] - window.padding[2];
  let first = true;
  for (let y = Math.max(0, top); y < Math.min(height, top + window.kernel[0]); y++)
    for (let column = Math.max(0, left); column < Math.min(width, left + window.kernel[1]); column++) {
      const pixel = x.offset + ((image * height + y) * width + column) * x.pitch;
      for (let c = 0; c < channels; c++) {
        const best = x.data[winners[c]];
        const value = x.data[pixel + c];
        // The first of equal values wins; NaN beats everything, and the first NaN stays.
        if (first || value > best || (value !== value && best === best)) winners[c] = pixel + c;
      }
      first = false;
    }
}

export const maxPool2d: Kernel<Window> = (y, [x], window) => {
  const [count, height, width, channels] = y.shape;
  const winners = new Int32Array(channels);
  for (let image = 0, row = 0; image < count; image++)
    for (let oy = 0; oy < height; oy++)
      for (let ox = 0; ox < width; ox++, row++) {
        findWinners(x!, image, oy, ox, window, winners);
        for (let c = 0; c < channels; c++) y.data[y.offset + row * y.pitch + c] = x!.data[winners[c]];
      }
};

export const maxPool2dGradient: Kernel<Window> = (dx, [x, dy], window) => {
  const [count, height, width, channels] = dy!.shape;
  const imageSize = dx.shape[1] * dx.shape[2];
  const winners = new Int32Array(channels);
  const sums = new Float64Array(imageSize * channels);
  for (let image = 0, row = 0; image < count; image++) {
    sums.fill(0);
    const origin = x!.offset + image * imageSize * x!.pitch;
    for (let oy = 0; oy < height; oy++)
      for (let ox = 0; ox < width; ox++, row++) {
        findWinners(x!, image, oy, ox, window, winners);
        for (let c = 0; c < channels; c++) {
          const pixel = (winners[c] - origin - c) / x!.pitch;
          sums[pixel * channels + c] += dy!.data[dy!.offset + row * dy!.pitch + c];
        }
      }
    for (let pixel = 0; pixel < imageSize; pixel++) {
      const to = dx.offset + (image * imageSize + pixel) * dx.pitch;
      for (let c = 0; c < channels; c++) dx.data[to + c] = sums[pixel * channels + c];
    }
  }
};

interface AverageWindow extends Window {
  readonly countPadding: boolean;
}

/** Positions of x, from `begin` to before `end`, that window `o` covers along an axis. */
function covered(window: Window, axis: 0 | 1, size: number, o: number): { begin: number; end: number } {
  const start = o * window.stride[axis] - window.padding[2 * axis];
  return { begin: Math.max(0, start), end: Math.min(size, start + window.kernel[axis]) };
}

export const avgPool2d: Kernel<AverageWindow> = (y, [x], window) => {
  const [count, outHeight, outWidth, channels] = y.shape;
  const [, height, width] = x!.shape;
  const sums = new Float64Array(channels);
  for (let image = 0, row = 0; image < count; image++)
    for (let oy = 0; oy < outHeight; oy++)
      for (let ox = 0; ox < outWidth; ox++, row++) {
        const [ys, xs] = [covered(window, 0, height, oy), covered(window, 1, width, ox)];
        sums.fill(0);
        for (let iy = ys.begin; iy < ys.end; iy++)
          for (let ix = xs.begin; ix < xs.end; ix++) {
            const pixel = x!.offset + ((image * height + iy) * width + ix) * x!.pitch;
            for (let c = 0; c < channels; c++) sums[c] += x!.data[pixel + c];
          }
        const inside = (ys.end - ys.begin) * (xs.end - xs.begin);
        const terms = window.countPadding ? window.kernel[0] * window.kernel[1] : inside;
        for (let c = 0; c < channels; c++) y.data[y.offset + row * y.pitch + c] = sums[c] / terms;
      }
};

export const avgPool2dGradient: Kernel<AverageWindow> = (dx, [dy], window) => {
  const [count, height, width, channels] = dx.shape;
  const [, outHeight, outWidth] = dy!.shape;
  const sums = new Float64Array(height * width * channels);
  for (let image = 0, row = 0; image < count; image++) {
    sums.fill(0);
    for (let oy = 0; oy < outHeight; oy++)
      for (let ox = 0; ox < outWidth; ox++, row++) {
        const [ys, xs] = [covered(window, 0, height, oy), covered(window, 1, width, ox)];
        const inside = (ys.end - ys.begin) * (xs.end - xs.begin);
        const terms = window.countPadding ? window.kernel[0] * window.kernel[1] : inside;
        const from = dy!.offset + row * dy!.pitch;
        for (let iy = ys.begin; iy < ys.end; iy++)
          for (let ix = xs.begin; ix < xs.end; ix++)
            for (let c = 0; c < channels; c++) sums[(iy * width + ix) * channels + c] += dy!.data[from + c] / terms;
      }
    for (let pixel = 0; pixel < height * width; pixel++) {
      const to = dx.offset + (image * height * width + pixel) * dx.pitch;
      for (let c = 0; c < channels; c++) dx.data[to + c] = sums[pixel * channels + c];
    }
  }
};
