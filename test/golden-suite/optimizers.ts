// Cases of optimizers: steps with given gradients, and clipping of gradients.

import type { AdamOptions, RMSpropOptions, SGDOptions, Tensor } from "langevin";
import { Adam, AdamW, Parameter, RMSprop, SGD, clipGradNorm, clipGradValue, zeros } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import type { Setting } from "./suite.ts";

interface OptimizerCase {
  readonly optimizer: keyof typeof optimizers;
  readonly kwargs: Kwargs;
  readonly steps: number;
  readonly inputs: Readonly<Record<string, string>>;
  readonly grads: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly lr_factor?: readonly number[];
  readonly tolerance: Tolerance;
}

type Kwargs = Readonly<Record<string, unknown>>;

/** The options of this library's constructors that PyTorch's keyword arguments mean. */
function optionsOf({ eps, weight_decay, ...same }: Kwargs): Kwargs {
  return { ...same, epsilon: eps, weightDecay: weight_decay };
}

const optimizers = {
  Adam: (groups: unknown) => new Adam(groups as (AdamOptions & { parameters: Parameter[] })[]),
  AdamW: (groups: unknown) => new AdamW(groups as (AdamOptions & { parameters: Parameter[] })[]),
  SGD: (groups: unknown) => new SGD(groups as (SGDOptions & { parameters: Parameter[] })[]),
  RMSprop: (groups: unknown) => new RMSprop(groups as (RMSpropOptions & { parameters: Parameter[] })[]),
};

/** The groups of a case: its own, or one of all parameters. */
function groupsOf(kwargs: Kwargs, parameters: Readonly<Record<string, Parameter>>): unknown[] {
  const { groups, ...options } = kwargs as { readonly groups?: readonly (Kwargs & { readonly params: string })[] };
  if (!groups) return [{ ...optionsOf(options), parameters: Object.values(parameters) }];
  return groups.map(({ params, ...own }) => ({ ...optionsOf(own), parameters: [parameters[params]] }));
}

/** Row `index` of the first axis. */
function row({ data, shape, dtype }: Numbers, index: number): Numbers {
  const rest = shape.slice(1);
  const size = rest.reduce((product, n) => product * n, 1);
  return { data: data.subarray(index * size, (index + 1) * size), shape: rest, dtype };
}

/** Runs a case of an optimizer of `golden/optim/optimizers`. */
export async function runOptimizerCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as OptimizerCase;
  const names = Object.keys(c.inputs);
  const parameters = Object.fromEntries(
    names.map((name) => [name, new Parameter(setting.tensor(data.read(c.inputs[name])))]),
  );
  const optimizer = optimizers[c.optimizer](groupsOf(c.kwargs, parameters));
  const rates = optimizer.groups.map(({ lr }) => lr);
  const update = setting.planned((gradients: Record<string, Tensor>) => {
    for (const name of names) parameters[name].addGradient(gradients[name]);
    optimizer.step();
  });
  for (let step = 0; step < c.steps; step++) {
    optimizer.groups.forEach((group, i) => (group.lr = rates[i] * (c.lr_factor?.[step] ?? 1)));
    update(Object.fromEntries(names.map((name) => [name, setting.tensor(row(data.read(c.grads[name]), step))])));
    for (const name of names) {
      const expected = row(data.read(c.outputs[name]), step);
      expectClose(`${name} after step ${step + 1}`, await setting.numbers(parameters[name]), expected, c.tolerance);
    }
  }
  optimizer.dispose();
  for (const parameter of Object.values(parameters)) parameter.dispose();
  return true;
}

interface ClipCase {
  readonly op: "clip_grad_norm" | "clip_grad_value";
  readonly kwargs: { readonly max_norm: number; readonly norm_type: "2.0" | "inf"; readonly clip_value: number };
  readonly grads: Readonly<Record<string, string>>;
  readonly grad_index: number;
  readonly total_norm?: number;
  readonly outputs: Readonly<Record<string, string>>;
  readonly tolerance: Tolerance;
}

/** Runs a case of clipping of `golden/optim/optimizers`. */
export async function runClipCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const { op, kwargs, outputs, tolerance, ...c } = given as unknown as ClipCase;
  const parameters = Object.entries(c.grads).map(([name, key]) => {
    const gradient = row(data.read(key), c.grad_index);
    const parameter = new Parameter(zeros(gradient.shape));
    parameter.assignGrad(setting.tensor(gradient));
    return [name, parameter] as const;
  });
  const list = parameters.map(([, parameter]) => parameter);
  if (op === "clip_grad_norm") {
    const normType = kwargs.norm_type === "inf" ? Infinity : 2;
    const norm = setting.planned(() => clipGradNorm(list, kwargs.max_norm, { normType }))();
    const expected = { data: Float64Array.of(c.total_norm!), shape: [], dtype: norm.dtype };
    expectClose("total_norm", await setting.numbers(norm), expected, tolerance);
  } else {
    const bound = Math.fround(kwargs.clip_value); // PyTorch compared with the float32 number
    setting.planned(() => {
      clipGradValue(list, bound);
    })();
  }
  for (const [name, parameter] of parameters)
    expectClose(name, await setting.numbers(parameter.grad!), data.read(outputs[name]), tolerance);
  return true;
}
