// W4: the U-Net of DDPM (Ho et al. 2020) as `UNet2D` builds it, a training step and a forward of it.

import { UNet2D, capture, noGrad, randint, randn } from "langevin";
import type { TaskOf, UNetSizes } from "../tasks.ts";
import { schedule, training } from "./training.ts";
import type { Workload } from "./workload.ts";
import { forwardCost } from "./workload.ts";

/** Side of the maps in pixels at which the network has attention, besides its middle. */
export const attentionSide = 16;

/** Two resnet blocks a level, attention of one head, sines before cosines: 8,952,067 parameters in the usual sizes. */
export function ddpmUNet({ size, base, mults }: UNetSizes): UNet2D {
  const attends = mults.map((_, level) => size / 2 ** level === attentionSide);
  return new UNet2D({
    sampleSize: size,
    blockOutChannels: mults.map((mult) => base * mult),
    downBlockTypes: attends.map((attention) => (attention ? "AttnDownBlock2D" : "DownBlock2D")),
    upBlockTypes: attends.toReversed().map((attention) => (attention ? "AttnUpBlock2D" : "UpBlock2D")),
    attentionHeadDim: null,
    flipSinToCos: false,
    freqShift: 1,
  });
}

/** A training step a run. */
export function unetTraining({ batch, ...sizes }: TaskOf<"unet-train" | "unet-forward">): Workload {
  return training(ddpmUNet(sizes), [sizes.size, sizes.size, 3], { batch, calls: 1 });
}

/** A forward a run, captured, its inputs copied in and its result copied out. */
export function unetForward({ batch, ...sizes }: TaskOf<"unet-train" | "unet-forward">): Workload {
  const model = ddpmUNet(sizes);
  model.eval();
  const cost = forwardCost(model, [sizes.size, sizes.size, 3], batch);
  const [x, t] = [randn([batch, sizes.size, sizes.size, 3]), randint(0, schedule.steps, [batch])];
  const forward = capture((images: typeof x, times: typeof t) => noGrad(() => model.forward(images, times)));
  return {
    variant: "plan",
    calls: 1,
    cost,
    async run() {
      const result = forward(x, t);
      await result.data();
      result.dispose();
    },
    close() {
      forward.dispose();
      for (const held of [x, t]) held.dispose();
    },
  };
}
