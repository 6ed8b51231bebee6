// Initial weights, as PyTorch draws them by default (other numbers, the same distributions).

import type { TorchLayout } from "../io/layout.ts";
import type { Shape } from "../ops/index.ts";
import { ops } from "../ops/index.ts";
import { Parameter } from "../tensor/parameter.ts";
import { floatingType, nextWeights } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { TensorOptions } from "../tensor/tensor.ts";
import { apply, executorOf } from "../tensor/tensor.ts";

/**
 * Uniform in +-1 / sqrt(fanIn): PyTorch's default for the weights (kaiming_uniform with a = sqrt(5)) and biases of
 * linear and convolutional layers.
 */
export function uniformByFanIn(
  shape: Shape,
  fanIn: number,
  layout: TorchLayout,
  options: TensorOptions = {},
): Parameter {
  const high = 1 / Math.sqrt(fanIn);
  const attributes = {
    shape,
    dtype: floatingType("initial weights", options.dtype),
    ...nextWeights(),
    low: -high,
    high,
  };
  return new Parameter(apply(ops.rand, [], attributes, executorOf(options)).keep(), layout);
}

/** Standard normal: PyTorch's default for embeddings. */
export function standardNormal(shape: Shape, options: TensorOptions = {}): Parameter {
  return normal(shape, 1, "plain", options);
}

/** Normal with mean 0 and the given standard deviation (`torch.nn.init.normal_`). */
export function normal(
  shape: Shape,
  deviation: number,
  layout: TorchLayout = "plain",
  options: TensorOptions = {},
): Parameter {
  const attributes = { shape, dtype: floatingType("initial weights", options.dtype), ...nextWeights() };
  const drawn = scope(() => apply(ops.randn, [], attributes, executorOf(options)).mul(deviation));
  return new Parameter(drawn.keep(), layout);
}
