// How far results of whole networks on device cuda may be from those of device cpu in float32.

import type { Precision } from "langevin";

/**
 * Largest difference of outputs, relative to the largest of them. In float32 both devices round through some sixty layers. Else
 * both operands of each product are rounded, which errs by half a unit (2^-11, 2^-9) at most each; some sixty products, one
 * behind the other, whose errors do not know of each other, come to sqrt(2 * 60) = 11 of these at most (on the host, W4's
 * network errs by half of that). What a network makes of noise is a sum of what it predicted, and losses are means of squares:
 * neither is off by more than those predictions are.
 */
export const networksApart: Readonly<Record<Precision, number>> = {
  float32: 1e-4,
  tf32: 11 * 2 ** -11,
  bf16: 11 * 2 ** -9,
};
