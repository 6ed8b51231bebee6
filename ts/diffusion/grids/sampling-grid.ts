// The timesteps and sigmas of each of diffusers' schedulers: what they share, and a table of what differs between them.

import { ArgumentError } from "../../errors/index.ts";
import { linearGrid, roundHalfToEven } from "./linear-grid.ts";
import type { NoiseSchedule } from "../noise-schedule.ts";
import type { SigmaRange } from "./sigma-grid.ts";
import {
  betaSigmas,
  exponentialSigmas,
  interpolate,
  karrasSigmas,
  shiftTimes,
  stretchTimes,
  timestepsOfSigmas,
} from "./sigma-grid.ts";
import type { TimestepSpacing } from "./timestep-grid.ts";
import { expectSteps, pndmTimesteps, timestepGrid } from "./timestep-grid.ts";

/** What a sampler steps through. */
export interface SamplingGrid {
  /** What the network is given at each call; descending, in some schedulers fractional. */
  readonly timesteps: Float64Array;
  /** Noise level of each call, and of the end: one more than `timesteps`. None in schedulers that look up alphaBar by t. */
  readonly sigmas?: Float64Array;
  /** Standard deviation of the noise to start from (diffusers' `init_noise_sigma`). */
  readonly initialNoise: number;
}

/** Sigmas other than those of the spaced timesteps: diffusers' use_karras_sigmas and its companions. */
export type SigmaGridName = "karras" | "exponential" | "lu" | "beta" | "flow" | "karras_flow";

/** What a scheduler's configuration says of its grid. */
export interface SamplingGridOptions {
  /** Number of sampling steps (diffusers' `num_inference_steps`); not with `timesteps`. */
  readonly steps?: number;
  /** The timesteps themselves, descending. */
  readonly timesteps?: ArrayLike<number>;
  /** diffusers' `timestep_spacing`. Default "leading" where timesteps are whole and run down to 0, else "linspace". */
  readonly spacing?: TimestepSpacing;
  /** diffusers' `steps_offset`. Default 0. */
  readonly offset?: number;
  /** Sigmas other than those of the spaced timesteps, or the sigmas themselves, their end included. */
  readonly sigmas?: SigmaGridName | ArrayLike<number>;
  /** Least sigma of "karras", "exponential" and "beta"; default that of the schedule. */
  readonly sigmaMin?: number;
  /** Greatest sigma of them; default that of the schedule. */
  readonly sigmaMax?: number;
  /** Shift of "flow" towards noise (diffusers' `flow_shift`). Default 1. */
  readonly flowShift?: number;
  /** Stretch the times of "flow" to end here (diffusers' `shift_terminal`). Default: no. */
  readonly terminal?: number;
  /** Where the last step goes: to sigma 0 or to the least sigma of training (diffusers' `final_sigmas_type`). Default "zero". */
  readonly finalSigma?: "zero" | "sigma_min";
  /** Visit no timestep whose lambda = ln(signal / noise) is below this (diffusers' `lambda_min_clipped`). Default none. */
  readonly lambdaMin?: number;
  /** How sigmas follow from timesteps (diffusers' `interpolation_type`): "log_linear" ignores these. Default "linear". */
  readonly interpolation?: "linear" | "log_linear";
  /** Give the network ln(sigma) / 4 for t, as EDM does (diffusers' `timestep_type: "continuous"` with v-prediction). */
  readonly continuous?: boolean;
  /** PNDM: no Runge-Kutta steps at the start (diffusers' `skip_prk_steps`). Default false. */
  readonly skipRungeKutta?: boolean;
}

/** diffusers' schedulers on a noise schedule, by class; LCM and TCD have `consistencyGrid`. */
export type GridScheduler =
  | "DDPMScheduler"
  | "DDIMScheduler"
  | "PNDMScheduler"
  | "EulerDiscreteScheduler"
  | "EulerAncestralDiscreteScheduler"
  | "HeunDiscreteScheduler"
  | "LMSDiscreteScheduler"
  | "KDPM2DiscreteScheduler"
  | "KDPM2AncestralDiscreteScheduler"
  | "DPMSolverMultistepScheduler"
  | "DPMSolverSinglestepScheduler"
  | "DEISMultistepScheduler"
  | "UniPCMultistepScheduler";

