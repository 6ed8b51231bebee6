// What keeps a predicted x0 in the range of pictures: clipping, and dynamic thresholding.

import type { Tensor } from "../../tensor/tensor.ts";

/** How a predicted x0 is limited. */
export type Limit =
  | {
      /** Clip to [-range, range] (diffusers' `clip_sample`). */
      readonly kind: "clip";
      readonly range: number;
    }
  | {
      /**
       * Dynamic thresholding (Saharia et al. 2022, section 2.3): per image, s is the quantile of |x0| at `ratio`, but at
       * least 1 and at most `most`; x0 is clipped to [-s, s] and divided by s.
       */
      readonly kind: "threshold";
      readonly ratio: number;
      readonly most: number;
    };

/** x0 [N, ...] within its limit. */
export function limited(x0: Tensor, limit: Limit): Tensor {
  if (limit.kind === "clip") return x0.clamp({ min: -limit.range, max: limit.range });
  const [images, ...sizes] = x0.shape;
  const bound = x0
    .abs()
    .reshape([images, -1])
    .quantile(limit.ratio)
    .clamp({ min: Math.min(1, limit.most), max: limit.most })
    .reshape([images, ...sizes.map(() => 1)]);
  return x0.minimum(bound).maximum(bound.neg()).div(bound);
}
