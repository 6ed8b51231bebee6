// The options of a U-Net that is small enough for references in plain loops.

import type { UNet2DOptions } from "langevin";

/** Two levels, the lower one with attention. */
export const small = {
  inChannels: 2,
  outChannels: 3,
  blockOutChannels: [4, 6],
  downBlockTypes: ["DownBlock2D", "AttnDownBlock2D"],
  upBlockTypes: ["AttnUpBlock2D", "UpBlock2D"],
  layersPerBlock: 1,
  normNumGroups: 2,
  attentionHeadDim: 3,
} as const satisfies UNet2DOptions;