/** In what a scheduler's grid differs from others. */
interface GridRule {
  /** Its timesteps are whole numbers; else "linspace" and timesteps of sigmas keep their fractions. */
  readonly whole: boolean;
  /** The grid leaves out its point at 0; see `TimestepGridOptions.beforeZero`. */
  readonly beforeZero: boolean;
  /** The spacing when none is given, or the only one. */
  readonly spacing: TimestepSpacing | { readonly always: TimestepSpacing };
  /** It steps through sigmas; undefined where it looks up alphaBar by timestep. */
  readonly sigmas?: SigmaRule;
  /** How often the network is called for a timestep. Default once for each. */
  readonly calls?: "heun" | "pndm";
}

interface SigmaRule {
  /** Which grids of sigmas it knows. */
  readonly grids: readonly SigmaGridName[];
  /** Whether other grids of sigmas span all of training, or only from the first to the last of the spaced timesteps. */
  readonly span: "training" | "timesteps";
  /** Where it goes in the end: to 0, or to "least" (of training) or "last" (of another grid of sigmas) if so configured. */
  readonly final: "0" | "0 or least" | "0 or last" | "last";
  /** Whether pictures start at the greatest sigma (variance exploding) or at 1. */
  readonly start: "sigma" | "1";
  /** Timesteps of "karras" and "lu" are rounded for a cosine schedule, too; where not, they are cut. Default true. */
  readonly roundsCosine?: false;
  /** Timesteps of "karras" are rounded where those of other grids keep their fractions. */
  readonly roundsKarras?: true;
  /** Where "flow" starts. Default at 1 - 1/T. */
  readonly flowStart?: "1";
  /** Stands for an alphaBar of 0, which rescaled schedules end with. */
  readonly terminalAlphaBar?: number;
}

/** Smallest number above 0 in float16, which diffusers takes for an alphaBar of 0. */
const terminalAlphaBar = 2 ** -24;

const byAlphaBar = { whole: true, beforeZero: false, spacing: "leading" } as const;
const exploding = { whole: false, beforeZero: false, spacing: "linspace" } as const;
const kdpm2: GridRule = {
  ...exploding,
  sigmas: {
    grids: ["karras", "exponential", "beta"],
    span: "timesteps",
    final: "0",
    start: "sigma",
    roundsKarras: true,
  },
};
const solver = { whole: true, beforeZero: true, spacing: "linspace" } as const;

/** What differs between diffusers' classes, in one place. */
const rules: Readonly<Record<GridScheduler, GridRule>> = {
  DDPMScheduler: byAlphaBar,
  DDIMScheduler: byAlphaBar,
  PNDMScheduler: { ...byAlphaBar, calls: "pndm" },
  EulerDiscreteScheduler: {
    ...exploding,
    sigmas: {
      grids: ["karras", "exponential", "beta"],
      span: "timesteps",
      final: "0 or least",
      start: "sigma",
      terminalAlphaBar,
    },
  },
  EulerAncestralDiscreteScheduler: {
    ...exploding,
    sigmas: { grids: [], span: "timesteps", final: "0", start: "sigma", terminalAlphaBar },
  },
  HeunDiscreteScheduler: {
    ...exploding,
    sigmas: { grids: ["karras", "exponential", "beta"], span: "timesteps", final: "0", start: "sigma" },
    calls: "heun",
  },
  LMSDiscreteScheduler: {
    ...exploding,
    sigmas: { grids: ["karras", "exponential", "beta"], span: "timesteps", final: "0", start: "sigma" },
  },
  KDPM2DiscreteScheduler: kdpm2,
  KDPM2AncestralDiscreteScheduler: kdpm2,
  DPMSolverMultistepScheduler: {
    ...solver,
    sigmas: {
      grids: ["karras", "exponential", "lu", "beta", "flow"],
      span: "training",
      final: "0 or least",
      start: "1",
      roundsCosine: false,
      terminalAlphaBar,
    },
  },
  DPMSolverSinglestepScheduler: {
    ...solver,
    spacing: { always: "linspace" },
    sigmas: { grids: ["karras", "exponential", "beta", "flow"], span: "training", final: "0 or least", start: "1" },
  },
  DEISMultistepScheduler: {
    ...solver,
    sigmas: { grids: ["karras", "exponential", "beta", "flow"], span: "training", final: "last", start: "1" },
  },
  UniPCMultistepScheduler: {
    ...solver,
    sigmas: {
      grids: ["karras", "exponential", "beta", "flow", "karras_flow"],
      span: "training",
      final: "0 or last",
      start: "1",
      flowStart: "1",
      terminalAlphaBar,
    },
  },
};

