// Module: the base of layers and models, which names their parameters and puts their path into errors.

import { ArgumentError, LangevinError } from "../errors/index.ts";
import { Parameter, expectFits } from "../tensor/parameter.ts";

import type { Tensor } from "../tensor/tensor.ts";

/** Values of a model's parameters by name, in this library's layouts. */
export type StateDict = Record<string, Tensor>;

/** One step from a module to what it holds: a property, or an element of an array property. */
interface Child {
  /** `conv1`, `down[1]` in errors. */
  readonly label: string;
  /** `conv1`, `down.1` as PyTorch names it. */
  readonly name: string;
  readonly value: unknown;
}

/**
 * A layer or a model. A subclass makes its layers and parameters as properties (or arrays of them, not `#private` ones) and defines
 * `forward`; it gets names, state and, in every error that passes `forward`, the path of the layer that failed.
 */
export abstract class Module {
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

  /** All parameters by PyTorch's names (`down.1.conv1.weight`), each once, in the order of their properties. */
  namedParameters(): Map<string, Parameter> {
    const found = new Map<string, Parameter>();
    const seen = new Set<unknown>();
    const visit = (value: unknown, name: string): void => {
      if (!(value instanceof Parameter || value instanceof Module) || seen.has(value)) return;
      seen.add(value);
      if (value instanceof Parameter) found.set(name, value);
      else
        for (const child of childrenOf(value)) visit(child.value, name === "" ? child.name : `${name}.${child.name}`);
    };
    visit(this, "");
    return found;
  }

  /** All parameters, each once. */
  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  /** The parameters' current values by name: handles to live memory, which change as training goes on. */
  stateDict(): StateDict {
    return Object.fromEntries([...this.namedParameters()].map(([name, parameter]) => [name, parameter.detach()]));
  }

  /**
   * Overwrites the parameters with `state`. Names and shapes must match exactly; nothing is changed when they do not.
   */
  loadStateDict(state: StateDict): void {
    const parameters = this.namedParameters();
    const missing = [...parameters.keys()].filter((name) => !(name in state));
    const unknown = Object.keys(state).filter((name) => !parameters.has(name));
    if (missing.length > 0 || unknown.length > 0)
      throw new ArgumentError({
        op: "loadStateDict",
        problem: `the state does not belong to this model: missing [${missing.join(", ")}], unknown [${unknown.join(", ")}].`,
      });
    for (const [name, parameter] of parameters) expectFits("loadStateDict", name, parameter, state[name]);
    for (const [name, parameter] of parameters) parameter.assign(state[name]);
  }

  /** Number of trained values. */
  parameterCount(): number {
    return this.parameters().reduce((count, parameter) => count + parameter.size, 0);
  }

  /** Frees the parameters. The model cannot be used afterwards. */
  dispose(): void {
    for (const parameter of this.parameters()) parameter.dispose();
  }
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
    unfold({ label: key, name: key, value }, []),
  );
}

/** The modules whose `forward` is running, outermost first. */
const running: Module[] = [];

/** Runs a forward; an error on its way out collects the path of the modules that it leaves. */
function entering<T>(module: Module, forward: () => T): T {
  const parent = running.at(-1);
  running.push(module);
  try {
    return forward();
  } catch (error) {
    if (error instanceof LangevinError) error.enterModule(labelOf(module, parent));
    throw error;
  } finally {
    running.pop();
  }
}

/** How the parent calls this module; for the outermost one its class name with a small first letter. */
function labelOf(module: Module, parent: Module | undefined): string {
  const known = parent && childrenOf(parent).find((child) => child.value === module);
  if (known) return known.label;
  const { name } = module.constructor;
  // The field writes UNet as one word.
  return name
    .replaceAll("UNet", "Unet")
    .replace(/^[A-Z]+(?=[A-Z][a-z]|$)|^[A-Z]/, (initials) => initials.toLowerCase());
}
