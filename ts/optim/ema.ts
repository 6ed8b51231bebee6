// EMA: an exponential moving average of a model's parameters, which samples better than the parameters themselves.

import { ArgumentError, GradientError, LifetimeError, showShape, showValue } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import type { Parameter, ParameterPack } from "../tensor/parameter.ts";
import { expectFits, listParameters, packParameters } from "../tensor/parameter.ts";
import { Counter, eachStep, observe, outsideRecording, perStep, refuseInRecording } from "../tensor/recording.ts";
import { adopted, expectFunction, scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { applyInPlace } from "../tensor/tensor.ts";

/** How an average follows the parameters; diffusers' `EMAModel` has the same options. */
export interface EMAOptions {
  /** Greatest decay, default 0.9999: the average then reaches over the last 10,000 steps or so. */
  readonly decay?: number;
  /** Least decay, once it is above 0 (diffusers: `min_decay`); default 0. */
  readonly minDecay?: number;
  /** So many updates, and one, only copy the parameters (`update_after_step`); default 0. */
  readonly updateAfterStep?: number;
  /** Whether the decay rises as 1 - (1 + k / invGamma)^-power (`use_ema_warmup`), else as (1 + k) / (10 + k); default false. */
  readonly useWarmup?: boolean;
  /** Inverse speed of that warm-up (`inv_gamma`); default 1. */
  readonly invGamma?: number;
  /**
   * Its exponent, default 2/3: a decay of 0.999 is reached after 31,600 updates and 0.9999 after a million. 3/4 suits
   * shorter training, with 0.999 after 10,000 updates.
   */
  readonly power?: number;
}

/** What an average has gathered: tensors, to be saved as safetensors, and numbers, to be saved as JSON. */
export interface EMAState {
  /**
   * By the parameter's number: `3.shadow`. Handles to live memory, in this library's layouts; parameters that were frozen
   * when the average was made have none.
   */
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Everything else; JSON can hold it. */
  readonly numbers: {
    /** Updates so far. */
    readonly updates: number;
    /** The options, with their defaults. */
    readonly options: Required<EMAOptions>;
  };
}

const defaults: Required<EMAOptions> = {
  decay: 0.9999,
  minDecay: 0,
  updateAfterStep: 0,
  useWarmup: false,
  invGamma: 1,
  power: 2 / 3,
};

/**
 * Parameters in whose place there are averages, of whichever `EMA`: swaps of two averages that overlap in time would each put
 * back what they found, and so leave averages behind.
 */
const replaced = new WeakSet<Parameter>();

/** A flat tensor of averages, each where its parameter lies in the pack. */
interface Shadow {
  readonly pack: ParameterPack;
  readonly values: Tensor;
}

/**
 * An exponential moving average of parameters (Polyak and Juditsky 1992; diffusers' `EMAModel`):
 * shadow = decay shadow + (1 - decay) p at each `update()`, to be called after the optimizer's step. The decay rises from 0
 * to `decay`; see `decayAt`. The shadows lie as an optimizer's state does, so that an update is one pass over flat memory.
 *
 * Parameters that are frozen when the average is made are not averaged, and stand for themselves; of those that are frozen
 * later the shadow is a copy.
 *
 * ```ts
 * const ema = new EMA(model.parameters(), { decay: 0.999 });
 * // in the training step, after adam.step():
 * ema.update();
 * // and to sample with the averages:
 * const pictures = await ema.swap(() => sample({ model, ... }));
 * ```
 */
export class EMA {
  /** All parameters, each once. */
  readonly parameters: readonly Parameter[];
  private settings: Required<EMAOptions>;
  /** Those that were not frozen when the average was made. */
  private readonly averaged: ReadonlySet<Parameter>;
  private shadows: readonly Shadow[] = [];
  /** Which of them holds the average of a parameter. */
  private readonly shadowOf = new Map<Parameter, Shadow>();
  private readonly updates = new Counter();
  private disposed = false;

  /** Starts from the parameters as they are. Throws ArgumentError for options out of range. */
  constructor(parameters: Iterable<Parameter>, options: EMAOptions = {}) {
    refuseInRecording("EMA", "an average of weights was made", "Make it outside.");
    this.parameters = listParameters("EMA", parameters);
    this.settings = checked("EMA", options);
    this.averaged = new Set(this.parameters.filter(({ requiresGrad }) => requiresGrad));
    if (this.averaged.size === 0)
      throw new ArgumentError({
        op: "EMA",
        problem: this.parameters.length === 0 ? "no parameters were given." : "every parameter is frozen.",
        advice: "Pass model.parameters(), some of which are trained.",
      });
    // An optimizer that is there already keeps its pack, whatever the order of its groups.
    const loose = [...this.averaged].filter(({ pack }) => !pack);
    if (loose.length > 0) packParameters("EMA", loose);
    this.layShadows();
  }

  /** The options, with their defaults. */
  get options(): Required<EMAOptions> {
    return this.settings;
  }

  /**
   * The decay of update number `update`, counted from 1 (diffusers: `get_decay`): with k = update - updateAfterStep - 1 it
   * is 0 where k <= 0, and else (1 + k) / (10 + k), or 1 - (1 + k / invGamma)^-power with `useWarmup`, held between
   * `minDecay` and `decay`.
   */
  decayAt(update: number): number {
    const { decay, minDecay, updateAfterStep, useWarmup, invGamma, power } = this.settings;
    const k = update - updateAfterStep - 1;
    if (k <= 0) return 0;
    const rising = useWarmup ? 1 - (1 + k / invGamma) ** -power : (1 + k) / (10 + k);
    return Math.max(minDecay, Math.min(decay, rising));
  }

  /** Moves the averages towards the parameters. Throws while averages stand in for them, in `swap`. */
  update(): void {
    const op = "EMA.update";
    this.expectUsable(op);
    this.expectNotSwapped(op);
    this.expectStillFrozen(op);
    const weight = perStep(() => 1 - this.decayAt(this.updates.value + 1));
    for (const { pack, values } of this.shadows)
      for (const { first, last, frozen } of this.stretches(pack))
        scope(() => {
          const average = adopted(pack.flat(op, values, first, last));
          const source = adopted(pack.flat(op, pack.values, first, last));
          if (frozen) applyInPlace(ops.assign, [average, source], {});
          else applyInPlace(ops.ema, [average, source], { weight });
        });
    eachStep(() => this.updates.add());
  }

  /**
   * Overwrites parameters with the averages (`EMAModel.copy_to`): those of the model itself, unless others of the same
   * shapes are given, such as a second model's.
   */
  copyTo(parameters: Iterable<Parameter> = this.parameters): void {
    const op = "EMA.copyTo";
    this.expectUsable(op);
    const targets = listParameters(op, parameters);
    if (targets.length !== this.parameters.length)
      throw new ArgumentError({
        op,
        problem: `was given ${targets.length} parameters, and holds the averages of ${this.parameters.length}.`,
        advice: "Pass the parameters of a model that is built in the same way.",
      });
    scope(() => {
      const sources = this.parameters.map((parameter) => this.average(op, parameter) ?? parameter);
      targets.forEach((target, i) => {
        expectFits(op, `the average of parameter ${i}`, target, sources[i]);
      });
      targets.forEach((target, i) => {
        if (target !== sources[i]) target.assign(sources[i]);
      });
    });
  }

  /**
   * Runs `fn` with the averages in the parameters' place, and then puts the parameters back, bit for bit, also where it
   * fails. Where `fn` returns a promise they are put back once that is settled, and a promise is returned: meanwhile no
   * training step may run. Throws where a swap of these parameters is under way, by this average or another one, and in
   * captured functions.
   */
  swap<R>(fn: () => R): R {
    const op = "EMA.swap";
    expectFunction(op, fn);
    refuseInRecording(op, "averages were put in the parameters' place", "Do it outside.");
    this.expectUsable(op);
    this.expectNotSwapped(op);
    const before = [...this.averaged].map((parameter) => [parameter, noGrad(() => parameter.clone()).keep()] as const);
    const restore = (): void => {
      for (const [parameter, values] of before) {
        replaced.delete(parameter);
        parameter.assign(values);
        values.dispose();
      }
    };
    for (const parameter of this.averaged) replaced.add(parameter);
    let result: R;
    try {
      this.copyTo();
      result = fn();
    } catch (error) {
      restore();
      throw error;
    }
    if (isPromiseLike(result)) return Promise.resolve(result).finally(restore) as R;
    restore();
    return result;
  }

  /** What was gathered so far. The tensors are handles to live memory, which change with the next update. */
  stateDict(): EMAState {
    const op = "EMA.stateDict";
    this.expectUsable(op);
    const tensors = this.entries().map(([key, parameter]) => [key, this.average(op, parameter)!] as const);
    return {
      tensors: Object.fromEntries(tensors),
      numbers: { updates: this.updates.value, options: this.settings },
    };
  }

  /**
   * Goes on from where an average of the same parameters was, with its options. Names and shapes must match; nothing is
   * changed when they do not.
   */
  loadStateDict({ tensors, numbers }: EMAState): void {
    const op = "EMA.loadStateDict";
    this.expectUsable(op);
    const refusal = (problem: string): ArgumentError =>
      new ArgumentError({ op, problem: `the state does not belong to this average: ${problem}` });
    const entries = this.entries();
    const missing = entries.filter(([key]) => !(key in tensors)).map(([key]) => key);
    const unknown = Object.keys(tensors).filter((key) => !entries.some(([name]) => name === key));
    if (missing.length > 0 || unknown.length > 0)
      throw refusal(`missing [${missing.join(", ")}], unknown [${unknown.join(", ")}].`);
    for (const [key, parameter] of entries) expectFits(op, key, parameter, tensors[key]);
    if (!Number.isInteger(numbers.updates) || numbers.updates < 0)
      throw refusal(`its number of updates is ${showValue(numbers.updates)}.`);
    this.settings = checked(op, numbers.options);
    this.updates.set(numbers.updates);
    scope(() => {
      for (const [key, parameter] of entries) applyInPlace(ops.assign, [this.average(op, parameter), tensors[key]], {});
    });
  }

  /** Frees the averages. */
  dispose(): void {
    this.disposed = true;
    for (const { values } of this.shadows) values.dispose();
  }

  /** The averaged parameters, with the names of their averages in the state. */
  private entries(): (readonly [key: string, parameter: Parameter])[] {
    const numbered = this.parameters.map((parameter, i) => [`${i}.shadow`, parameter] as const);
    return numbered.filter(([, parameter]) => this.averaged.has(parameter));
  }

  /** The average of a parameter, in its shape; undefined where it stands for itself. */
  private average(op: string, parameter: Parameter): Tensor | undefined {
    const shadow = this.shadowOf.get(parameter);
    return shadow && adopted(shadow.pack.part(op, shadow.values, shadow.pack.parameters.indexOf(parameter)));
  }

  /** Where neighbours in a pack lie that are averaged, and alike in being frozen. */
  private stretches(pack: ParameterPack): { first: number; last: number; frozen: boolean }[] {
    const stretches: { first: number; last: number; frozen: boolean }[] = [];
    pack.parameters.forEach((parameter, i) => {
      if (this.shadowOf.get(parameter)?.pack !== pack) return;
      const frozen = !parameter.requiresGrad;
      const before = stretches.at(-1);
      if (before?.last === i && before.frozen === frozen) before.last = i + 1;
      else stretches.push({ first: i, last: i + 1, frozen });
    });
    return stretches;
  }

  /** Makes shadows beside the packs that the parameters lie in now, and puts into them the averages so far, if any. */
  private layShadows(): void {
    const op = "EMA";
    const packs = new Set([...this.averaged].map(({ pack }) => pack!));
    const before = this.shadows;
    this.shadows = [...packs].map((pack) => ({ pack, values: pack.zeros() }));
    scope(() => {
      for (const parameter of this.averaged) {
        const source = this.average(op, parameter) ?? parameter;
        this.shadowOf.set(
          parameter,
          this.shadows.find(({ pack }) => pack === parameter.pack)!,
        );
        applyInPlace(ops.assign, [this.average(op, parameter), source], {});
      }
    });
    for (const { values } of before) values.dispose();
  }

  private isBesideParameters(): boolean {
    return [...this.averaged].every((parameter) => this.shadowOf.get(parameter)!.pack === parameter.pack);
  }

  /** Refuses to go on when disposed; follows parameters that a newer optimizer has moved. */
  private expectUsable(op: string): void {
    if (observe(() => this.disposed))
      throw new LifetimeError({ op, problem: "the average was disposed.", advice: "Make a new one." });
    if (!this.isBesideParameters())
      outsideRecording(() => {
        this.layShadows();
      });
    observe(() => this.isBesideParameters());
  }

  private expectNotSwapped(op: string): void {
    if (observe(() => [...this.averaged].some((parameter) => replaced.has(parameter))))
      throw new ArgumentError({
        op,
        problem: "averages stand in for the parameters, in a swap that is under way.",
        advice: "Await what swap returns first.",
      });
  }

  /** Refuses parameters of which there should be an average by now. */
  private expectStillFrozen(op: string): void {
    const thawed = this.parameters.findIndex((parameter) => parameter.requiresGrad && !this.averaged.has(parameter));
    if (thawed >= 0)
      throw new GradientError({
        op,
        problem: `parameter ${thawed}, of shape ${showShape(this.parameters[thawed].shape)}, is trained, but was frozen when the average was made.`,
        advice: "Make a new average, or call requireGrad() before making it.",
      });
  }
}

/** The options with their defaults, within their ranges. */
function checked(op: string, options: EMAOptions): Required<EMAOptions> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const all: Required<EMAOptions> = { ...defaults, ...(Object.fromEntries(given) as EMAOptions) };
  const refuse = (name: keyof EMAOptions, expected: string): never => {
    throw new ArgumentError({ op, problem: `${name} is ${showValue(all[name])}, expected ${expected}.` });
  };
  for (const name of ["decay", "minDecay"] as const)
    if (!(all[name] >= 0 && all[name] <= 1)) refuse(name, "a number from 0 to 1");
  if (all.minDecay > all.decay) refuse("minDecay", `at most decay, which is ${all.decay}`);
  if (!Number.isInteger(all.updateAfterStep) || all.updateAfterStep < 0) refuse("updateAfterStep", "an integer >= 0");
  if (typeof all.useWarmup !== "boolean") refuse("useWarmup", "true or false");
  for (const name of ["invGamma", "power"] as const)
    if (!(all[name] > 0 && all[name] < Infinity)) refuse(name, "a number > 0");
  return all;
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
