// What all schedulers share: options that are checked, config files in diffusers' words, and solvers for a number of steps.

import type { z } from "zod";
import { ArgumentError, LangevinError, showValue } from "../../errors/index.ts";
import type { SamplingGrid } from "../grids/sampling-grid.ts";
import type { NoiseSchedule } from "../noise-schedule.ts";
import type { NoiseLevel } from "../predictions.ts";
import type { Limit } from "../solver/limit.ts";
import type { SolverCall } from "../solver/solver-call.ts";
import { Solver } from "../solver/solver.ts";
import type { SchedulerOptions } from "./options.ts";
import { configKey, optionName, optionSchemas } from "./options.ts";

/** The name of an option. */
export type OptionName = keyof SchedulerOptions;

/** What a run of a scheduler may be given: exactly one of a number of steps, timesteps and sigmas. */
export interface SolverRun {
  /** Number of steps (diffusers' `num_inference_steps`). */
  readonly steps?: number;
  /** The timesteps themselves, descending. */
  readonly timesteps?: ArrayLike<number>;
  /** The noise levels themselves, descending, their end included (flow matching: without it). */
  readonly sigmas?: ArrayLike<number>;
  /** Leave out this many steps at the start, for pictures that are not all noise (diffusers' `set_begin_index`). Default 0. */
  readonly begin?: number;
}

/** The calls of a run, the noise that it starts from, and where it ends. */
export interface Trajectory {
  /** Calls of the network, in order. */
  readonly calls: readonly SolverCall[];
  /** Standard deviation of the noise to start from. */
  readonly initialNoise: number;
  /** How much of x0 and of noise is in x after the last call. */
  readonly end: NoiseLevel;
}

/** A config file's contents: diffusers' keys. */
export type SchedulerConfig = Readonly<Record<string, unknown>>;

/** What networks a scheduler samples: of a noise schedule, with EDM's preconditioning, or of flow matching. */
export type SchedulerFamily = "schedule" | "edm" | "flow";

/** How a class of diffusers is defined: its options with their defaults, and which values of them it has. */
export interface SchedulerDefinition<K extends OptionName> {
  /** diffusers' class. */
  readonly name: string;
  /** Its options with diffusers' defaults. */
  readonly defaults: Readonly<Pick<SchedulerOptions, K>>;
  /** Where it has fewer values of an option than others. */
  readonly choices?: { readonly [O in K]?: readonly SchedulerOptions[O][] };
}

/** Declares a scheduler; exists for its type inference. */
export function defineScheduler<K extends OptionName>(definition: SchedulerDefinition<K>): SchedulerDefinition<K> {
  return definition;
}

/** The options that a definition lists, each of which may be left out; a schedule may stand for those of the betas. */
export type OptionsOf<D> =
  D extends SchedulerDefinition<infer K>
    ? Partial<Pick<SchedulerOptions, K>> & ("trainedBetas" extends K ? { readonly schedule?: NoiseSchedule } : unknown)
    : never;

/** A class of schedulers. */
export interface SchedulerClass<S> {
  readonly definition: SchedulerDefinition<never>;
  new (options: never): S;
}

type GivenOptions<K extends OptionName> = Partial<Pick<SchedulerOptions, K>> & { readonly schedule?: NoiseSchedule };

/**
 * A sampler with the name, options and config file of a class of diffusers. `solver` makes it ready for a number of steps,
 * for `sample({ solver, ... })` or a loop of your own; pipelines do that themselves.
 */
export abstract class Scheduler<K extends OptionName = never, R extends SolverRun = SolverRun> {
  /** diffusers' class. */
  readonly name: string;
  /** All options, those that were not given included. */
  readonly options: Readonly<Pick<SchedulerOptions, K>>;
  /** Keys of a config file that this scheduler has no use for, such as the version of diffusers. */
  private readonly otherKeys: Record<string, unknown> = {};

  constructor(definition: SchedulerDefinition<K>, given: GivenOptions<K>) {
    const { schedule, ...options } = given;
    const betas = schedule ? optionsOfSchedule(definition, schedule) : {};
    this.name = definition.name;
    this.options = {
      ...definition.defaults,
      ...betas,
      ...checkedOptions(definition, options as Partial<Pick<SchedulerOptions, K>>),
    };
    for (const option of Object.keys(betas))
      if (Object.hasOwn(options, option))
        throw new ArgumentError({
          op: this.name,
          problem: `${option} is given, and the schedule has one.`,
          advice: "Leave it out, or give no schedule.",
        });
  }

  /**
   * A scheduler from the contents of diffusers' scheduler_config.json, which may be that of another class: what this one
   * does not have of it is left out, as in diffusers.
   */
  static fromConfig<S extends Scheduler>(this: SchedulerClass<S>, config: SchedulerConfig): S {
    const { options, otherKeys } = optionsOfConfig(this.definition, config);
    const scheduler = new this(options as never);
    Object.assign(scheduler.otherKeys, otherKeys);
    return scheduler;
  }

  /** The sampler for a run. Throws ArgumentError where the options and the run do not go together, naming both. */
  solver(run: R): Solver {
    const { begin = 0 } = run;
    if (!Number.isInteger(begin) || begin < 0)
      throw new ArgumentError({ op: this.name, problem: `begin is ${begin}, expected an integer >= 0.` });
    const { calls, initialNoise, end } = this.named(() => this.trajectory(run));
    if (calls.length === 0)
      throw new ArgumentError({ op: this.name, problem: `begin is ${begin}, which leaves no step of the run.` });
    return new Solver({
      name: this.name,
      calls,
      initialNoise,
      end,
      limit: this.limit(),
      learnsVariance: this.learnsVariance,
    });
  }

