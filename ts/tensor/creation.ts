// Tensors made from constants, from counting, or by joining others.

import { ArgumentError, showValue } from "../errors/index.ts";
import type { Shape } from "../ops/index.ts";
import {
  expectDTypeName,
  expectHolds,
  expectIntegers,
  expectRank,
  expectShape,
  expectSizes,
  resolveAxis,
} from "../ops/checks.ts";
import { ops } from "../ops/index.ts";
import { scope } from "./scope.ts";
import type { Tensor, TensorOptions } from "./tensor.ts";
import { apply, defaultDType, executorOf, tensor } from "./tensor.ts";
import { expectTensor } from "./value.ts";

/** A tensor full of `value` (`torch.full`). */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  return constant("full", shape, value, options);
}

/** Zeros. */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return constant("zeros", shape, 0, options);
}

/** Ones. */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return constant("ones", shape, 1, options);
}

function constant(op: string, shape: Shape, value: number, options: TensorOptions): Tensor {
  const dtype = options.dtype ?? defaultDType();
  expectDTypeName(op, dtype);
  expectSizes(op, shape);
  expectHolds(op, dtype, value);
  return apply(ops.fill, [], { shape, dtype, value }, executorOf(options));
}

/** A tensor full of `value` with the shape, dtype and device of `like` unless told otherwise (`torch.full_like`). */
export function fullLike(like: Tensor, value: number, options: TensorOptions = {}): Tensor {
  expectTensor("fullLike", "like", like);
  return full(like.shape, value, { dtype: like.dtype, device: like.device, ...options });
}

/** Zeros with the shape, dtype and device of `like` (`torch.zeros_like`). */
export function zerosLike(like: Tensor, options: TensorOptions = {}): Tensor {
  return fullLike(like, 0, options);
}

/** Ones with the shape, dtype and device of `like` (`torch.ones_like`). */
export function onesLike(like: Tensor, options: TensorOptions = {}): Tensor {
  return fullLike(like, 1, options);
}

/** 0, 1, 2, ... below `stop` (`torch.arange`): int32 where it is an integer, else floating, unless told otherwise. */
export function arange(stop: number, options?: TensorOptions): Tensor;
/**
 * start, start + step, ... as long as they lie before `stop`; the step, by default 1, may be negative. int32 where all
 * three are integers, else floating, unless told otherwise.
 */
export function arange(start: number, stop: number, step?: number, options?: TensorOptions): Tensor;
export function arange(
  first: number,
  second: number | TensorOptions = {},
  step = 1,
  options: TensorOptions = {},
): Tensor {
  const ranged = typeof second === "number";
  const [start, stop] = ranged ? [first, second] : [0, first];
  const count = Math.ceil((stop - start) / step);
  if (!ranged && !(typeof first === "number" && first >= 0))
    throw new ArgumentError({ op: "arange", problem: `stop is ${showValue(first)}, expected a number >= 0.` });
  if (!Number.isFinite(count) || count < 0)
    throw new ArgumentError({
      op: "arange",
      problem: `no numbers go from ${start} to ${stop} in steps of ${step}.`,
      advice: "The step is not 0 and leads from start towards stop.",
    });
  expectSizes("arange", [count]);
  const whole = [start, stop, step].every(Number.isInteger);
  return tensor(
    Float64Array.from({ length: count }, (_, i) => start + i * step),
    { dtype: whole ? "int32" : defaultDType(), ...(ranged ? options : second) },
  );
}

/** `count` floating numbers from `start` to `stop`, both included, at equal distances (`torch.linspace`). */
export function linspace(start: number, stop: number, count: number, options: TensorOptions = {}): Tensor {
  expectIntegers("linspace", "count", [count], 1, 0);
  const step = (stop - start) / Math.max(1, count - 1);
  return tensor(
    Float64Array.from({ length: count }, (_, i) => (i > 0 && i === count - 1 ? stop : start + i * step)),
    { dtype: defaultDType(), ...options },
  );
}

/** Ones on the diagonal of [rows, columns], by default a square, and zeros beside it (`torch.eye`). */
export function eye(rows: number, columns = rows, options: TensorOptions = {}): Tensor {
  expectSizes("eye", [rows, columns]);
  return scope(() => {
    const diagonal = ones([Math.min(rows, columns)], options);
    const flat = { shape: [rows * columns], starts: [0], steps: [columns + 1], value: 0 };
    return apply(ops.place, [diagonal], flat).reshape([rows, columns]);
  });
}

/** Joins tensors along `axis` (`torch.cat`); all other sizes are equal. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  expectList("concat", tensors);
  return apply(ops.concat, tensors, { axis });
}

/** Joins tensors of one shape along a new axis at position `axis` of the result, default 0 (`torch.stack`). */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  expectList("stack", tensors);
  tensors.forEach((x, k) => {
    expectTensor("stack", `tensor ${k}`, x);
    expectShape("stack", `tensor ${k}`, x, tensors[0].shape, "as tensor 0");
  });
  const at = resolveAxis("stack", axis, tensors[0].rank + 1);
  return scope(() => {
    const layers = tensors.map((x) => x.unsqueeze(at));
    return concat(layers, at);
  });
}

/** Refuses what is no array of at least one tensor. */
function expectList(op: string, tensors: readonly Tensor[]): void {
  if (!Array.isArray(tensors))
    throw new ArgumentError({ op, problem: `tensors is ${showValue(tensors)}, expected an array of tensors.` });
  if (tensors.length === 0) throw new ArgumentError({ op, problem: "no tensors were given." });
}

/**
 * Coordinates of a grid over vectors (`torch.meshgrid` with "ij"): of vectors of sizes M, N, ... as many tensors of
 * shape [M, N, ...], the k-th of which varies along axis k as vector k does.
 */
export function meshgrid(...vectors: Tensor[]): Tensor[] {
  vectors.forEach((vector, k) => {
    expectTensor("meshgrid", `vector ${k}`, vector);
    expectRank("meshgrid", `vector ${k}`, vector, 1, "[n]");
  });
  const shape = vectors.map((vector) => vector.size);
  return vectors.map((vector, k) =>
    scope(() => vector.reshape(shape.map((n, i) => (i === k ? n : 1))).broadcastTo(shape)),
  );
}
