// Max pooling over windows of NHWC images, and its gradient.

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