  /** Puts the scheduler's name before errors of the functions that it calls. */
  private named<T>(make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (error instanceof LangevinError && error.op !== this.name) error.enterModule(this.name);
      throw error;
    }
  }

  /** The contents of diffusers' scheduler_config.json. */
  config(): SchedulerConfig {
    const options = Object.entries(this.options).map(([option, value]) => [configKey(option), value] as const);
    const entries = [...Object.entries({ _class_name: this.name, ...this.otherKeys }), ...options];
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** What networks it samples. */
  abstract readonly family: SchedulerFamily;

  /** The timesteps of all calls of a run, and its sigmas where it steps through sigmas, as diffusers' set_timesteps makes them. */
  abstract grid(run: R): SamplingGrid;

  /** The calls of a run. */
  protected abstract trajectory(run: R): Trajectory;

  /** Whether the network returns twice the channels. */
  protected get learnsVariance(): boolean {
    const { varianceType } = this.options as Partial<SchedulerOptions>;
    return varianceType === "learned" || varianceType === "learned_range";
  }

  /** How x0 is limited. */
  protected limit(): Limit | undefined {
    const options = this.options as Partial<SchedulerOptions>;
    if (options.thresholding)
      return { kind: "threshold", ratio: options.dynamicThresholdingRatio!, most: options.sampleMaxValue! };
    return options.clipSample ? { kind: "clip", range: options.clipSampleRange! } : undefined;
  }
}

/** Refuses options that the scheduler does not have, and values that an option does not have. */
function checkedOptions<K extends OptionName>(
  { name, defaults, choices }: SchedulerDefinition<K>,
  given: Partial<Pick<SchedulerOptions, K>>,
): Partial<Pick<SchedulerOptions, K>> {
  const checked: Record<string, unknown> = {};
  for (const [option, value] of Object.entries(given)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(defaults, option))
      throw new ArgumentError({
        op: name,
        problem: `it has no option ${option}.`,
        advice: `It has ${Object.keys(defaults).join(", ")}.`,
      });
    const problem = problemOf(option as K, value, choices?.[option as K]);
    if (problem !== undefined)
      throw new ArgumentError({
        op: name,
        problem: `${option} is ${showValue(value)}.`,
        advice: `Expected ${problem}.`,
      });
    checked[option] = value;
  }
  return checked as Partial<Pick<SchedulerOptions, K>>;
}

/** What was expected of an option instead of a value; undefined where the value is one of it. */
function problemOf(option: OptionName, value: unknown, choices: readonly unknown[] | undefined): string | undefined {
  if (choices)
    return choices.includes(value) ? undefined : choices.map((choice) => JSON.stringify(choice)).join(" or ");
  const parsed = (optionSchemas[option] as z.ZodType).safeParse(value);
  if (parsed.success) return undefined;
  const [{ message, path }] = parsed.error.issues;
  const where = path.length === 0 ? "" : ` at [${path.join("][")}]`;
  return message.replace(/^(Invalid [a-z]+|Too big|Too small): expected /, "") + where;
}

/**
 * The options in a config file. Keys that begin with _ are notes of diffusers. Of a config of another class, as where one
 * scheduler is exchanged for another, what this class does not have is left out, and values that it does not have fall
 * back to its defaults, as in diffusers; in its own config both are errors, unless another scheduler has the key.
 */
export function optionsOfConfig<K extends OptionName>(
  definition: SchedulerDefinition<K>,
  config: SchedulerConfig,
): { readonly options: Partial<Pick<SchedulerOptions, K>>; readonly otherKeys: SchedulerConfig } {
  const options: Record<string, unknown> = {};
  const otherKeys: Record<string, unknown> = {};
  const isOwn = config._class_name === undefined || config._class_name === definition.name;
  for (const [key, value] of Object.entries(config)) {
    const option = optionName(key);
    if (key.startsWith("_")) {
      if (key !== "_class_name" && isOwn) otherKeys[key] = value;
      continue;
    }
    if (!Object.hasOwn(optionSchemas, option))
      throw new ArgumentError({
        op: definition.name,
        problem: `its config has the key ${key}, which no scheduler has.`,
        advice: `It has ${Object.keys(definition.defaults).map(configKey).join(", ")}.`,
      });
    if (!Object.hasOwn(definition.defaults, option)) continue;
    const problem = problemOf(option as K, value, definition.choices?.[option as K]);
    if (problem === undefined) options[option] = value;
    else if (isOwn)
      throw new ArgumentError({
        op: definition.name,
        problem: `${key} in its config is ${showValue(value)}.`,
        advice: `Expected ${problem}.`,
      });
  }
  return { options: options as Partial<Pick<SchedulerOptions, K>>, otherKeys };
}

/** The options that a schedule stands for. */
function optionsOfSchedule<K extends OptionName>(
  { name, defaults }: SchedulerDefinition<K>,
  schedule: NoiseSchedule,
): Partial<SchedulerOptions> {
  const { options, steps: numTrainTimesteps } = schedule;
  const { rescaleZeroTerminalSnr: rescaleBetasZeroSnr = false } = options;
  const canRescale = Object.hasOwn(defaults, "rescaleBetasZeroSnr");
  if (rescaleBetasZeroSnr && !canRescale)
    throw new ArgumentError({
      op: name,
      problem: "the schedule is rescaled to zero terminal SNR, and this scheduler has no such option.",
    });
  const shared = { numTrainTimesteps, ...(canRescale && { rescaleBetasZeroSnr }) };
  if ("betas" in options) return { ...shared, trainedBetas: Array.from(options.betas) };
  const { schedule: betaSchedule = "linear" } = options;
  if (!("betaStart" in options)) return { ...shared, betaSchedule };
  const { betaStart, betaEnd } = options;
  return { ...shared, betaSchedule, betaStart, betaEnd };
}
