// The picture that parts B and C learn: a white square on black, and how far samples are from it.

import { ImageSet } from "langevin";
import type { Tensor } from "langevin";

/** 8x8 pixels, white at rows and columns 2 to 5, as [-1, 1]; the data set has this one picture. */
export function squareImage(channels: number): ImageSet {
  const images = Float32Array.from({ length: 8 * 8 * channels }, (_, i) => {
    const [row, column] = [Math.floor(i / channels / 8), Math.floor(i / channels) % 8];
    const white = row >= 2 && row <= 5 && column >= 2 && column <= 5;
    return white ? 1 : -1;
  });
  return new ImageSet({ images, shape: [1, 8, 8, channels] });
}

/** Mean squared error of each sample against the picture, both as (x + 1) / 2 clamped to [0, 1]. */
export async function errorOfSamples(
  samples: Tensor,
  target: ImageSet,
): Promise<{ mean: number; max: number; n: number }> {
  const values = await samples.data();
  const brightness = (x: number) => Math.min(1, Math.max(0, (x + 1) / 2));
  const size = target.images.length;
  const n = samples.shape[0];
  const errors = Array.from({ length: n }, (_, k) => {
    const squares = target.images.map((x, i) => (brightness(values[k * size + i]) - brightness(x)) ** 2);
    return squares.reduce((sum, square) => sum + square, 0) / size;
  });
  return { mean: errors.reduce((sum, error) => sum + error, 0) / n, max: Math.max(...errors), n };
}
