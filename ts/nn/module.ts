// Module: the base of layers and models, which names their parameters and puts their path into errors.

import { ArgumentError, LangevinError, joinPath } from "../errors/index.ts";
import { Parameter, expectFits } from "../tensor/parameter.ts";
import { layerPath } from "../tensor/recording.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModelSummary, SummaryOptions, Witness } from "./summary.ts";
import { summarise } from "./summary.ts";

/** Values of a model's parameters by name, in this library's layouts. */
export type StateDict = Record<string, Tensor>;

/** One step from a module to what it holds: a property, or an element of an array property. */
interface Child {
  /** `conv1`, `down[1]`, `[0]` in errors. */
  readonly label: string;
  /** `conv1`, `down.1` as PyTorch names it. */
  readonly name: string;
  readonly value: unknown;
}

/**
 * A layer or a model (`torch.nn.Module`). A subclass makes its layers and parameters as properties (or arrays of them, or
 * plain objects; not `#private` ones) and defines the method `forward`; it gets names, state and, in every error that
 * passes `forward`, the path of the layer that failed. (A `forward` that is a property and not a method works, but is
 * missing in those paths.)
 */
export abstract class Module {
  /** Whether layers that behave differently while training, such as dropout, do so now; see `train` and `eval`. */
  training = true;

  /** Computes the output; synchronous. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- each layer takes its own arguments
  abstract forward(...args: any[]): unknown;

  constructor() {
    const forward = this.forward;
    Object.defineProperty(this, "forward", {
      value: (...args: unknown[]): unknown => entering(this, () => forward.apply(this, args)),
      configurable: true,
      writable: true,
    });
  }

  /** The modules that this one holds directly, each once (`torch.nn.Module.children`). */
  children(): Module[] {
    const modules = childrenOf(this).map(({ value }) => value);
    return [...new Set(modules.filter((value) => value instanceof Module))];
  }

  /** This module, named "", and all below it by PyTorch's names, each once (`named_modules`). */
  namedModules(): Map<string, Module> {
    return firstNames(descend(this), (value) => value instanceof Module);
  }

  /**
   * All parameters by PyTorch's names (`down.1.conv1.weight`), in the order of their properties (`named_parameters`).
   * A tied one, which several modules share, is listed once, under its first name, unless `removeDuplicate` is false.
   */
  namedParameters(options: { readonly removeDuplicate?: boolean } = {}): Map<string, Parameter> {
    const isParameter = (value: unknown): value is Parameter => value instanceof Parameter;
    if (options.removeDuplicate ?? true) return firstNames(descend(this), isParameter);
    return new Map([...descend(this)].filter((entry): entry is [string, Parameter] => isParameter(entry[1])));
  }

  /** All parameters, each once. */
  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  /** Makes this module and all below it behave as while training, or with `false` as in use (`torch.nn.Module.train`). */
  train(mode = true): this {
    for (const module of this.namedModules().values()) module.training = mode;
    return this;
  }

  /** Makes this module and all below it behave as in use: dropout passes everything (`torch.nn.Module.eval`). */
  eval(): this {
    return this.train(false);
  }

  /**
   * Stops the training of all parameters: they collect no gradients, and optimizers made from now on leave them alone
   * (`torch.nn.Module.requires_grad_(False)`).
   */
  freeze(): this {
    for (const parameter of this.parameters()) parameter.requireGrad(false);
    return this;
  }

  /** Lets all parameters be trained (`requires_grad_()`), by optimizers that are made afterwards. */
  unfreeze(): this {
    for (const parameter of this.parameters()) parameter.requireGrad();
    return this;
  }

  /**
   * The parameters' current values by name, tied ones under each of their names (`state_dict`): handles to live memory,
   * which change as training goes on.
   */
  stateDict(): StateDict {
    const named = [...this.namedParameters({ removeDuplicate: false })];
    return Object.fromEntries(named.map(([name, parameter]) => [name, parameter.detach()]));
  }

  /**
   * Overwrites the parameters with `state` (`load_state_dict`). Names and shapes must match exactly, but that one name
   * of a tied parameter is enough; nothing is changed when they do not.
   */
  loadStateDict(state: StateDict): void {
    const parameters = this.namedParameters({ removeDuplicate: false });
    const given = new Set([...parameters].filter(([name]) => name in state).map(([, parameter]) => parameter));
    const missing = [...parameters].filter(([, parameter]) => !given.has(parameter)).map(([name]) => name);
    const unknown = Object.keys(state).filter((name) => !parameters.has(name));
    if (missing.length > 0 || unknown.length > 0)
      throw new ArgumentError({
        op: "loadStateDict",
        problem: `the state does not belong to this model: missing [${missing.join(", ")}], unknown [${unknown.join(", ")}].`,
      });
    for (const [name, values] of Object.entries(state))
      expectFits("loadStateDict", name, parameters.get(name)!, values);
    for (const [name, values] of Object.entries(state)) parameters.get(name)!.assign(values);
  }

