// W4: the U-Net of DDPM (Ho et al. 2020) as `UNet2D` builds it, a training step, a forward and a sampling run of it.

import { UNet2D, capture, noGrad, randint, randn } from "langevin";
import type { TaskOf, UNetSizes } from "../tasks.ts";
import { sampling, schedule, training } from "./training.ts";
import type { Manner, Workload } from "./workload.ts";
import { forwardCost } from "./workload.ts";

/** Side of the maps in pixels at which the network has attention, besides its middle. */
export const attentionSide = 16;

type UNetTask = TaskOf<"unet-train" | "unet-forward">;

const imageSize = ({ size }: UNetSizes): [number, number, number] => [size, size, 3];

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

/** A training step a run, or several. */
export function unetTraining({ batch, ...sizes }: UNetTask, manner: Manner): Workload {
  return training(ddpmUNet(sizes), imageSize(sizes), { calls: 1, ...manner, batch });
}

/** A sampling run. */
export function unetSampling({ batch, ...sizes }: UNetSizes & { readonly batch: number }, manner: Manner): Workload {
  return sampling(ddpmUNet(sizes), imageSize(sizes), { ...manner, batch });
}

/** A forward a run, or several, captured, its inputs copied in and its last result copied out. */
export function unetForward({ batch, ...sizes }: UNetTask, { calls = 1, precision }: Manner): Workload {
  const model = ddpmUNet(sizes);
  model.eval();
  const cost = forwardCost(model, imageSize(sizes), batch);
  const [x, t] = [randn([batch, ...imageSize(sizes)]), randint(0, schedule.steps, [batch])];
  const forward = capture((images: typeof x, times: typeof t) => noGrad(() => model.forward(images, times)), {
    precision,
  });
  return {
    variant: "plan",
    calls,
    cost,
    async run() {
      for (let call = 1; call < calls; call++) forward(x, t).dispose();
      const result = forward(x, t);
      await result.data();
      result.dispose();
    },
    close() {
      forward.dispose();
      for (const held of [x, t]) held.dispose();
      model.dispose();
    },
  };
}
