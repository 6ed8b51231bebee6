// The peak signal-to-noise ratio of pictures.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { Features } from "./features.ts";
import { readNumbers } from "./features.ts";

/** What the ratio is taken of. */
export interface PsnrOptions {
  /** The greatest difference that values can have: 2 for pictures from -1 to 1, 1 for those from 0 to 1, 255 for bytes. */
  readonly range: number;
}

/**
 * The peak signal-to-noise ratio of each picture in decibels: 10 log10(range² / mean (a - b)²). Both [N, ...] of one shape,
 * in float64; Infinity for equal pictures.
 */
export async function psnr(a: Features, b: Features, { range }: PsnrOptions): Promise<Float64Array> {
  const [first, second] = [await readNumbers("psnr", "a", a), await readNumbers("psnr", "b", b)];
  const { shape } = first;
  if (showShape(shape) !== showShape(second.shape))
    throw new ShapeError({
      op: "psnr",
      problem: `a has shape ${showShape(shape)} and b ${showShape(second.shape)}, expected one shape.`,
    });
  if (shape.length < 2)
    throw new ShapeError({ op: "psnr", problem: `the pictures have shape ${showShape(shape)}, expected [N, ...].` });
  if (!(range > 0 && range < Infinity))
    throw new ArgumentError({
      op: "psnr",
      problem: `range is ${range}, expected a number > 0.`,
      advice: "It is 2 for pictures from -1 to 1.",
    });
  const size = first.data.length / shape[0];
  return Float64Array.from({ length: shape[0] }, (_, picture) => {
    let square = 0;
    for (let i = picture * size; i < (picture + 1) * size; i++) square += (first.data[i] - second.data[i]) ** 2;
    return 10 * Math.log10(range ** 2 / (square / size));
  });
}
