// The activations that a U-Net can be built with, by diffusers' names.

import type { Tensor } from "../../tensor/tensor.ts";

/** What diffusers calls `act_fn`; "swish" is another name of "silu". */
export type ActivationName = "silu" | "swish" | "mish" | "gelu" | "relu";

/** The functions by their names. */
export const activations: Readonly<Record<ActivationName, (x: Tensor) => Tensor>> = {
  silu: (x) => x.silu(),
  swish: (x) => x.silu(),
  mish: (x) => x.mish(),
  gelu: (x) => x.gelu(),
  relu: (x) => x.relu(),
};
