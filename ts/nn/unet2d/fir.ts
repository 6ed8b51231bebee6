// Images at half and at double size by the filter [1, 3, 3, 1] (Karras et al. 2020, StyleGAN2; Song et al. 2021, NCSN++).

import { pad } from "../../tensor/functional/pad.ts";
import { avgPool2d } from "../../tensor/functional/pool.ts";
import { resize2d } from "../../tensor/functional/resize.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * Half size (diffusers' `FirDownsample2D` without convolution): x [N, H, W, C] with even H and W -> [N, H / 2, W / 2, C],
 * y_i = (x_{2i-1} + 3 x_{2i} + 3 x_{2i+1} + x_{2i+2}) / 8 along both axes, beyond the border 0. The filter is the mean of two
 * neighbours, taken three times.
 */
export function firDownsample(x: Tensor): Tensor {
  return scope(() => avgPool2d(avgPool2d(avgPool2d(x, 2, { stride: 1, padding: 1 }), 2, { stride: 1 }), 2));
}

/**
 * Double size (diffusers' `FirUpsample2D` without convolution): x [N, H, W, C] -> [N, 2 H, 2 W, C],
 * y_{2i} = (x_{i-1} + 3 x_i) / 4 and y_{2i+1} = (3 x_i + x_{i+1}) / 4 along both axes, beyond the border 0. That is bilinear
 * interpolation, but for the border, which is mixed with zeros.
 */
export function firUpsample(x: Tensor): Tensor {
  return scope(() => resize2d(pad(x, 1), { scale: 2, mode: "bilinear" }).slice(null, [2, -2], [2, -2]));
}