/** The timesteps and sigmas that diffusers' scheduler of this class has after set_timesteps. */
export function samplingGrid(
  scheduler: GridScheduler,
  schedule: NoiseSchedule,
  options: SamplingGridOptions,
): SamplingGrid {
  if (!Object.hasOwn(rules, scheduler))
    throw new ArgumentError({
      op: "samplingGrid",
      problem: `the scheduler is ${JSON.stringify(scheduler)}.`,
      advice: `Expected ${Object.keys(rules).join(", ")}.`,
    });
  expectOneChoice(scheduler, options);
  const rule = rules[scheduler];
  return rule.sigmas
    ? new SigmaScheduler(scheduler, rule, rule.sigmas, schedule, options).grid()
    : alphaBarGrid(scheduler, rule, schedule, options);
}

/** Refuses a grid that nothing chooses, or more than one thing: a number of steps, timesteps, or a list of sigmas. */
function expectOneChoice(scheduler: GridScheduler, { steps, timesteps, sigmas }: SamplingGridOptions): void {
  const listed = typeof sigmas === "object";
  const given = Object.entries({ steps, timesteps, sigmas: listed ? sigmas : undefined });
  const choices = given.flatMap(([name, choice]) => (choice === undefined ? [] : [name]));
  if (timesteps !== undefined && sigmas !== undefined && !listed) choices.push(`"${sigmas}" sigmas`);
  if (choices.length !== 1)
    throw new ArgumentError({
      op: scheduler,
      problem: choices.length === 0 ? "nothing chooses the grid." : `${choices.join(" and ")} both choose the grid.`,
      advice: "Give a number of steps, or timesteps, or a list of sigmas.",
    });
}

/** The grid of a scheduler that looks up alphaBar by timestep. */
function alphaBarGrid(
  scheduler: GridScheduler,
  rule: GridRule,
  schedule: NoiseSchedule,
  options: SamplingGridOptions,
): SamplingGrid {
  for (const name of ["sigmas", "finalSigma", "lambdaMin", "interpolation", "continuous"] as const)
    if (options[name] !== undefined)
      throw new ArgumentError({ op: scheduler, problem: `${name} is given, and this scheduler has no sigmas.` });
  const timesteps = spacedTimesteps(scheduler, rule, schedule.steps, options);
  if (rule.calls !== "pndm") return { timesteps, initialNoise: 1 };
  const { skipRungeKutta = false } = options;
  const apart = Math.floor(schedule.steps / timesteps.length);
  return { timesteps: pndmTimesteps(timesteps, apart, { skipRungeKutta }), initialNoise: 1 };
}

/** The timesteps that are given, or as many as asked for, spread by the spacing; `below` as in `timestepGrid`. */
function spacedTimesteps(
  scheduler: GridScheduler,
  rule: GridRule,
  trainSteps: number,
  options: SamplingGridOptions,
  below = trainSteps,
): Float64Array {
  const refuse = (problem: string, advice: string): never => {
    throw new ArgumentError({ op: scheduler, problem, advice });
  };
  const { steps = NaN, offset, timesteps: given } = options;
  if (given) {
    const list = Array.from(given);
    const fits = rule.sigmas ? Number.isFinite : Number.isInteger;
    if (list.length === 0 || !list.every((t, i) => fits(t) && t >= 0 && t < (i === 0 ? trainSteps : list[i - 1])))
      refuse(
        `timesteps are [${list.join(", ")}].`,
        `Expected ${rule.sigmas ? "numbers" : "integers"} that descend from below ${trainSteps} to 0.`,
      );
    return Float64Array.from(list);
  }
  const only = typeof rule.spacing === "string" ? undefined : rule.spacing.always;
  const spacing = only ?? options.spacing ?? (rule.spacing as TimestepSpacing);
  if (only && options.spacing && options.spacing !== only)
    refuse(`the spacing is "${options.spacing}".`, `This scheduler always takes "${only}".`);
  const { beforeZero, whole } = rule;
  return timestepGrid({ steps, trainSteps, spacing, offset, beforeZero, fractional: !whole, below });
}

