// Cases of single operations with their gradients, in PyTorch's layouts.

import type { Tensor } from "langevin";
import { scope } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { blockRules } from "./rules/blocks.ts";
import { convRules } from "./rules/conv.ts";
import { linearRules } from "./rules/linear.ts";
import { lossRules } from "./rules/losses.ts";
import { normActRules } from "./rules/norm-act.ts";
import type { Rules } from "./rules/rule.ts";
import { shapeReduceRules } from "./rules/shape-reduce.ts";
import type { Setting } from "./suite.ts";

const rules: Rules = {
  ...convRules,
  ...linearRules,
  ...normActRules,
  ...shapeReduceRules,
  ...lossRules,
  ...blockRules,
};

interface OpCase {
  readonly op: string;
  readonly params: Readonly<Record<string, never>>;
  readonly inputs: Readonly<Record<string, string>>;
  readonly differentiable?: readonly string[];
  readonly cotangents?: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly outputs_f64?: Readonly<Record<string, string>>;
  readonly grads?: Readonly<Record<string, string>>;
  readonly grads_f64?: Readonly<Record<string, string>>;
  readonly tolerance: Tolerance;
}

/** In float64 the float64 reference must be met to this. */
const exact: Tolerance = { rtol: 1e-9, atol: 1e-9 };

/** Runs a case of `golden/ops`; false when the operation, or this form of it, is not supported. */
export async function runOpCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const { op, params, inputs, ...c } = given as unknown as OpCase;
  const rule = rules[op];
  if (!rule) return false;
  const read = (names: Readonly<Record<string, string>>): Record<string, Tensor> =>
    Object.fromEntries(Object.entries(names).map(([name, key]) => [name, setting.tensor(data.read(key))]));
  const wanted = c.differentiable ?? [];
  const compute = setting.planned((values: Record<string, Tensor>, cotangents: Record<string, Tensor>) => {
    const leaves = wanted.map((name) => [name, values[name].detach().requireGrad()] as const);
    const results = rule({ inputs: { ...values, ...Object.fromEntries(leaves) }, params });
    if (!results) return undefined;
    const outputs = "shape" in results ? { out: results as Tensor } : results;
    for (const [name, cotangent] of Object.entries(cotangents)) outputs[name].backward(cotangent);
    const gradients = leaves.map(([name, { grad }]) => {
      if (!grad) throw new Error(`no gradient reached ${name}`);
      return [name, grad.detach()] as const;
    });
    return { outputs, gradients: Object.fromEntries(gradients) };
  });
  const [values, cotangents] = [read(inputs), read(c.cotangents ?? {})];
  const results = scope(() => compute(values, cotangents));
  if (!results) return false;
  const tolerance = setting.dtype === "float64" ? exact : c.tolerance;
  const reference = (
    plain: Readonly<Record<string, string>>,
    f64: Readonly<Record<string, string>> | undefined,
    name: string,
  ): Numbers => data.read(f64?.[name] ?? plain[`${name}_f64`] ?? plain[name]);
  for (const [name, output] of Object.entries(results.outputs))
    expectClose(name, await setting.numbers(output), reference(c.outputs, c.outputs_f64, name), tolerance);
  for (const [name, gradient] of Object.entries(results.gradients)) {
    const expected = reference(c.grads ?? {}, c.grads_f64, name);
    expectClose(`grad.${name}`, await setting.numbers(gradient), expected, tolerance);
  }
  return true;
}
