// The activations that a U-Net can be built with, by diffusers' names.

import type { Tensor } from "../../tensor/tensor.ts";

/** What diffusers calls `act_fn`; "swish" is another name of "silu". */
export const activations = {
  silu: (x: Tensor): Tensor => x.silu(),
  swish: (x: Tensor): Tensor => x.silu(),
  mish: (x: Tensor): Tensor => x.mish(),
  gelu: (x: Tensor): Tensor => x.gelu(),
  relu: (x: Tensor): Tensor => x.relu(),
} as const;

/** Names of activations. */
export type ActivationName = keyof typeof activations;
