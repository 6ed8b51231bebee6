// Normalisation by mean and variance.

import { ShapeError, showShape } from "../../errors/index.ts";
import { expectSizes } from "../../ops/checks.ts";
import { ops } from "../../ops/index.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/** What normalisations have in common. */
export interface NormalisationOptions {
  /** Added to the variance, so that nothing is divided by 0; default 1e-5. */
  readonly epsilon?: number;
}

/**
 * Group normalisation (`torch.nn.functional.group_norm`): x [N, ..., C] -> the same shape,
 * y = (x - mean) / sqrt(variance + epsilon) * weight + bias, with mean and (biased) variance of each image's `groups` of
 * C / groups adjacent channels over all axes between; weight and bias [C]. `groups` equal to C is instance normalisation,
 * 1 normalises whole images. Throws an ArgumentError where `groups` does not divide C.
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight?: Tensor,
  bias?: Tensor,
  { epsilon = 1e-5 }: NormalisationOptions = {},
): Tensor {
  return apply(ops.groupNorm, [x, weight, bias], { groups, epsilon });
}

/**
 * Layer normalisation (`torch.nn.functional.layer_norm`): y = (x - mean) / sqrt(variance + epsilon) * weight + bias with
 * mean and (biased) variance over the last axes of x, whose sizes are `shape` (a number: the last axis); weight and bias
 * have that shape. Throws a ShapeError where x does not end with it.
 */
export function layerNorm(
  x: Tensor,
  shape: number | readonly number[],
  weight?: Tensor,
  bias?: Tensor,
  { epsilon = 1e-5 }: NormalisationOptions = {},
): Tensor {
  const axes = trailingAxes("layerNorm", x, shape);
  return apply(ops.layerNorm, [x, weight, bias], { axes, epsilon, center: true });
}

/**
 * Normalisation by the root mean square (`torch.nn.functional.rms_norm`): y = x / sqrt(mean(x^2) + epsilon) * weight over
 * the last axes of x, whose sizes are `shape`. Throws a ShapeError where x does not end with it.
 */
export function rmsNorm(
  x: Tensor,
  shape: number | readonly number[],
  weight?: Tensor,
  { epsilon = 1e-5 }: NormalisationOptions = {},
): Tensor {
  const axes = trailingAxes("rmsNorm", x, shape);
  return apply(ops.layerNorm, [x, weight, undefined], { axes, epsilon, center: false });
}

function trailingAxes(op: string, x: Tensor, shape: number | readonly number[]): number {
  expectTensor(op, "x", x);
  const sizes = typeof shape === "number" ? [shape] : shape;
  expectSizes(op, sizes);
  const tail = x.shape.slice(Math.max(0, x.rank - sizes.length));
  if (sizes.length === 0 || sizes.length > x.rank || sizes.some((n, i) => n !== tail[i]))
    throw new ShapeError({
      op,
      problem: `x has shape ${showShape(x.shape)}, expected it to end with ${showShape(sizes)}.`,
    });
  return sizes.length;
}
