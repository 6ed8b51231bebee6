// Batches of pictures between PyTorch's layout and langevin's.

import type { Tensor } from "langevin";

/** [N, C, H, W] -> [N, H, W, C]. */
export const toNHWC = (x: Tensor): Tensor => x.permute([0, 2, 3, 1]);
/** [N, H, W, C] -> [N, C, H, W]. */
export const toNCHW = (x: Tensor): Tensor => x.permute([0, 3, 1, 2]);