/** Makes the grid of one scheduler that steps through sigmas. */
class SigmaScheduler {
  private readonly name: GridScheduler;
  private readonly rule: GridRule;
  private readonly sigmas: SigmaRule;
  private readonly schedule: NoiseSchedule;
  private readonly options: SamplingGridOptions;
  /** sigma of each timestep of training. */
  private readonly training: Float64Array;

  constructor(
    name: GridScheduler,
    rule: GridRule,
    sigmas: SigmaRule,
    schedule: NoiseSchedule,
    options: SamplingGridOptions,
  ) {
    this.name = name;
    this.rule = rule;
    this.sigmas = sigmas;
    this.schedule = schedule;
    this.options = options;
    this.training = schedule.noiseToSignal({ terminalAlphaBar: sigmas.terminalAlphaBar });
  }

  grid(): SamplingGrid {
    const { timesteps, sigmas } = this.levels();
    const asked = this.options.continuous ? sigmas.slice(0, -1).map((sigma) => Math.log(sigma) / 4) : timesteps;
    const initialNoise = this.initialNoise(Math.max(...sigmas));
    if (this.rule.calls !== "heun") return { timesteps: asked, sigmas, initialNoise };
    return { timesteps: heunCalls(asked, 0), sigmas: heunCalls(sigmas, 1), initialNoise };
  }

  /** Where "leading" starts, short of T, data is left in x_t: the start has its variance as well. */
  private initialNoise(greatest: number): number {
    if (this.sigmas.start === "1") return 1;
    return this.options.spacing === "leading" ? Math.hypot(greatest, 1) : greatest;
  }

  private levels(): { readonly timesteps: Float64Array; readonly sigmas: Float64Array } {
    const { options, training, schedule } = this;
    if (typeof options.sigmas === "object") {
      const sigmas = Float64Array.from(options.sigmas);
      this.expectDescending(sigmas);
      return { timesteps: this.timestepsOf(sigmas.slice(0, -1), false), sigmas };
    }
    if (options.sigmas === "flow") return this.flow();
    if (options.terminal !== undefined)
      throw new ArgumentError({
        op: this.name,
        problem: `terminal is ${options.terminal}, and there are no times of flow matching to stretch.`,
        advice: `It goes with "flow" sigmas (useFlowSigmas).`,
      });
    if (options.sigmas === "karras_flow") return this.karrasFlow();
    const lambdaMin = options.lambdaMin ?? -Infinity;
    const below = training.filter((sigma) => -Math.log(sigma) >= lambdaMin).length;
    if (below === 0)
      throw new ArgumentError({
        op: this.name,
        problem: `lambdaMin is ${lambdaMin}, and lambda is ${-Math.log(training[0])} at most in training.`,
      });
    const timesteps = spacedTimesteps(this.name, this.rule, schedule.steps, options, below);
    const spaced = this.sigmasOf(timesteps);
    if (options.sigmas === undefined)
      return { timesteps, sigmas: options.interpolation === "log_linear" ? spaced : this.ended(spaced, training[0]) };
    this.expectKnown(options.sigmas);
    const range = this.sigmas.span === "training" ? training.slice().reverse() : spaced;
    const sigmas = sigmaGrids[options.sigmas]({
      steps: timesteps.length,
      sigmaMax: options.sigmaMax ?? range[0],
      sigmaMin: options.sigmaMin ?? range[range.length - 1],
    });
    const cosine = schedule.schedule === "squaredcos_cap_v2";
    const round = ["karras", "lu"].includes(options.sigmas) && (!cosine || (this.sigmas.roundsCosine ?? true));
    return { timesteps: this.timestepsOf(sigmas, round), sigmas: this.ended(sigmas) };
  }

  /** sigma of spaced timesteps; "log_linear" takes their number alone, and includes the end. */
  private sigmasOf(timesteps: Float64Array): Float64Array {
    const { training } = this;
    if (this.options.interpolation !== "log_linear") return interpolate(training, timesteps);
    return linearGrid(Math.log(training[training.length - 1]), Math.log(training[0]), timesteps.length + 1).map(
      Math.exp,
    );
  }

  private timestepsOf(sigmas: Float64Array, round: boolean): Float64Array {
    const timesteps = timestepsOfSigmas(sigmas, this.training);
    if (!this.rule.whole) return round && this.sigmas.roundsKarras ? timesteps.map(roundHalfToEven) : timesteps;
    return timesteps.map(round ? roundHalfToEven : Math.trunc);
  }

