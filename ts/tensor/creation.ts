// Tensors made from constants, from counting, or by joining others.

import { ArgumentError } from "../errors/index.ts";
import type { Shape } from "../ops/index.ts";
import { ops } from "../ops/index.ts";
import type { Tensor, TensorOptions } from "./tensor.ts";
import { apply, defaultDType, executorOf, tensor } from "./tensor.ts";

/** A tensor full of `value` (`torch.full`). */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  return apply(ops.fill, [], { shape, dtype: options.dtype ?? defaultDType(), value }, executorOf(options));
}

/** Zeros. */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** Ones. */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** 0, 1, ..., count - 1 as int32 (`torch.arange`), or in another dtype. */
export function arange(count: number, options: TensorOptions = {}): Tensor {
  if (!Number.isInteger(count) || count < 0)
    throw new ArgumentError({ op: "arange", problem: `count is ${count}, expected an integer >= 0.` });
  return tensor(
    Int32Array.from({ length: count }, (_, i) => i),
    { dtype: "int32", ...options },
  );
}

/** Joins tensors along `axis` (`torch.cat`); all other sizes are equal. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  if (tensors.length === 0) throw new ArgumentError({ op: "concat", problem: "no tensors were given." });
  return apply(ops.concat, tensors, { axis });
}
