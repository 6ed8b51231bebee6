// DDPMScheduler: ancestral sampling of the reverse process (Ho et al. 2020), over all timesteps or some of them.

import { ArgumentError } from "../../errors/index.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { noise, predictedX0, x, x0At } from "../solver/solver-call.ts";
import { BetaScheduler, betaDefaults, predictions, thresholdDefaults } from "./beta-scheduler.ts";
import type { OptionsOf, SolverRun, Trajectory } from "./scheduler.ts";
import { defineScheduler } from "./scheduler.ts";
import { alphaBarLevel } from "./levels.ts";

const definition = defineScheduler({
  name: "DDPMScheduler",
  defaults: {
    ...betaDefaults,
    varianceType: "fixed_small",
    clipSample: true,
    predictionType: "epsilon",
    ...thresholdDefaults,
    clipSampleRange: 1,
    timestepSpacing: "leading",
    stepsOffset: 0,
    rescaleBetasZeroSnr: false,
  },
  choices: {
    predictionType: predictions,
    varianceType: ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"],
  },
});

/** Options of `DDPMScheduler`. */
export type DDPMOptions = OptionsOf<typeof definition>;

/**
 * Ho et al. 2020, eq. 7: x_s ~ N(mean, variance) for the next timestep s < t, with
 * mean = sqrt(alphaBar_s) beta / (1 - alphaBar_t) x0 + sqrt(alpha) (1 - alphaBar_s) / (1 - alphaBar_t) x,
 * alpha = alphaBar_t / alphaBar_s and beta = 1 - alpha.
 */
export class DDPMScheduler extends BetaScheduler<keyof typeof definition.defaults> {
  /** @internal */
  static readonly definition = definition;

  constructor(options: DDPMOptions = {}) {
    super(definition, options);
  }

  protected trajectory(run: SolverRun): Trajectory {
    const { timesteps, initialNoise } = this.grid(run);
    const calls = Array.from(timesteps, (t, i) => this.call(t, timesteps.at(i + 1)));
    return { calls: calls.slice(run.begin), initialNoise, end: alphaBarLevel(1) };
  }

  private call(t: number, next: number | undefined): SolverCall {
    const { alphaBar } = this.schedule;
    const now = alphaBar[t];
    const then = next === undefined ? 1 : alphaBar[next];
    const beta = 1 - now / then;
    const level = alphaBarLevel(now);
    const at = this.at(level);
    const mean = x0At(at)
      .times((Math.sqrt(then) * beta) / (1 - now))
      .plus(x.times((Math.sqrt(now / then) * (1 - then)) / (1 - now)));
    // As in diffusers, which takes the logarithm in all cases.
    const least = Math.max(((1 - then) / (1 - now)) * beta, 1e-20);
    return { t, level, x0: predictedX0(at), ...(t > 0 ? this.noisy(mean, least, beta) : { next: { x: mean } }) };
  }

  /** The mean with noise: of a variance between `least`, that of data without variance, and beta, that of unit variance. */
  private noisy(mean: typeof x, least: number, beta: number): Pick<SolverCall, "next" | "logDeviation"> {
    const fixed = (variance: number) => ({ next: { x: mean.plus(noise.times(Math.sqrt(variance))) } });
    switch (this.options.varianceType) {
      case "fixed_small":
      case "fixed_small_log":
        return fixed(least);
      case "fixed_large":
        return fixed(beta);
      case "learned_range": {
        // The logarithm of the variance goes from one to the other as the output goes from -1 to 1 (Nichol & Dhariwal
        // 2021, eq. 15).
        const [low, high] = [Math.log(least), Math.log(beta)];
        return { next: { x: mean.plus(noise) }, logDeviation: { constant: (low + high) / 4, slope: (high - low) / 4 } };
      }
      default:
        throw new ArgumentError({
          op: this.name,
          problem: `varianceType is "${this.options.varianceType}", which gives NaN in diffusers: it takes the root of what is a logarithm, or may be negative.`,
          advice: `Take "fixed_large" for "fixed_large_log", which means the same variance, and "learned_range" for "learned".`,
        });
    }
  }
}
