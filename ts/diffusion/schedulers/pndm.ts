// PNDMScheduler: pseudo numerical methods for diffusion models (Liu et al. 2022), Runge-Kutta and linear multistep.

import { samplingGrid } from "../grids/sampling-grid.ts";
import { pndmTimesteps } from "../grids/timestep-grid.ts";
import { LinearForm } from "../solver/linear-form.ts";
import type { NextState, SolverCall } from "../solver/solver-call.ts";
import { output, predictedEpsilon, predictedX0, x } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions } from "./beta-scheduler.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { alphaBarLevel } from "./levels.ts";

const definition = defineScheduler({
  name: "PNDMScheduler",
  defaults: {
    ...betaDefaults,
    skipPrkSteps: false,
    setAlphaToOne: false,
    predictionType: "epsilon",
    timestepSpacing: "leading",
    stepsOffset: 0,
  },
  choices: { predictionType: predictions },
});

/** Options of `PNDMScheduler`. */
export type PNDMOptions = OptionsOf<typeof definition>;

/** x at the start of a Runge-Kutta step, and of the first step without them. */
const start = LinearForm.of("start");
/** The sum of the weighted outputs of a Runge-Kutta step so far. */
const mean = LinearForm.of("mean");
/** Outputs of earlier steps, the latest first. */
const [output1, output2, output3] = ["output1", "output2", "output3"].map((name) => LinearForm.of(name));

/** The registers after a step that was given `output`. */
const remembered = { output1: output, output2: output1, output3: output2 };

/** Weights of the four outputs of a Runge-Kutta step. */
const rungeKuttaWeights = [1 / 6, 1 / 3, 1 / 3, 1 / 6];

/** Adams and Bashforth's mean of the output and earlier ones, by their number. */
const adamsBashforth = [
  output,
  output.times(3).minus(output1).over(2),
  output.times(23).minus(output1.times(16)).plus(output2.times(5)).over(12),
  output.times(55).minus(output1.times(59)).plus(output2.times(37)).minus(output3.times(9)).over(24),
];

/**
 * Steps of DDIM with a mean of outputs (Liu et al. 2022, eq. 9 to 13): of four in a Runge-Kutta step, of up to four steps
 * in a multistep one. As in diffusers, outputs are averaged as they come, whatever they predict, and the mean is taken for
 * a prediction at the start of the step.
 */
export class PNDMScheduler extends BetaScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: PNDMOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: SolverRun): Trajectory {
    const { skipPrkSteps: skipRungeKutta, timestepSpacing: spacing, stepsOffset: offset } = this.options;
    const { steps, timesteps } = run;
    const { timesteps: grid } = samplingGrid("DDIMScheduler", this.schedule, { steps, timesteps, spacing, offset });
    const apart = Math.floor(this.schedule.steps / grid.length);
    const left = grid.subarray(run.begin ?? 0);
    // A run of no steps is refused for its `begin`, by `solver`.
    const visited = left.length === 0 ? left : pndmTimesteps(left, apart, { skipRungeKutta });
    const firstMultistep = skipRungeKutta ? 0 : 12;
    const calls = Array.from(visited, (t, k) => {
      if (k < firstMultistep) return this.rungeKutta(t, k % 4, visited[k - (k % 4)], apart);
      // The first of all steps is made twice: the second time with the mean of the outputs at both ends.
      if (k === 1) return this.callAt(t, { x: this.transfer(start, t + apart, t, output.plus(output1).over(2)) });
      const known = Math.min(3, skipRungeKutta ? Math.max(0, k - 1) : k - 9);
      const moved = this.transfer(x, t, t - apart, adamsBashforth[known]);
      return this.callAt(t, { x: moved, ...remembered, ...(k === 0 && { start: x }) });
    });
    return { calls, initialNoise: 1, end: alphaBarLevel(this.alphaBarAt(visited.at(-1)! - apart)) };
  }

  /** Evaluation `stage` of a Runge-Kutta step from timestep `first`. */
  private rungeKutta(t: number, stage: number, first: number, apart: number): SolverCall {
    const weighted = output.times(rungeKuttaWeights[stage]);
    const sum = stage === 0 ? weighted : mean.plus(weighted);
    const to = stage % 2 === 0 ? t - Math.floor(apart / 2) : t;
    const from = stage === 0 ? x : start;
    const moved = this.transfer(from, first, to, stage === 3 ? sum : output);
    return this.callAt(t, { x: moved, mean: sum, ...(stage === 0 && { ...remembered, start: x }) });
  }

  private callAt(t: number, next: NextState): SolverCall {
    const level = alphaBarLevel(this.schedule.alphaBar[t]);
    return { t, level, x0: predictedX0(this.at(level)), next };
  }

  /** eq. 11: from one timestep to another as DDIM goes, by a prediction for the first. */
  private transfer(from: LinearForm, t: number, next: number, prediction: LinearForm): LinearForm {
    const { alphaBar } = this.schedule;
    const now = alphaBar[t];
    const then = this.alphaBarAt(next);
    const conversion = predictedEpsilon(this.at(alphaBarLevel(now)));
    const epsilon = from.times(conversion.coefficient("x")).plus(prediction.times(conversion.coefficient("output")));
    const scale = Math.sqrt(then / now);
    return from.times(scale).plus(epsilon.times(Math.sqrt(1 - then) - scale * Math.sqrt(1 - now)));
  }
}
