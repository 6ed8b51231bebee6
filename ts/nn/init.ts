// Initial weights: as PyTorch draws them by default (other numbers, the same distributions), and as papers want them.

import type { TorchLayout } from "../io/layout.ts";
import type { Shape } from "../ops/index.ts";
import { ops } from "../ops/index.ts";
import { zeros } from "../tensor/creation.ts";
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
  return uniform(shape, 1 / Math.sqrt(fanIn), layout, options);
}

/** Uniform in +-bound (`torch.nn.init.uniform_`). */
function uniform(shape: Shape, bound: number, layout: TorchLayout, options: TensorOptions): Parameter {
  const attributes = {
    shape,
    dtype: floatingType("initial weights", options.dtype),
    ...nextWeights(),
    low: -bound,
    high: bound,
  };
  return new Parameter(apply(ops.rand, [], attributes, executorOf(options)).keep(), layout);
}

/** Normal with mean 0 and the given standard deviation (`torch.nn.init.normal_`); 1 is PyTorch's default for embeddings. */
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

/** How weights begin that do not begin as PyTorch's default. */
export type WeightInit =
  | {
      /** Uniform between minus this and this. */
      readonly uniform: number;
    }
  | {
      /** Normal with mean 0 and this standard deviation. */
      readonly normal: number;
    }
  | "zeros";

/** Keeps the variance of signals and gradients alike (Glorot and Bengio 2010, eq. 16; `torch.nn.init.xavier_uniform_`). */
export function xavierUniform(fanIn: number, fanOut: number): WeightInit {
  return { uniform: Math.sqrt(6 / (fanIn + fanOut)) };
}

/** Weights that begin as `init` says. */
export function initialised(
  init: WeightInit,
  shape: Shape,
  layout: TorchLayout,
  options: TensorOptions = {},
): Parameter {
  if (init === "zeros") return new Parameter(zeros(shape, options).keep(), layout);
  if ("normal" in init) return normal(shape, init.normal, layout, options);
  return uniform(shape, init.uniform, layout, options);
}
