// Clipping of gradients, by their norm over all parameters and by value.

import { ArgumentError } from "../errors/index.ts";
import { full, stack } from "../tensor/creation.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { listParameters } from "../tensor/parameter.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Scales the gradients so that their norm, over all parameters together, is at most `maxNorm`
 * (`torch.nn.utils.clip_grad_norm_`): every gradient is multiplied by min(1, maxNorm / (norm + 1e-6)). `normType` is that
 * of `Tensor.norm`: 2 (default), 1 or Infinity. Returns the norm before, a scalar, without waiting for it. Parameters
 * without a gradient are left out; if none has one, the norm is 0. Throws ArgumentError unless maxNorm >= 0.
 */
export function clipGradNorm(
  parameters: Iterable<Parameter>,
  maxNorm: number,
  options: { readonly normType?: number } = {},
): Tensor {
  expectLimit("clipGradNorm", "maxNorm", maxNorm);
  const { normType: p = 2 } = options;
  const collected = withGradient("clipGradNorm", parameters);
  if (collected.length === 0) return full([], 0);
  const { dtype, device } = collected[0];
  return noGrad(() =>
    scope(() => {
      const total = stack(collected.map((parameter) => parameter.grad!.norm(undefined, { p }))).norm(undefined, { p });
      const wanted = full([], maxNorm, { dtype, device }).div(total.add(1e-6));
      const scale = wanted.minimum(1);
      for (const parameter of collected)
        scope(() => {
          parameter.assignGrad(parameter.grad!.mul(scale));
        });
      return total;
    }),
  );
}

/**
 * Holds every element of the gradients within [-limit, limit] (`torch.nn.utils.clip_grad_value_`). Parameters without a
 * gradient are left out. Throws ArgumentError unless limit >= 0.
 */
export function clipGradValue(parameters: Iterable<Parameter>, limit: number): void {
  expectLimit("clipGradValue", "limit", limit);
  noGrad(() => {
    for (const parameter of withGradient("clipGradValue", parameters))
      scope(() => {
        parameter.assignGrad(parameter.grad!.clamp({ min: -limit, max: limit }));
      });
  });
}

/** Each once. */
function withGradient(op: string, parameters: Iterable<Parameter>): Parameter[] {
  return listParameters(op, parameters).filter((parameter) => parameter.grad);
}

function expectLimit(op: string, name: string, value: number): void {
  if (!(value >= 0)) throw new ArgumentError({ op, problem: `${name} is ${value}, expected a number >= 0.` });
}
