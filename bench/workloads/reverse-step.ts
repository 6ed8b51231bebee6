// W3: one reverse step of DDPM with its noise, without a network, for one large image.

import type { Tensor } from "langevin";
import { Parameter, capture, noGrad, randn, scope } from "langevin";
import type { TaskOf } from "../tasks.ts";
import { schedule } from "./training.ts";
import type { Manner, Workload } from "./workload.ts";
import { computed } from "./workload.ts";

/** x and epsilon are read and the result is written; noise never lies in memory. Its arithmetic depends on the library. */
const floatsMoved = 3;

/** Ten steps, called one by one, are a run; or so many replays of one that was captured. */
export function largeReverseStep({ size }: TaskOf<"reverse-step">, { calls = 10, asPlan }: Manner): Workload {
  const shape = [1, size, size, 3];
  const [x, epsilon] = [new Parameter(randn(shape)), randn(shape)];
  const t = schedule.timesteps(schedule.steps / 2, x);
  const common = { calls, cost: { flops: 0, bytes: 4 * floatsMoved * x.size } };
  const steps = asPlan ? replayed(x, t, epsilon, calls) : calledOneByOne(x, t, epsilon, calls);
  return {
    ...common,
    ...steps,
    close() {
      void steps.close?.();
      for (const held of [x, epsilon, t]) held.dispose();
    },
  };
}

type Steps = Pick<Workload, "variant" | "run"> & Partial<Pick<Workload, "close">>;

function calledOneByOne(x: Tensor, t: Tensor, epsilon: Tensor, calls: number): Steps {
  let step = 0;
  return {
    variant: "eager",
    async run() {
      const last = noGrad(() =>
        scope(() => {
          let y = x.detach();
          for (let call = 0; call < calls; call++) y = schedule.reverseStep(y, t, epsilon, { seed: 1, step: step++ });
          return y;
        }),
      );
      await computed(last);
      last.dispose();
    },
  };
}

/** Each step goes on from the one before, with the same noise. */
function replayed(x: Parameter, t: Tensor, epsilon: Tensor, calls: number): Steps {
  const step = capture(() => {
    noGrad(() => x.assign(schedule.reverseStep(x, t, epsilon, { seed: 1, step: 0 })));
  });
  return {
    variant: "plan",
    async run() {
      for await (const _ of step.replay(calls)) continue;
    },
    close() {
      step.dispose();
    },
  };
}