  /** Number of values in all parameters, frozen ones included. */
  parameterCount(): number {
    return this.parameters().reduce((count, parameter) => count + parameter.size, 0);
  }

  /**
   * What the model is made of, and what it costs: layers with their results, parameters and FLOP, and the memory to sample
   * and to train. A forward and a backward are recorded for that, and nothing is computed.
   *
   *     console.log(String(model.summary({ size: [32, 32, 3] })));
   */
  summary(options: SummaryOptions): ModelSummary {
    const modules = [...this.namedModules().values()];
    const modes = modules.map(({ training }) => training);
    const inMode = <T>(training: boolean, run: () => T): T => {
      try {
        this.train(training);
        return run();
      } finally {
        modules.forEach((module, i) => (module.training = modes[i]));
      }
    };
    return summarise(
      {
        parameters: this.parameters(),
        forward: (inputs, training, witness) =>
          inMode(training, () => watching(witness, () => this.forward(...inputs))),
      },
      options,
    );
  }

  /** Frees the parameters. The model cannot be used afterwards. */
  dispose(): void {
    for (const parameter of this.parameters()) parameter.dispose();
  }
}

/**
 * A module and all modules and parameters below it by PyTorch's names, parents first; what is held twice comes under
 * both names. A module that is held somewhere below itself ends the way there.
 */
function* descend(
  module: Module,
  prefix = "",
  around: readonly Module[] = [],
): Generator<[string, Module | Parameter]> {
  yield [prefix, module];
  const inside = [...around, module];
  for (const { name, value } of childrenOf(module)) {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    if (value instanceof Parameter) yield [path, value];
    else if (value instanceof Module && !inside.includes(value)) yield* descend(value, path, inside);
  }
}

/** The entries of one kind, each under its first name. */
function firstNames<T>(entries: Iterable<[string, unknown]>, isKind: (value: unknown) => value is T): Map<string, T> {
  const names = new Map<T, string>();
  for (const [name, value] of entries) if (isKind(value) && !names.has(value)) names.set(value, name);
  return new Map([...names].map(([value, name]) => [name, value]));
}

/** What a module holds in its properties, and in arrays and plain objects there. */
function childrenOf(module: Module): Child[] {
  const unfold = (child: Child, around: readonly unknown[]): Child[] => {
    const { label, name, value } = child;
    const plain = typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
    if ((!plain && !Array.isArray(value)) || around.includes(value)) return [child];
    return Object.entries(value).flatMap(([key, inner]: [string, unknown]) =>
      unfold({ label: plain ? `${label}.${key}` : `${label}[${key}]`, name: `${name}.${key}`, value: inner }, [
        ...around,
        value,
      ]),
    );
  };
  return Object.entries(module).flatMap(([key, value]: [string, unknown]) =>
    unfold({ label: /^\d+$/.test(key) ? `[${key}]` : key, name: key, value }, []),
  );
}

/** A module whose `forward` is running; its path is computed when somebody asks. */
interface Running {
  readonly module: Module;
  readonly parent: Running | undefined;
  path?: string;
}

/** The innermost module whose `forward` is running. */
let innermost: Running | undefined;

/** Where a module is, from the outermost one that is running: `unet.down[1].conv1`. */
function pathOf(running: Running): string {
  if (running.path !== undefined) return running.path;
  const { module, parent } = running;
  return (running.path = joinPath(parent && pathOf(parent), labelOf(module, parent?.module)));
}

/** Who looks on while forwards run, if anybody does. */
let witness: Witness | undefined;

function watching<T>(looking: Witness | undefined, run: () => T): T {
  const before = witness;
  witness = looking;
  try {
    return run();
  } finally {
    witness = before;
  }
}

layerPath.ofForward = () => (innermost ? pathOf(innermost) : "");

/** Runs a forward; an error on its way out collects the path of the modules that it leaves. */
function entering<T>(module: Module, forward: () => T): T {
  const parent = innermost;
  innermost = { module, parent };
  try {
    const leave = witness?.(pathOf(innermost), module);
    const result = forward();
    leave?.(result);
    return result;
  } catch (error) {
    if (error instanceof LangevinError) error.enterModule(labelOf(module, parent?.module));
    throw error;
  } finally {
    innermost = parent;
  }
}

/** How the parent calls this module; for the outermost one its class name with a small first letter. */
function labelOf(module: Module, parent: Module | undefined): string {
  const known = parent && childrenOf(parent).find((child) => child.value === module);
  if (known) return known.label;
  const { name } = module.constructor;
  // The field writes UNet and DiT as one word each.
  return name
    .replaceAll("UNet", "Unet")
    .replaceAll("DiT", "Dit")
    .replace(/^[A-Z]+(?=[A-Z][a-z]|$)|^[A-Z]/, (initials) => initials.toLowerCase());
}
