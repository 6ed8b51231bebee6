// Optimizer: what all optimizers share. Groups of parameters in one flat buffer, one pass for each stretch of it, and state.

import { ArgumentError, GradientError, LifetimeError, showShape, showValue } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Parameter, ParameterPack } from "../tensor/parameter.ts";
import { expectFits, listParameters, packParameters } from "../tensor/parameter.ts";
import type { StepNumber } from "../tensor/recording.ts";
import { Counter, agree, eachStep, observe, perSteps, refuseInRecording } from "../tensor/recording.ts";
import { adopted, scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { applyInPlace } from "../tensor/tensor.ts";

/** A learning rate: a number, or a function of the number of steps that the optimizer has taken. */
export type LearningRate = number | ((step: number) => number);

/** Options that all optimizers have. */
export interface OptimizerOptions {
  /** Learning rate. May be changed between steps, through `optimizer.lr` or `optimizer.groups[i].lr`. */
  readonly lr?: LearningRate;
}

/** Parameters with options of their own; what is left out is taken from the optimizer's options. */
export type ParameterGroup<Options> = Options & {
  /** The parameters of the group. */
  readonly parameters: Iterable<Parameter>;
};

/** A group as an optimizer holds it: every option has a value, and the learning rate may be changed. */
export type OptimizerGroup<Options> = Readonly<Omit<Required<Options>, "lr">> & {
  /** Learning rate of the next step. */
  get lr(): number;
  /** Sets it from the next step on, to a number or a function of the steps that the optimizer has taken. */
  set lr(lr: LearningRate);
  /** The parameters of the group. */
  readonly parameters: readonly Parameter[];
};

/**
 * What an optimizer has learned: tensors, to be saved as safetensors, and numbers, to be saved as JSON. Parameters are
 * numbered through all groups, as PyTorch does.
 */
export interface OptimizerState<Options> {
  /** By the parameter's number and PyTorch's name: `3.exp_avg`. Handles to live memory, in this library's layouts. */
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Everything else; JSON can hold it. */
  readonly numbers: {
    /** Steps that the optimizer has taken. */
    readonly step: number;
    /** Steps that each parameter has taken. */
    readonly steps: readonly number[];
    /** The groups' options, with the learning rate of the next step and the numbers of their parameters. */
    readonly groups: readonly (StepSettings<Options> & {
      /** Their numbers. */
      readonly parameters: readonly number[];
    })[];
  };
}

/** What a step reads and overwrites: flat tensors of equally many elements. */
export interface StepOperands {
  /** What is updated in place. */
  readonly parameter: Tensor;
  /** Of the same shape. */
  readonly gradient: Tensor;
  /** By the names that `UpdateRule.state` lists. */
  readonly state: Readonly<Record<string, Tensor | undefined>>;
}

/** The options of a group in one step: all have a value, and the learning rate is a number. */
export type StepSettings<Options> = Readonly<Omit<Required<Options>, "lr">> & {
  /** Learning rate of that step. */
  readonly lr: number;
};

/** What makes one optimizer differ from another. */
export interface UpdateRule<Options> {
  /** The optimizer's name in errors. */
  readonly name: string;
  /** Values of the options that are not given. */
  readonly defaults: Required<Options>;
  /** Refuses options out of their range. */
  check(options: StepSettings<Options>): void;
  /** PyTorch's names of what is kept for each element; it is zero before the first step. */
  state(options: StepSettings<Options>): readonly string[];
  /** What differs from step to step, in float64, for parameters that take their step number `count`, from 1. */
  rates(options: StepSettings<Options>, count: number): readonly number[];
  /** Updates parameters; `rates` are those of the step, of all its steps in a plan. */
  update(operands: StepOperands, options: StepSettings<Options>, rates: readonly StepNumber[]): void;
}

/** A parameter with its group and the number of steps that it has taken. */
interface Member<Options> {
  readonly parameter: Parameter;
  readonly group: OptimizerGroup<Options>;
  readonly steps: Counter;
}

/**
 * Updates parameters by their gradients. The parameters of all groups move into one flat buffer when the optimizer is
 * made, and one pass over a stretch of it updates those that are alike; an earlier optimizer that held some of them in
 * another list can step no more. Parameters that are frozen at that time (`requireGrad(false)`) stay where they are.
 */
export abstract class Optimizer<Options extends OptimizerOptions> {
  /** The parameters with their options. */
  readonly groups: readonly OptimizerGroup<Options>[];
  private readonly rule: UpdateRule<Options>;
  /** All parameters, in the order of the groups. */
  private readonly members: readonly Member<Options>[];
  /** Those that were not frozen when the optimizer was made, in the order of the pack. */
  private readonly packed: readonly Member<Options>[];
  private readonly frozen: readonly Member<Options>[];
  private readonly pack: ParameterPack;
  /** Steps taken. */
  private readonly steps = new Counter();
  private readonly learningRates = new Map<OptimizerGroup<Options>, LearningRate>();
  /** Flat tensors beside the pack, by name. */
  private readonly state = new Map<string, Tensor>();
  private disposed = false;

  /** @internal */
  constructor(
    rule: UpdateRule<Options>,
    parameters: Iterable<Parameter> | readonly ParameterGroup<Options>[],
    options: Options,
  ) {
    refuseInRecording(rule.name, "an optimizer was made", "Make it outside.");
    this.rule = rule;
    this.groups = groupsOf(parameters).map((given) => this.group(given, options));
    this.members = this.groups.flatMap((group) =>
      group.parameters.map((parameter) => ({ parameter, group, steps: new Counter() })),
    );
    this.packed = this.members.filter(({ parameter }) => parameter.requiresGrad);
    this.frozen = this.members.filter(({ parameter }) => !parameter.requiresGrad);
    for (const group of this.groups) rule.check(this.settings(group));
    this.expectDistinct();
    if (this.members.length === 0) throw this.refusal("no parameters were given.", "Pass model.parameters().");
    if (this.packed.length === 0)
      throw this.refusal("every parameter is frozen.", "Call requireGrad() on those to be trained.");
    this.pack = packParameters(
      rule.name,
      this.packed.map(({ parameter }) => parameter),
    );
    this.makeState();
  }

  /** The learning rate that all groups have in the next step; throws ArgumentError where they differ. */
  get lr(): number {
    const [first, ...others] = this.groups.map(({ lr }) => lr);
    if (others.some((lr) => lr !== first))
      throw this.refusal(
        `the groups have learning rates ${[first, ...others].join(", ")}.`,
        "Use optimizer.groups[i].lr.",
      );
    return first;
  }

  /**
   * Sets the learning rate of all groups from the next step on, a number or a function of the steps taken. Throws
   * ArgumentError where the groups have different ones, and while `train` runs ahead of its reports.
   */
  set lr(lr: LearningRate) {
    this.expectNotAhead(lr);
    void this.lr; // throws where the groups differ
    for (const group of this.groups) group.lr = lr;
  }

  /** Updates every parameter that has a gradient, and consumes the gradients; other parameters are left alone. */
  step(): void {
    const op = `${this.rule.name}.step`;
    this.expectUsable(op);
    this.expectStillFrozen(op);
    const ready = this.packed.map(({ parameter }) => parameter.grad !== undefined);
    if (!ready.includes(true))
      throw new ArgumentError({
        op,
        problem: "no parameter has a gradient.",
        advice: "Call loss.backward() before step().",
      });
    for (const group of this.groups) this.rule.check(this.settings(group));
    let first = 0;
    for (const last of this.stretches(ready)) {
      if (ready[first]) this.update(op, first, last);
      first = last;
    }
    eachStep(() => this.steps.add());
  }

  /** Where neighbours in the pack end that share a group, have taken equally many steps, and are alike in being ready. */
  private stretches(ready: readonly boolean[]): number[] {
    const ends: number[] = [];
    this.packed.forEach(({ group, steps }, i) => {
      const next = this.packed.at(i + 1);
      if (
        i + 1 === this.packed.length ||
        next!.group !== group ||
        ready[i + 1] !== ready[i] ||
        !agree(next!.steps, steps)
      )
        ends.push(i + 1);
    });
    return ends;
  }

  /** Forgets the gradients without using them (`torch.optim.Optimizer.zero_grad`). */
  zeroGrad(): void {
    for (const { parameter } of this.members) parameter.clearGrad();
  }

  /** Frees the optimizer's state. */
  dispose(): void {
    this.disposed = true;
    for (const whole of this.state.values()) whole.dispose();
  }

  /**
   * What was learned so far (`torch.optim.Optimizer.state_dict`). The tensors are handles to live memory, which change
   * with the next step; parameters that have taken no step have none.
   */
  stateDict(): OptimizerState<Options> {
    const op = `${this.rule.name}.stateDict`;
    this.expectUsable(op);
    const tensors = this.entries(this.members.map(({ steps }) => steps.value)).map(
      ({ key, name, place }) => [key, adopted(this.pack.part(op, this.state.get(name)!, place))] as const,
    );
    let index = 0;
    return {
      tensors: Object.fromEntries(tensors),
      numbers: {
        step: this.steps.value,
        steps: this.members.map(({ steps }) => steps.value),
        groups: this.groups.map((group) => ({
          ...this.settings(group),
          parameters: group.parameters.map(() => index++),
        })),
      },
    };
  }

  /**
   * Goes on from where an optimizer of the same parameters was, with its options
   * (`torch.optim.Optimizer.load_state_dict`), but that a learning rate which is a function here stays. Groups, names and
   * shapes must match; nothing is changed when they do not.
   */
  loadStateDict({ tensors, numbers }: OptimizerState<Options>): void {
    const op = `${this.rule.name}.loadStateDict`;
    this.expectUsable(op);
    const refusal = (problem: string): ArgumentError =>
      new ArgumentError({ op, problem: `the state does not belong to this optimizer: ${problem}` });
    const sizes = numbers.groups.map(({ parameters }) => parameters.length).join(", ");
    const own = this.groups.map(({ parameters }) => parameters.length).join(", ");
    if (sizes !== own || numbers.steps.length !== this.members.length)
      throw refusal(`groups of [${sizes}] parameters, here [${own}].`);
    const trained = this.members.findIndex((member, i) => numbers.steps[i] > 0 && this.frozen.includes(member));
    if (trained >= 0) throw refusal(`parameter ${trained} took steps there and is frozen here.`);
    const options = numbers.groups.map((group) => withoutParameters<Options>(group));
    for (const each of options) this.rule.check(each);
    if (!Number.isInteger(numbers.step) || numbers.step < 0)
      throw refusal(`its number of steps is ${showValue(numbers.step)}.`);

    const entries = this.entries(numbers.steps, options);
    const missing = entries.filter(({ key }) => !(key in tensors)).map(({ key }) => key);
    const unknown = Object.keys(tensors).filter((key) => !entries.some((entry) => entry.key === key));
    if (missing.length > 0 || unknown.length > 0)
      throw refusal(`missing [${missing.join(", ")}], unknown [${unknown.join(", ")}].`);
    for (const { key, place } of entries) expectFits(op, key, this.packed[place].parameter, tensors[key]);

    this.groups.forEach((group, i) => {
      const lr = this.learningRates.get(group)!;
      Object.assign(group, options[i]);
      if (typeof lr === "function") group.lr = lr;
    });
    this.steps.set(numbers.step);
    this.members.forEach((member, i) => {
      member.steps.set(numbers.steps[i]);
    });
    const before = [...this.state.values()];
    this.makeState();
    for (const { key, name, place } of entries) {
      const part = this.pack.part(op, this.state.get(name)!, place);
      applyInPlace(ops.assign, [part, tensors[key]], {});
      part.dispose();
    }
    for (const whole of before) whole.dispose();
  }

  /** The tensors of state of parameters that have taken `steps`, with their place in the pack. */
  private entries(
    steps: readonly number[],
    options = this.groups.map((group) => this.settings(group)),
  ): { readonly key: string; readonly name: string; readonly place: number }[] {
    return this.members.flatMap((member, i) =>
      steps[i] === 0
        ? []
        : this.rule
            .state(options[this.groups.indexOf(member.group)])
            .map((name) => ({ key: `${i}.${name}`, name, place: this.packed.indexOf(member) })),
    );
  }

  /** One pass over neighbours in the pack that share a group and have taken equally many steps. */
  private update(op: string, first: number, last: number): void {
    const { group, steps } = this.packed[first];
    const options = this.settings(group);
    observe(() => JSON.stringify(this.fixedOptions(group)));
    const rates = perSteps(() => {
      const now = this.settings(group);
      this.rule.check(now);
      return this.rule.rates(now, steps.value + 1);
    });
    scope(() => {
      const flat = (whole: Tensor): Tensor => adopted(this.pack.flat(op, whole, first, last));
      const state = this.rule.state(options).map((name) => [name, flat(this.state.get(name)!)] as const);
      const { values, gradients } = this.pack;
      const operands = { parameter: flat(values), gradient: flat(gradients), state: Object.fromEntries(state) };
      this.rule.update(operands, options, rates);
    });
    const updated = this.packed.slice(first, last);
    eachStep(() => {
      for (const { steps, parameter } of updated) {
        steps.add();
        parameter.version.add();
      }
    });
    for (const { parameter } of updated) parameter.clearGrad();
  }

  /** A group as it was given, with the optimizer's options or the defaults where it names none. */
  private group(given: ParameterGroup<Options>, options: Options): OptimizerGroup<Options> {
    const group = completed(this.rule.name, given, options, this.rule.defaults);
    const rates = this.learningRates.set(group, group.lr);
    return Object.defineProperty(group, "lr", {
      enumerable: true,
      get: () => {
        const step = this.steps.value; // refuses, in a captured function, to fix what may change
        const rate = rates.get(group)!;
        return typeof rate === "function" ? rate(step) : rate;
      },
      set: (rate: LearningRate) => {
        this.expectNotAhead(rate);
        rates.set(group, rate);
      },
    });
  }

  /** A group's options in the next step. */
  private settings(group: OptimizerGroup<Options>): StepSettings<Options> {
    const rate = this.learningRates.get(group)!;
    const lr = typeof rate === "function" ? rate(this.steps.peek()) : rate;
    return { ...this.fixedOptions(group), lr } as unknown as StepSettings<Options>;
  }

  /** A group's options without the learning rate. */
  private fixedOptions(group: OptimizerGroup<Options>): Record<string, unknown> {
    const options = Object.keys(group).filter((name) => name !== "parameters" && name !== "lr");
    return Object.fromEntries(options.map((name) => [name, (group as Record<string, unknown>)[name]]));
  }

  /** Refuses a learning rate that would come too late: for steps that are queued already. */
  private expectNotAhead(lr: LearningRate): void {
    refuseInRecording(`${this.rule.name}.lr`, "the learning rate was set", "Pass lr as a function of the step.");
    if (this.steps.ahead)
      throw new ArgumentError({
        op: `${this.rule.name}.lr`,
        problem: `the learning rate was set to ${showValue(lr)} while steps are under way that are to use the one before.`,
        advice: "Pass lr as a function of the step, or let train pause now and then (pauseEvery).",
      });
  }

  /** Zeros for all that the groups' options ask to be kept. */
  private makeState(): void {
    const names = new Set(this.groups.flatMap((group) => this.rule.state(this.settings(group))));
    this.state.clear();
    for (const name of names) this.state.set(name, this.pack.zeros());
  }

  private expectUsable(op: string): void {
    if (observe(() => this.disposed))
      throw new LifetimeError({ op, problem: "the optimizer was disposed.", advice: "Make a new one." });
    this.pack.expectWhole(op);
  }

  /** Refuses a parameter that is in two groups. */
  private expectDistinct(): void {
    const seen = new Map<Parameter, number>();
    for (const [i, { parameters }] of this.groups.entries())
      for (const [k, parameter] of parameters.entries()) {
        const earlier = seen.get(parameter);
        if (earlier !== undefined)
          throw this.refusal(
            `parameter ${k} of group ${i}, of shape ${showShape(parameter.shape)}, is in group ${earlier}, too.`,
          );
        seen.set(parameter, i);
      }
  }

  /** Refuses a gradient that would be forgotten. */
  private expectStillFrozen(op: string): void {
    const thawed = this.frozen.find(({ parameter }) => parameter.grad);
    if (thawed)
      throw new GradientError({
        op,
        problem: `parameter ${this.members.indexOf(thawed)}, of shape ${showShape(thawed.parameter.shape)}, has a gradient, but was frozen when the optimizer was made.`,
        advice: "Make a new optimizer, or call requireGrad() before making it.",
      });
  }

  private refusal(problem: string, advice?: string): ArgumentError {
    return new ArgumentError({ op: this.rule.name, problem, advice });
  }
}

/** @internal Refuses an option of an optimizer outside low <= value < high. */
export function expectRange(op: string, name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high))
    throw new ArgumentError({
      op,
      problem: `${name} is ${value}, expected ${low} <= ${name}${high === Infinity ? "" : ` < ${high}`}.`,
    });
}

