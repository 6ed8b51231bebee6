// Cases of optimizers: steps with given gradients.

import type { AdamOptions } from "langevin";
import { Adam, Parameter } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import type { Setting } from "./suite.ts";

interface OptimizerCase {
  readonly optimizer: string;
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly steps: number;
  readonly inputs: Readonly<Record<string, string>>;
  readonly grads: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly lr_factor?: readonly number[];
  readonly tolerance: Tolerance;
}

/** The options of PyTorch's constructor that this library has; undefined when one is not among them. */
function adamOptions(optimizer: string, kwargs: Readonly<Record<string, unknown>>): AdamOptions | undefined {
  const { lr, betas, eps, weight_decay: weightDecay, ...others } = kwargs;
  if ((optimizer !== "Adam" && optimizer !== "AdamW") || Object.keys(others).length > 0) return undefined;
  const decoupled = optimizer === "AdamW";
  // PyTorch's AdamW decays by 0.01 unless told otherwise.
  return { lr, betas, epsilon: eps, weightDecay: weightDecay ?? (decoupled ? 0.01 : 0), decoupled } as AdamOptions;
}

/** Row `index` of the first axis. */
function row({ data, shape, dtype }: Numbers, index: number): Numbers {
  const rest = shape.slice(1);
  const size = rest.reduce((product, n) => product * n, 1);
  return { data: data.subarray(index * size, (index + 1) * size), shape: rest, dtype };
}

/** Runs a case of `golden/optim/optimizers`; false when the optimizer or one of its options is not supported. */
export async function runOptimizerCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as OptimizerCase;
  const options = adamOptions(c.optimizer, c.kwargs);
  if (!options || c.lr_factor) return false;
  const names = Object.keys(c.inputs);
  const parameters = names.map((name) => new Parameter(setting.tensor(data.read(c.inputs[name]))));
  const adam = new Adam(parameters, options);
  for (let step = 0; step < c.steps; step++) {
    for (const [i, name] of names.entries())
      parameters[i].addGradient(setting.tensor(row(data.read(c.grads[name]), step)));
    adam.step();
    for (const [i, name] of names.entries()) {
      const expected = row(data.read(c.outputs[name]), step);
      expectClose(`${name} after step ${step + 1}`, await setting.numbers(parameters[i]), expected, c.tolerance);
    }
  }
  adam.dispose();
  for (const parameter of parameters) parameter.dispose();
  return true;
}