  /** Times of flow matching, which are the sigmas of x_t = (1 - sigma) x0 + sigma noise. */
  private flow(): { readonly timesteps: Float64Array; readonly sigmas: Float64Array } {
    this.expectKnown("flow");
    const { steps = NaN, flowShift = 1, terminal } = this.options;
    const trainSteps = this.schedule.steps;
    expectSteps(this.name, steps, trainSteps);
    const downwards = linearGrid(1, 1 / trainSteps, steps + 1);
    const startsAtOne = this.sigmas.flowStart === "1";
    const even = startsAtOne ? downwards : downwards.map((time) => 1 - time).reverse();
    const shifted = shiftTimes(even.slice(0, steps), flowShift);
    const times = terminal === undefined ? shifted : stretchTimes(shifted, terminal);
    // At 1 nothing is left of x0, and the logarithm of the signal is infinite.
    if (startsAtOne && Math.abs(times[0] - 1) < 1e-6) times[0] -= 1e-6;
    return { timesteps: times.map((time) => Math.trunc(time * trainSteps)), sigmas: this.ended(times) };
  }

  /** Karras' sigmas, which are noise against signal, as shares of noise. */
  private karrasFlow(): { readonly timesteps: Float64Array; readonly sigmas: Float64Array } {
    this.expectKnown("karras_flow");
    const {
      steps = NaN,
      sigmaMin = this.training[0],
      sigmaMax = this.training[this.training.length - 1],
    } = this.options;
    expectSteps(this.name, steps, this.schedule.steps);
    const times = karrasSigmas({ steps, sigmaMin, sigmaMax }).map((sigma) => sigma / (1 + sigma));
    return { timesteps: times.map((time) => Math.trunc(time * this.schedule.steps)), sigmas: this.ended(times) };
  }

  /** The sigmas with the one that the last step goes to: `last` where that is the end of the grid. */
  private ended(sigmas: Float64Array, last = sigmas[sigmas.length - 1]): Float64Array {
    const { finalSigma = "zero" } = this.options;
    const { final } = this.sigmas;
    if (final === "0" && finalSigma !== "zero")
      throw new ArgumentError({
        op: this.name,
        problem: `finalSigma is "${finalSigma}", and this scheduler ends at 0.`,
      });
    const least = final === "0 or least" ? this.training[0] : last;
    return Float64Array.of(...sigmas, finalSigma === "zero" && final !== "last" ? 0 : least);
  }

  /** Refuses sigmas that no sampler can step through. The last two may be one, as in diffusers' grids to "sigma_min". */
  private expectDescending(sigmas: Float64Array): void {
    const last = sigmas.length - 1;
    const descends = (sigma: number, i: number): boolean =>
      i === last ? sigma >= 0 && sigma <= sigmas[i - 1] : sigma > 0 && sigma < (i === 0 ? Infinity : sigmas[i - 1]);
    if (sigmas.length < 2 || !sigmas.every(descends))
      throw new ArgumentError({
        op: this.name,
        problem: `sigmas are [${sigmas.join(", ")}].`,
        advice: "Expected two at least that descend, the last of which is where the run ends, 0 perhaps.",
      });
  }

  private expectKnown(grid: SigmaGridName): void {
    const known: readonly string[] = this.sigmas.grids;
    if (!known.includes(grid))
      throw new ArgumentError({
        op: this.name,
        problem: `sigmas is "${grid}".`,
        advice:
          known.length === 0 ? "This scheduler has no such grids." : `This scheduler has "${known.join('", "')}".`,
      });
  }
}

const sigmaGrids: Readonly<
  Record<Exclude<SigmaGridName, "flow" | "karras_flow">, (range: SigmaRange) => Float64Array>
> = {
  karras: karrasSigmas,
  exponential: exponentialSigmas,
  lu: exponentialSigmas,
  beta: betaSigmas,
};

/** Entries of the calls that Heun's method makes, at both ends of a step: all but the first one and the `last` ones twice. */
export function heunCalls(values: Float64Array, last: 0 | 1): Float64Array {
  const inner = values.subarray(1, Math.max(values.length - last, 1));
  const ends = values.subarray(Math.max(values.length - last, 1));
  return Float64Array.of(values[0], ...Array.from(inner, (value) => [value, value]).flat(), ...ends);
}
