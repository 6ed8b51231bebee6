// What keeps a predicted x0 in the range of pictures: clipping, and dynamic thresholding.

import type { Tensor } from "../../tensor/tensor.ts";

/** Clip to [-range, range] (diffusers' `clip_sample`). */
export interface ClipLimit {
  /** Which limit this is. */
  readonly kind: "clip";
  /** Greatest magnitude. */
  readonly range: number;
}

/**
 * Dynamic thresholding (Saharia et al. 2022, section 2.3): per image, s is the quantile of |x0| at `ratio`, but at least 1
 * and at most `most`; x0 is clipped to [-s, s] and divided by s.
 */
export interface ThresholdLimit {
  /** Which limit this is. */
  readonly kind: "threshold";
  /** Share of the pixels below the threshold. */
  readonly ratio: number;
  /** Greatest threshold. */
  readonly most: number;
}

/** How a predicted x0 is limited. */
export type Limit = ClipLimit | ThresholdLimit;

/** x0 [N, ...] within its limit. */
export function limited(x0: Tensor, limit: Limit): Tensor {
  if (limit.kind === "clip") return x0.clamp({ min: -limit.range, max: limit.range });
  const [images, ...sizes] = x0.shape;
  const bound = x0
    .abs()
    .reshape([images, -1])
    .quantile(limit.ratio, -1)
    .clamp({ min: Math.min(1, limit.most), max: limit.most })
    .reshape([images, ...sizes.map(() => 1)]);
  return x0.minimum(bound).maximum(bound.neg()).div(bound);
}
