// W3: one reverse step of DDPM with its noise, without a network, for one large image.

import { noGrad, randn, scope } from "langevin";
import type { TaskOf } from "../tasks.ts";
import { schedule } from "./training.ts";
import type { Workload } from "./workload.ts";
import { computed } from "./workload.ts";

/** x and epsilon are read and the result is written; noise never lies in memory. Its arithmetic depends on the library. */
const floatsMoved = 3;

/** Ten steps, called one by one, are a run. */
export function largeReverseStep({ size }: TaskOf<"reverse-step">): Workload {
  const shape = [1, size, size, 3];
  const [x, epsilon] = [randn(shape), randn(shape)];
  const t = schedule.timesteps(schedule.steps / 2, x);
  const calls = 10;
  let step = 0;
  return {
    variant: "eager",
    calls,
    cost: { flops: 0, bytes: 4 * floatsMoved * x.size },
    async run() {
      const last = noGrad(() =>
        scope(() => {
          let y = x;
          for (let call = 0; call < calls; call++) y = schedule.reverseStep(y, t, epsilon, { seed: 1, step: step++ });
          return y;
        }),
      );
      await computed(last);
      last.dispose();
    },
    close() {
      for (const held of [x, epsilon, t]) held.dispose();
    },
  };
}
