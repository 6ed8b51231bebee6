// Dropout as a function.

import { ops } from "../../ops/index.ts";
import type { NoiseOptions } from "../random.ts";
import { draws, placeInNoise } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";

/**
 * x / (1 - p) where u >= p, else 0, with u uniform in [0, 1) (Srivastava et al. 2014; `torch.nn.functional.dropout`):
 * each element of a floating tensor is dropped with probability p, and the mean stays. The same place in the noise
 * drops the same elements, on every device and whatever the batch. Throws ArgumentError unless 0 <= p <= 1.
 */
export function dropout(x: Tensor, p: number, options: NoiseOptions = {}): Tensor {
  return apply(ops.dropout, [x], { p, ...placeInNoise("dropout", options, draws.uniform) });
}