/** A list of parameters is one group without options of its own. */
function groupsOf<Options>(
  parameters: Iterable<Parameter> | readonly ParameterGroup<Options>[],
): readonly ParameterGroup<Options>[] {
  const isGroup = (item: unknown): item is ParameterGroup<Options> =>
    typeof item === "object" && item !== null && "parameters" in item;
  if (Array.isArray(parameters) && parameters.length > 0 && parameters.every(isGroup)) return parameters;
  return [{ parameters } as ParameterGroup<Options>];
}

/** A group with a value for each option: its own, else the optimizer's, else the default. */
function completed<Options>(
  op: string,
  given: ParameterGroup<Options>,
  options: Options,
  defaults: Required<Options>,
): OptimizerGroup<Options> {
  const group: Record<string, unknown> = { ...defaults };
  for (const source of [options, given] as Record<string, unknown>[])
    for (const [name, value] of Object.entries(source)) if (value !== undefined) group[name] = value;
  group.parameters = listParameters(op, given.parameters);
  return group as OptimizerGroup<Options>;
}

/** The options of a group, without its parameters. */
function withoutParameters<Options>(group: { readonly parameters: readonly unknown[] }): StepSettings<Options> {
  const { parameters: _, ...options } = group;
  return options as unknown as StepSettings<Options>;
}
