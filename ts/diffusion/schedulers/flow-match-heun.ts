// FlowMatchHeunDiscreteScheduler: Heun's method on the straight paths of flow matching, two calls of the network for a step.

import { flowMatchGrid } from "../grids/flow-match-grid.ts";
import type { SamplingGrid } from "../grids/sampling-grid.ts";
import { heunCalls } from "../grids/sampling-grid.ts";
import { LinearForm } from "../solver/linear-form.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { output, x } from "../solver/solver-call.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { Scheduler, defineScheduler } from "./scheduler.ts";
import { flowLevel } from "./levels.ts";

const definition = defineScheduler({
  name: "FlowMatchHeunDiscreteScheduler",
  defaults: { numTrainTimesteps: 1000, shift: 1 },
});

/** Options of `FlowMatchHeunDiscreteScheduler`. */
export type FlowMatchHeunOptions = OptionsOf<typeof definition>;

/** What a run of it may be given. */
export interface FlowMatchHeunRun extends SolverRun {
  readonly timesteps?: undefined;
}

/** x and the velocity at the start of the step. */
const start = LinearForm.of("start");
const velocity = LinearForm.of("velocity");

/**
 * x' = x + (sigma' - sigma) v as in `FlowMatchEulerDiscreteScheduler`, and then again with the mean of the velocities at both ends.
 * The last step is Euler's. diffusers' churn is left out: it adds noise to x without taking data away, which flows do not know.
 */
export class FlowMatchHeunDiscreteScheduler extends Scheduler<keyof typeof definition.defaults, FlowMatchHeunRun> {
  /** @internal */
  static readonly definition = definition;
  readonly family = "flow";

  constructor(options: FlowMatchHeunOptions = {}) {
    super(definition, options);
  }

  grid({ steps, sigmas: times }: FlowMatchHeunRun): SamplingGrid {
    const { numTrainTimesteps: trainSteps, shift } = this.options;
    const { timesteps, sigmas, initialNoise } = flowMatchGrid({ steps, times, trainSteps, shift });
    return { timesteps: heunCalls(timesteps, 0), sigmas: heunCalls(sigmas!, 1), initialNoise };
  }

  protected trajectory(run: FlowMatchHeunRun): Trajectory {
    const { timesteps, sigmas, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) =>
      i % 2 === 0 ? predict(t, sigmas![i], sigmas![i + 1]) : correct(t, sigmas![i - 1], sigmas![i]),
    );
    return { calls: calls.slice(2 * (run.begin ?? 0)), initialNoise, end: flowLevel(sigmas!.at(-1)!) };
  }
}

function predict(t: number, sigma: number, next: number): SolverCall {
  const moved = x.plus(output.times(next - sigma));
  return { ...callAt(t, sigma), next: { x: moved, start: x, velocity: output } };
}

function correct(t: number, sigma: number, next: number): SolverCall {
  const mean = velocity.plus(output).times(0.5);
  return { ...callAt(t, next), next: { x: start.plus(mean.times(next - sigma)) } };
}

function callAt(t: number, sigma: number): Omit<SolverCall, "next"> {
  return { t, level: flowLevel(sigma), x0: x.minus(output.times(sigma)) };
}
