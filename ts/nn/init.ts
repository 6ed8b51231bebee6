// Initial weights: as PyTorch draws them by default (other numbers, the same distributions), and as papers want them.

import type { TorchLayout } from "../io/layout.ts";
import type { Shape } from "../ops/index.ts";
import { ops } from "../ops/index.ts";
import { zeros } from "../tensor/creation.ts";
import { Parameter } from "../tensor/parameter.ts";
import { floatingType, nextWeights } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor, TensorOptions } from "../tensor/tensor.ts";
import { apply, executorOf } from "../tensor/tensor.ts";

/** What stands for drawing, while a model is built whose weights come from elsewhere. */
let substitute: ((shape: Shape, make: () => Parameter) => Parameter) | undefined;

/** A parameter with values that `draw` makes, or with zeros while `withoutDrawing` runs. */
export function parameterOf(shape: Shape, layout: TorchLayout, options: TensorOptions, draw: () => Tensor): Parameter {
  const made = (values: Tensor): Parameter => new Parameter(values.keep(), layout);
  return substitute ? substitute(shape, () => made(zeros(shape, options))) : made(draw());
}

/** How a model is built whose weights come from elsewhere. */
export interface WithoutDrawingOptions {
  /** How many parameters there can be at most. */
  readonly parameters: number;
  /** How many values they can have in all. */
  readonly values: number;
  /** The error for a parameter of this shape, which is one too many or too large. */
  readonly refuse: (shape: Shape) => Error;
}

/**
 * Runs `build` with parameters that begin as zeros; the stream of random numbers stays where it is. Before there are more of them
 * than there can be, it throws; what was made by then is freed.
 */
export function withoutDrawing<T>(options: WithoutDrawingOptions, build: () => T): T {
  const before = substitute;
  const made: Parameter[] = [];
  let values = options.values;
  substitute = (shape, make) => {
    values -= shape.reduce((product, n) => product * n, 1);
    if (values < 0 || made.length === options.parameters) throw options.refuse(shape);
    const parameter = make();
    made.push(parameter);
    return parameter;
  };
  try {
    return build();
  } catch (error) {
    for (const parameter of made) parameter.dispose();
    throw error;
  } finally {
    substitute = before;
  }
}

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
  const dtype = floatingType("initial weights", options.dtype);
  return parameterOf(shape, layout, options, () =>
    apply(ops.rand, [], { shape, dtype, ...nextWeights(), low: -bound, high: bound }, executorOf(options)),
  );
}

/** Normal with mean 0 and the given standard deviation (`torch.nn.init.normal_`); 1 is PyTorch's default for embeddings. */
export function normal(
  shape: Shape,
  deviation: number,
  layout: TorchLayout = "plain",
  options: TensorOptions = {},
): Parameter {
  const dtype = floatingType("initial weights", options.dtype);
  return parameterOf(shape, layout, options, () =>
    scope(() => apply(ops.randn, [], { shape, dtype, ...nextWeights() }, executorOf(options)).mul(deviation)),
  );
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
  if (init === "zeros") return parameterOf(shape, layout, options, () => zeros(shape, options));
  if ("normal" in init) return normal(shape, init.normal, layout, options);
  return uniform(shape, init.uniform, layout, options);
}
