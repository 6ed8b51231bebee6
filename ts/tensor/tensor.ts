// Tensor: an n-dimensional array on a device, with eager operations that are recorded for gradients.

import { defaultExecutor, openDevice } from "../device/devices.ts";
import type { DeviceName, ElementArray, Executor } from "../device/executor.ts";
import { ArgumentError, DTypeError, GradientError, ShapeError, showShape, showValue } from "../errors/index.ts";
import type { DType, Shape, TensorType } from "../ops/index.ts";
import {
  expectDType,
  expectHolds,
  expectIntegers,
  expectRank,
  expectSameDType,
  expectShape,
  expectSizes,
  floating,
  reducedShape,
  resolveAxes,
  resolveAxis,
} from "../ops/checks.ts";
import { bytesOf, ops, sizeOf } from "../ops/index.ts";
import type { Axes, NormOptions, ReduceOptions, SliceRange, VarianceOptions } from "./arguments.ts";
import {
  aroundAxis,
  expectIndexes,
  keepUnknownSizes,
  listAxes,
  pieces,
  resolveRange,
  resolveUnknownSize,
  withSize,
} from "./arguments.ts";
import type { Elements, NestedNumbers, TensorData } from "./elements.ts";
import { asElements, flatten, nest, notNumbers, sameShape, shapeOfNested } from "./elements.ts";
import { commonExecutor, createEngine, expectSupported } from "./engine.ts";
import { noGrad } from "./grad-mode.ts";
import { printDisposed, printTensor } from "./print.ts";
import type { StepNumber } from "./recording.ts";
import { Cell, currentRecording, observe, refuseInRecording } from "./recording.ts";
import { adopt, scope } from "./scope.ts";
import { Storage } from "./storage.ts";
import type { Leaf } from "./tape.ts";
import { walkBack } from "./tape.ts";
import { Value, expectTensor } from "./value.ts";

/** A tensor or a number that is broadcast against one. */
export type Operable = Tensor | number;

/**
 * An n-dimensional array of float32, int32 or (on the `ts` device) float64 elements, dense in row-major order; images
 * are NHWC. Operations return new tensors at once and are computed in order on the device's queue.
 */
export class Tensor extends Value<Tensor> implements Leaf<Tensor> {
  private leaf = false;
  private readonly gradient = new Cell<Tensor | undefined>(undefined);

  /** Whether operations on this tensor are recorded, so that `backward` reaches it. */
  get requiresGrad(): boolean {
    return this.isLeaf || this.node !== undefined;
  }

  /**
   * The gradient collected by `backward`, if this is a leaf (`requireGrad`, a Parameter); it has the leaf's shape. It
   * belongs to the leaf and lasts until the next `backward` or optimizer step: `clone` it to keep it.
   */
  get grad(): Tensor | undefined {
    return this.gradient.value;
  }

  /**
   * Marks this tensor as one whose gradient is wanted, or with `false` as one that is frozen, and returns it
   * (`torch.Tensor.requires_grad_`). Only floating tensors made by no operation.
   */
  requireGrad(wanted = true): this {
    if (this.dtype === "int32")
      throw new DTypeError({
        op: "requireGrad",
        problem: "an int32 tensor has no gradient.",
        advice: 'Convert it with .to("float32").',
      });
    if (this.node)
      throw new GradientError({
        op: "requireGrad",
        problem: "the tensor is the result of a recorded operation.",
        advice: "Call detach() first.",
      });
    refuseUnlessMadeHere("requireGrad", this);
    this.leaf = wanted;
    return this;
  }

  /** Forgets the collected gradient. */
  clearGrad(): void {
    this.replaceGradient(undefined);
  }

  /** @internal */
  addGradient(gradient: Tensor): void {
    const before = this.gradient.value;
    const kept = share(before ? apply(ops.add, [before, gradient], {}) : gradient);
    kept.onOrphaned();
    this.replaceGradient(kept);
  }

  private replaceGradient(gradient: Tensor | undefined): void {
    const before = this.gradient.value;
    this.gradient.value = gradient;
    // While a plan is recorded, what was there before stays: the replays will replace it.
    if (before?.madeIn === currentRecording()) before?.dispose();
  }

  /**
   * Adds the gradient of this tensor, with respect to every leaf it was computed from, to the leaves' gradients.
   * A scalar needs no argument; otherwise `gradient` weights the elements and has this tensor's shape.
   */
  backward(gradient?: Tensor): void {
    this.operand("backward");
    const node = this.node;
    if (!node && !this.leaf)
      throw new GradientError({
        op: "backward",
        problem: "the tensor depends on nothing that requires a gradient.",
        advice: "Compute it from Parameters or from tensors marked with requireGrad(), outside noGrad.",
      });
    if (!gradient && this.size !== 1)
      throw new GradientError({
        op: "backward",
        problem: `the tensor has shape ${showShape(this.shape)}, not one element.`,
        advice: "Reduce it (mean, sum), or pass the gradient of its elements.",
      });
    if (gradient) expectTensor("backward", "gradient", gradient);
    if (gradient && !sameShape(gradient.shape, this.shape))
      throw new ShapeError({
        op: "backward",
        problem: `gradient has shape ${showShape(gradient.shape)}, expected ${showShape(this.shape)}.`,
      });
    if (gradient) {
      gradient.operand("backward");
      commonExecutor("backward", [this, gradient]);
      expectSameDType("backward", ["the tensor", "its gradient"], this, gradient);
    }
    const builder = builderOn(this.executor);
    noGrad(() => {
      scope(() => {
        // A copy, since gradients are passed on by reference and the caller's tensor may be written to.
        const seed = gradient
          ? builder.apply(ops.copy, [gradient], {})
          : builder.apply(ops.fill, [], { shape: this.shape, dtype: this.dtype, value: 1 });
        if (node) walkBack(node, seed, { builder, scope, add: (a, b) => builder.apply(ops.add, [a, b], {}), share });
        else this.addGradient(seed);
      });
    });
  }

  /** The same values, cut off from what they were computed from; shares memory. */
  detach(): Tensor {
    this.operand("detach");
    const handle = share(this);
    adopt(handle);
    return handle;
  }

  override dispose(): void {
    super.dispose();
    this.replaceGradient(undefined);
  }

  /** @internal */
  get isLeaf(): boolean {
    return this.madeIn === currentRecording() ? this.leaf : observe(() => this.leaf);
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  /** The elements in row-major order, once everything before is computed. Does not block. */
  data(): Promise<Elements> {
    return this.read("data");
  }

  /** The only element. Blocks until it is computed. */
  item(): number {
    this.operand("item");
    if (this.size !== 1)
      throw new ShapeError({
        op: "item",
        problem: `the tensor has shape ${showShape(this.shape)}, not one element.`,
        advice: "Use toArray() or data().",
      });
    return this.elements("item")[0];
  }

  /** The elements as nested arrays. Blocks until they are computed. */
  toArray(): NestedNumbers {
    return nest(this.elements("toArray"), this.shape);
  }

  /**
   * The elements as numpy prints them, then shape, dtype and device; of more than 1,000 elements the first and last three
   * of each axis. Blocks until they are computed. (`repr` in PyTorch.)
   */
  override toString(): string {
    const { shape, dtype, device } = this;
    if (this.disposed) return printDisposed(shape, dtype, device);
    return printTensor((first, count) => this.elements("toString", first, count), shape, dtype, device);
  }

  /** What JSON.stringify calls: throws ArgumentError, since it could neither wait for the elements nor keep NaN and dtype. */
  toJSON(): never {
    throw new ArgumentError({
      op: "toJSON",
      problem: `a tensor of shape ${showShape(this.shape)} is no JSON.`,
      advice:
        "Write x.toArray(), or Array.from(await x.data()) beside x.shape; writeSafetensors and writeNpy make files.",
    });
  }

  /** What console.log shows. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  // ---- arithmetic --------------------------------------------------------------------------------------------------

  /** this + other, with numpy's broadcasting (`torch.add`). */
  add(other: Operable): Tensor {
    return this.binary(ops.add, other);
  }
  /** this - other (`torch.sub`). */
  sub(other: Operable): Tensor {
    return this.binary(ops.sub, other);
  }
  /** this * other, element by element (`torch.mul`). */
  mul(other: Operable): Tensor {
    return this.binary(ops.mul, other);
  }
  /** this / other (`torch.div`; for int32 it truncates). */
  div(other: Operable): Tensor {
    return this.binary(ops.div, other);
  }
  /** this ** exponent (`torch.pow`): NaN for a negative number to a power that is not whole. The exponent's gradient is 0 at 0. */
  pow(exponent: Operable): Tensor {
    return exponent === 2 ? this.square() : this.binary(ops.pow, exponent);
  }
  /** The larger of this and other, element by element (`torch.maximum`); NaN wins, and equals share the gradient. */
  maximum(other: Operable): Tensor {
    return this.binary(ops.maximum, other);
  }
  /** The smaller of this and other, element by element (`torch.minimum`); NaN wins, and equals share the gradient. */
  minimum(other: Operable): Tensor {
    return this.binary(ops.minimum, other);
  }
  /**
   * min(max(this, min), max) (`torch.clamp`); a bound that is left out is infinite. The gradient passes where nothing was
   * cut off, bounds included. Throws ArgumentError if min > max.
   */
  clamp(bounds: { readonly min?: number; readonly max?: number }): Tensor {
    if (typeof (bounds as unknown) !== "object")
      throw new ArgumentError({
        op: "clamp",
        problem: `the bounds are ${showValue(bounds)}.`,
        advice: "Give them by name: clamp({ min: -1, max: 1 }).",
      });
    const { min = -Infinity, max = Infinity } = bounds;
    return apply(ops.clamp, [this], { min, max });
  }
  /** -this. */
  neg(): Tensor {
    return apply(ops.neg, [this], {});
  }
  /** |this|. */
  abs(): Tensor {
    return apply(ops.abs, [this], {});
  }
  /** -1, 0 or 1. */
  sign(): Tensor {
    return apply(ops.sign, [this], {});
  }
  /** The largest whole number <= this (`torch.floor`); its gradient is 0. */
  floor(): Tensor {
    return apply(ops.floor, [this], {});
  }
  /** The smallest whole number >= this (`torch.ceil`); its gradient is 0. */
  ceil(): Tensor {
    return apply(ops.ceil, [this], {});
  }
  /** The nearest whole number, halves to the even one (`torch.round`); its gradient is 0. */
  round(): Tensor {
    return apply(ops.round, [this], {});
  }
  /** this * this. */
  square(): Tensor {
    return apply(ops.square, [this], {});
  }
  /** Square root; NaN below 0. */
  sqrt(): Tensor {
    return apply(ops.sqrt, [this], {});
  }
  /** 1 / sqrt(this) (`torch.rsqrt`). */
  rsqrt(): Tensor {
    return apply(ops.rsqrt, [this], {});
  }
  /** 1 / this (`torch.reciprocal`). */
  reciprocal(): Tensor {
    return apply(ops.reciprocal, [this], {});
  }
  /** e^this. */
  exp(): Tensor {
    return apply(ops.exp, [this], {});
  }
  /** e^this - 1 with all digits near 0 (`torch.expm1`). */
  expm1(): Tensor {
    return apply(ops.expm1, [this], {});
  }
  /** Natural logarithm. */
  log(): Tensor {
    return apply(ops.log, [this], {});
  }
  /** Logarithm to base 2 (`torch.log2`): the natural one divided by ln 2, so that powers of 2 may be a rounding off. */
  log2(): Tensor {
    expectDType("log2", "the tensor", this, floating);
    return scope(() => this.log().div(Math.LN2));
  }
  /** ln(1 + this) with all digits near 0 (`torch.log1p`). */
  log1p(): Tensor {
    return apply(ops.log1p, [this], {});
  }
  /** Sine, in radians (`torch.sin`). */
  sin(): Tensor {
    return apply(ops.sin, [this], {});
  }
  /** Cosine, in radians (`torch.cos`). */
  cos(): Tensor {
    return apply(ops.cos, [this], {});
  }
  /** Tangent, in radians (`torch.tan`): sine by cosine. */
  tan(): Tensor {
    expectDType("tan", "the tensor", this, floating);
    return scope(() => this.sin().div(this.cos()));
  }
  /** The error function, 2 / sqrt(pi) times the integral of e^-u^2 from 0 to this (`torch.erf`). */
  erf(): Tensor {
    return apply(ops.erf, [this], {});
  }
  /** max(this, 0). */
  relu(): Tensor {
    return apply(ops.relu, [this], {});
  }
  /** 1 / (1 + e^-this). */
  sigmoid(): Tensor {
    return apply(ops.sigmoid, [this], {});
  }
  /** Hyperbolic tangent. */
  tanh(): Tensor {
    return apply(ops.tanh, [this], {});
  }
  /** this * sigmoid(this). */
  silu(): Tensor {
    return apply(ops.silu, [this], {});
  }
  /** min(max(this, 0), 6) (`torch.nn.functional.relu6`). The gradient at both ends is 0. */
  relu6(): Tensor {
    return apply(ops.relu6, [this], {});
  }
  /** this above 0, slope * this below (`torch.nn.functional.leaky_relu`, whose `negative_slope` is `slope`). */
  leakyRelu({ slope = 0.01 }: { readonly slope?: number } = {}): Tensor {
    return apply(ops.leakyRelu, [this], { slope });
  }
  /** this above 0, alpha * (e^this - 1) below (`torch.nn.functional.elu`). */
  elu({ alpha = 1 }: { readonly alpha?: number } = {}): Tensor {
    return apply(ops.elu, [this], { alpha });
  }
  /**
   * this times the probability of less than this under the normal distribution (`torch.nn.functional.gelu`), or the
   * approximation of that by tanh: this * (1 + tanh(sqrt(2 / pi) * (this + 0.044715 this^3))) / 2.
   */
  gelu({ approximate = "none" }: { readonly approximate?: "none" | "tanh" } = {}): Tensor {
    return apply(approximation(approximate), [this], {});
  }
  /** this * sigmoid(1.702 this): what CLIP calls GELU. */
  quickGelu(): Tensor {
    return apply(ops.quickGelu, [this], {});
  }
  /** ln(1 + e^this) (`torch.nn.functional.softplus`). */
  softplus(): Tensor {
    return apply(ops.softplus, [this], {});
  }
  /** this * tanh(softplus(this)) (`torch.nn.functional.mish`). */
  mish(): Tensor {
    return apply(ops.mish, [this], {});
  }
  /**
   * e^this divided by its sum along `axis` (`torch.softmax`): lines of numbers in [0, 1] that add up to 1, for inputs of
   * any size. A line of -Infinity only, or with an Infinity or NaN in it, becomes NaN.
   */
  softmax(axis = -1): Tensor {
    return apply(ops.softmax, [this], { axis });
  }
  /** this - log(sum of e^this along `axis`) (`torch.log_softmax`): the logarithm of softmax, without its underflow. */
  logSoftmax(axis = -1): Tensor {
    return apply(ops.logSoftmax, [this], { axis });
  }
  /**
   * Matrix product (`torch.matmul`): [..., M, K] and [..., K, N] -> [..., M, N], the leading axes broadcast. A vector is
   * a row on the left and a column on the right, whose axis the result does not have.
   */
  matmul(other: Tensor): Tensor {
    expectTensor("matmul", "b", other);
    const product = (a: Tensor, b: Tensor): Tensor =>
      apply(ops.matmul, [a, b, undefined], { transposeA: false, transposeB: false });
    if (this.rank !== 1 && other.rank !== 1) return product(this, other);
    return scope(() => {
      const row = this.rank === 1 ? this.reshape([1, this.size]) : this;
      const column = other.rank === 1 ? other.reshape([other.size, 1]) : other;
      const y = product(row, column);
      const lead = y.shape.slice(0, -2);
      const left = this.rank === 1 ? [] : y.shape.slice(-2, -1);
      const right = other.rank === 1 ? [] : y.shape.slice(-1);
      return y.reshape([...lead, ...left, ...right]);
    });
  }
  /** Sum of the products of two vectors of one length (`torch.dot`), a scalar. Throws ShapeError for other shapes. */
  dot(other: Tensor): Tensor {
    expectTensor("dot", "other", other);
    expectRank("dot", "the tensor", this, 1, "[n]");
    expectShape("dot", "other", other, this.shape, "as the vector that it is multiplied by");
    expectSameDType("dot", ["the tensor", "other"], this, other);
    return scope(() => this.mul(other).sum());
  }
  /** All products of two vectors (`torch.outer`): [M] and [N] -> [M, N]. Throws ShapeError for what is no vector. */
  outer(other: Tensor): Tensor {
    expectTensor("outer", "other", other);
    expectRank("outer", "the tensor", this, 1, "[m]");
    expectRank("outer", "other", other, 1, "[n]");
    expectSameDType("outer", ["the tensor", "other"], this, other);
    return scope(() => this.unsqueeze(1).mul(other));
  }

  // ---- comparisons, which give int32 masks of 0 and 1 ---------------------------------------------------------------

  /** Whether this = other (`torch.eq`), false with NaN. */
  equal(other: Operable): Tensor {
    return this.binary(ops.equal, other);
  }
  /** Whether this and other differ (`torch.ne`), true with NaN. */
  notEqual(other: Operable): Tensor {
    return this.binary(ops.notEqual, other);
  }
  /** Whether this < other (`torch.lt`), false with NaN. */
  less(other: Operable): Tensor {
    return this.binary(ops.less, other);
  }
  /** Whether this <= other (`torch.le`), false with NaN. */
  lessEqual(other: Operable): Tensor {
    return this.binary(ops.lessEqual, other);
  }
  /** Whether this > other (`torch.gt`), false with NaN. */
  greater(other: Operable): Tensor {
    return this.binary(ops.greater, other);
  }
  /** Whether this >= other (`torch.ge`), false with NaN. */
  greaterEqual(other: Operable): Tensor {
    return this.binary(ops.greaterEqual, other);
  }
  /** Whether this is NaN (`torch.isnan`). */
  isNaN(): Tensor {
    return apply(ops.notEqual, [this, this], {});
  }
  /** Whether this is neither NaN nor infinite (`torch.isfinite`). */
  isFinite(): Tensor {
    return this.dtype === "int32" ? this.equal(this) : scope(() => this.abs().less(Infinity));
  }
  /** Whether this is infinite, of either sign (`torch.isinf`). */
  isInf(): Tensor {
    return this.dtype === "int32" ? this.notEqual(this) : scope(() => this.abs().equal(Infinity));
  }
  /** Whether this is 0 (`torch.logical_not`). */
  logicalNot(): Tensor {
    return this.equal(0);
  }
  /** Whether neither this nor other is 0 (`torch.logical_and`). */
  logicalAnd(other: Tensor): Tensor {
    expectTensor("logicalAnd", "other", other);
    return scope(() => this.notEqual(0).mul(other.notEqual(0)));
  }
  /** Whether this and other are not both 0 (`torch.logical_or`). */
  logicalOr(other: Tensor): Tensor {
    expectTensor("logicalOr", "other", other);
    return scope(() => this.notEqual(0).maximum(other.notEqual(0)));
  }
  /** `value` where the int32 mask is not 0, and this elsewhere (`torch.Tensor.masked_fill`); the mask broadcasts. */
  maskedFill(mask: Tensor, value: number): Tensor {
    return this.withNumber("maskedFill", value, (number) => apply(ops.where, [mask, number, this], {}));
  }

  // ---- reductions --------------------------------------------------------------------------------------------------

  /** Sum over `axes` (default: all; `torch.sum`). int32 wraps around. */
  sum(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return this.reduce(ops.sum, axes, options);
  }
  /** Mean over `axes` (default: all; `torch.mean`). NaN where there are no elements. */
  mean(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return this.reduce(ops.mean, axes, options);
  }
  /**
   * Largest element over `axes` (default: all; `torch.amax`); NaN wins. The gradient goes to the first of the largest
   * elements in row-major order, as that of `torch.max` along an axis. An axis without elements throws ShapeError.
   */
  max(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return this.reduce(ops.max, axes, options);
  }
  /** Smallest element over `axes` (default: all; `torch.amin`), as `max`. */
  min(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return this.reduce(ops.min, axes, options);
  }
  /**
   * Index along `axis` of the largest element as int32 (`torch.argmax`): the first of equal ones, and NaN wins. Without
   * an axis the index among all elements in row-major order.
   */
  argmax(axis?: number, options: ReduceOptions = {}): Tensor {
    return this.placeOfExtreme(ops.argmax, axis, options);
  }
  /** Index of the smallest element (`torch.argmin`), as `argmax`. */
  argmin(axis?: number, options: ReduceOptions = {}): Tensor {
    return this.placeOfExtreme(ops.argmin, axis, options);
  }
  /**
   * Variance over `axes` (default: all; `torch.var`): sum (x - mean)^2 / (n - correction), with `correction` 1 (the
   * default) unbiased. NaN where n is not larger than that.
   */
  var(axes?: Axes, options: VarianceOptions = {}): Tensor {
    const { keepDims = false, correction = 1 } = options;
    return apply(ops.variance, [this], { axes: listAxes(axes, this.rank), keepDims, correction });
  }
  /** Square root of the variance (`torch.std`). Its gradient is 0 where it is 0. */
  std(axes?: Axes, options: VarianceOptions = {}): Tensor {
    const { correction = 1 } = options;
    expectIntegers("std", "correction", [correction], 1, 0);
    resolveAxes("std", listAxes(axes, this.rank), this.rank);
    // As the norm of the distances from the mean, whose gradient is known where it is 0.
    return scope(() => {
      const norm = this.sub(this.mean(axes, { keepDims: true })).norm(axes, options);
      const count = this.size / Math.max(1, norm.size);
      return norm.div(Math.sqrt(Math.max(0, count - correction)));
    });
  }
  /**
   * Norm of the elements over `axes` (default: all; `torch.linalg.vector_norm`): the root of the sum of squares (`p` 2,
   * the default), the sum of magnitudes (1), or the largest of them (Infinity). The gradient is 0 where the norm is 0.
   */
  norm(axes?: Axes, options: NormOptions = {}): Tensor {
    const { p = 2, ...rest } = options;
    switch (p) {
      case 1:
        return scope(() => this.abs().sum(axes, rest));
      case 2:
        return this.reduce(ops.norm, axes, rest);
      case Infinity:
        return scope(() => this.abs().max(axes, rest));
      default:
        throw new ArgumentError({ op: "norm", problem: `p is ${String(p)}.`, advice: "Choose 1, 2 or Infinity." });
    }
  }
  /** log(sum e^x) over `axes` (default: all; `torch.logsumexp`), without overflow. */
  logSumExp(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return this.reduce(ops.logSumExp, axes, options);
  }
  /**
   * Product over `axes` (default: all; `torch.prod`) of floating elements; 1 where there are none. The gradient is exact
   * with zeros.
   */
  prod(axes?: Axes, options: ReduceOptions = {}): Tensor {
    const reduced = resolveAxes("prod", listAxes(axes, this.rank), this.rank);
    const shape = reducedShape("prod", this.shape, reduced, options.keepDims ?? false);
    expectDType("prod", "the tensor", this, floating);
    return scope(() => {
      const rest = this.shape.map((_, axis) => axis).filter((axis) => !reduced.includes(axis));
      const count = sizeOf(reduced.map((axis) => this.shape[axis]));
      const rows = this.permute([...rest, ...reduced]).reshape([this.size / Math.max(1, count), count]);
      if (count === 0) return apply(ops.fill, [], { shape, dtype: this.dtype, value: 1 }, this.executor);
      return rows.cumprod(1).slice(null, -1).reshape(shape);
    });
  }
  /** Whether all elements over `axes` (default: all) are not 0, as int32 0 or 1 (`torch.all`); 1 where there are none. */
  all(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return scope(() => this.equal(0).sum(axes, options).equal(0));
  }
  /** Whether any element over `axes` (default: all) is not 0, as int32 0 or 1 (`torch.any`); 0 where there are none. */
  any(axes?: Axes, options: ReduceOptions = {}): Tensor {
    return scope(() => this.notEqual(0).sum(axes, options).notEqual(0));
  }
  /**
   * The value that a share q, 0 to 1, of the elements along `axis` (default: of all) lies below, on the straight line between
   * neighbours (`torch.quantile`). NaN where any of them is. No gradient.
   */
  quantile(q: number, axis?: number): Tensor {
    return scope(() =>
      apply(ops.quantile, [axis === undefined ? this.flatten() : this.withAxisLast("quantile", axis)], { q }),
    );
  }
  /** Running sum along `axis` (`torch.cumsum`); with `reverse` from the end. */
  cumsum(axis: number, options: { readonly reverse?: boolean } = {}): Tensor {
    return apply(ops.cumsum, [this], { axis, reverse: options.reverse ?? false });
  }
  /** Running product along `axis` (`torch.cumprod`). The gradient is exact with zeros. */
  cumprod(axis: number): Tensor {
    return apply(ops.cumprod, [this], { axis });
  }

  // ---- shape -------------------------------------------------------------------------------------------------------

  /** The same elements under another shape; one size may be -1 and is computed. A view: shares memory. */
  reshape(shape: Shape): Tensor {
    return apply(ops.reshape, [this], { shape: resolveUnknownSize(this.shape, shape) });
  }
  /** Axis i of the result is axis `axes[i]` of this (`torch.permute`), copied. */
  permute(axes: readonly number[]): Tensor {
    return apply(ops.permute, [this], { axes });
  }
  /** Swaps two axes (default: the last two), copied. */
  transpose(a = -2, b = -1): Tensor {
    const order = this.shape.map((_, i) => i);
    const [i, j] = [a < 0 ? a + this.rank : a, b < 0 ? b + this.rank : b];
    if (order[i] === undefined || order[j] === undefined)
      throw new ArgumentError({
        op: "transpose",
        problem: `axes ${showValue(a)} and ${showValue(b)} of a tensor of shape ${showShape(this.shape)}.`,
        advice: this.rank === 0 ? "A scalar has no axes." : `Axes go from ${-this.rank} to ${this.rank - 1}.`,
      });
    [order[i], order[j]] = [j, i];
    return this.permute(order);
  }
  /** Removes axes of size 1 (`torch.squeeze`): all of them, or `axes`, which throws where another size is found. A view. */
  squeeze(axes?: Axes): Tensor {
    const gone =
      axes === undefined
        ? this.shape.flatMap((n, axis) => (n === 1 ? [axis] : []))
        : resolveAxes("squeeze", listAxes(axes, this.rank), this.rank);
    const wrong = gone.find((axis) => this.shape[axis] !== 1);
    if (wrong !== undefined)
      throw new ShapeError({
        op: "squeeze",
        problem: `axis ${wrong} of ${showShape(this.shape)} has size ${this.shape[wrong]}, not 1.`,
      });
    return this.reshape(this.shape.filter((_, axis) => !gone.includes(axis)));
  }
  /** A new axis of size 1 at position `axis` of the result (`torch.unsqueeze`); -1 makes it the last. A view. */
  unsqueeze(axis: number): Tensor {
    const at = resolveAxis("unsqueeze", axis, this.rank + 1);
    return this.reshape([...this.shape.slice(0, at), 1, ...this.shape.slice(at)]);
  }
  /** Joins the axes `start` to `end` into one (`torch.flatten`); a scalar becomes a vector. A view. */
  flatten(start = 0, end = -1): Tensor {
    if (this.rank === 0) return this.reshape([1]);
    const [from, to] = [resolveAxis("flatten", start, this.rank), resolveAxis("flatten", end, this.rank)];
    if (from > to)
      throw new ArgumentError({
        op: "flatten",
        problem: `axis ${start} comes after ${end} in ${showShape(this.shape)}.`,
      });
    const joined = sizeOf(this.shape.slice(from, to + 1));
    return this.reshape([...this.shape.slice(0, from), joined, ...this.shape.slice(to + 1)]);
  }
  /** Repeats axes of size 1 and prepends axes (`torch.expand`), copied; a size of -1 stays as it is. */
  broadcastTo(shape: Shape): Tensor {
    return apply(ops.broadcastTo, [this], { shape: keepUnknownSizes(this.shape, shape) });
  }
  /**
   * Row `index` of axis 0, without that axis (`x[index]`). The index may be that of a loop in a captured function, so that
   * each iteration finds its row of a table: timesteps, coefficients, batches.
   */
  row(index: StepNumber): Tensor {
    return apply(ops.row, [this], { index });
  }
  /**
   * Part of the tensor: one range for each leading axis, the other axes whole. Negative positions count from the end.
   * `x.slice([0, 2])` are the first two rows (a view), `x.slice(null, [1, 9, 2])` every other column from 1,
   * `x.slice(3)` row 3 without its axis. Of a range null stands for the start, the stop or the step that it has by default.
   * Nothing is clamped: throws ArgumentError where a range does not lie within its axis, or its step is below 1.
   */
  slice(...ranges: SliceRange[]): Tensor {
    if (ranges.length > this.rank)
      throw new ArgumentError({
        op: "slice",
        problem: `${ranges.length} ranges for a tensor of shape ${showShape(this.shape)}.`,
        advice: "Give at most one range for each axis.",
      });
    const resolved = this.shape.map((n, axis) => resolveRange(n, axis, ranges[axis] ?? null));
    const part = (): Tensor =>
      apply(ops.slice, [this], {
        starts: resolved.map((r) => r[0]),
        stops: resolved.map((r) => r[1]),
        steps: resolved.map((r) => r[2]),
      });
    if (!ranges.some((range) => typeof range === "number")) return part();
    return scope(() => {
      const whole = part();
      return whole.reshape(whole.shape.filter((_, axis) => typeof ranges[axis] !== "number"));
    });
  }
  /**
   * Pieces along `axis` (default 0; `torch.split`): of `sizes` elements each, the last one perhaps smaller, or of the
   * listed sizes. Pieces of the leading axis are views.
   */
  split(sizes: number | readonly number[], axis = 0): Tensor[] {
    const at = resolveAxis("split", axis, this.rank);
    let start = 0;
    return pieces(this.shape[at], sizes).map((size) => {
      const range = [start, (start += size)] as const;
      return this.slice(...this.shape.map((_, i) => (i === at ? range : null)));
    });
  }
  /** At most `count` pieces of equal size along `axis` (default 0; `torch.chunk`), the last one perhaps smaller. */
  chunk(count: number, axis = 0): Tensor[] {
    expectIntegers("chunk", "count", [count], 1, 1);
    const n = this.shape[resolveAxis("chunk", axis, this.rank)];
    return this.split(Math.max(1, Math.ceil(n / count)), axis);
  }
  /** The parts at each position of `axis` (default 0; `torch.unbind`), without that axis. Those of the leading axis are views. */
  unbind(axis = 0): Tensor[] {
    const at = resolveAxis("unbind", axis, this.rank);
    return Array.from({ length: this.shape[at] }, (_, i) =>
      this.slice(...this.shape.map((_, k) => (k === at ? i : null))),
    );
  }
  /** Reverses the order along `axes` (default: all; `torch.flip`). */
  flip(axes?: Axes): Tensor {
    return apply(ops.flip, [this], { axes: listAxes(axes, this.rank) });
  }
  /** Moves elements `shift` places on along `axis`, those beyond the end to the start (`torch.roll`). */
  roll(shift: number, axis: number): Tensor {
    const at = resolveAxis("roll", axis, this.rank);
    if (!Number.isInteger(shift))
      throw new ArgumentError({ op: "roll", problem: `shift is ${shift}, expected an integer.` });
    const n = this.shape[at];
    return scope(() => {
      const last = n === 0 ? 0 : ((shift % n) + n) % n;
      const [front, back] = this.split([n - last, last], at);
      return apply(ops.concat, [back, front], { axis: at });
    });
  }
  /** The whole repeated `counts[i]` times along axis i (`torch.Tensor.repeat`); more counts than axes prepend axes. */
  repeat(counts: readonly number[]): Tensor {
    const rank = Array.isArray(counts) ? Math.max(counts.length, this.rank) : this.rank;
    expectIntegers("repeat", "counts", counts, rank, 0);
    const lead = new Array<number>(counts.length - this.rank).fill(1);
    const repeated = [...lead, ...this.shape].map((n, axis) => n * counts[axis]);
    expectSizes("repeat", repeated);
    return scope(() => {
      let y = this.reshape([...lead, ...this.shape]);
      counts.forEach((count, axis) => {
        if (count === 1) return;
        const [before, n, after] = aroundAxis("repeat", y.shape, axis);
        const shape = withSize("repeat", y.shape, axis, count * n);
        y = y
          .reshape([before, 1, n * after])
          .broadcastTo([before, count, n * after])
          .reshape(shape);
      });
      return y;
    });
  }
  /** Each element `count` times in a row along `axis` (`torch.repeat_interleave`). */
  repeatInterleave(count: number, axis: number): Tensor {
    expectIntegers("repeatInterleave", "count", [count], 1, 0);
    const [before, n, after] = aroundAxis("repeatInterleave", this.shape, axis);
    const shape = withSize("repeatInterleave", this.shape, axis, count * n);
    expectSizes("repeatInterleave", shape);
    return scope(() =>
      this.reshape([before * n, 1, after])
        .broadcastTo([before * n, count, after])
        .reshape(shape),
    );
  }
  /** The lower triangle of matrices [..., M, N], zeros above (`torch.tril`): elements with column - row <= diagonal. */
  tril(diagonal = 0): Tensor {
    return apply(ops.triangle, [this], { part: "lower", diagonal });
  }
  /** The upper triangle of matrices [..., M, N], zeros below (`torch.triu`): elements with column - row >= diagonal. */
  triu(diagonal = 0): Tensor {
    return apply(ops.triangle, [this], { part: "upper", diagonal });
  }
  /**
   * Of a vector the square matrix that has it on a diagonal and zeros elsewhere, of a matrix the vector on that diagonal
   * (`torch.diag`): those elements whose column - row is `diagonal`. Throws ShapeError for other ranks.
   */
  diag(diagonal = 0): Tensor {
    if (!Number.isInteger(diagonal))
      throw new ArgumentError({ op: "diag", problem: `diagonal is ${showValue(diagonal)}, expected an integer.` });
    if (this.rank !== 1) expectRank("diag", "the tensor", this, 2, "[n] or [rows, columns]");
    const size = this.size + Math.abs(diagonal);
    const [rows, columns] = this.rank === 2 ? this.shape : [size, size];
    const [start, step] = [diagonal < 0 ? -diagonal * columns : diagonal, columns + 1];
    if (this.rank === 1) {
      expectSizes("diag", [size, size]);
      const attributes = { shape: [size * size], starts: [start], steps: [step], value: 0 };
      return scope(() => apply(ops.place, [this], attributes).reshape([size, size]));
    }
    const count = Math.min(rows + Math.min(diagonal, 0), columns - Math.max(diagonal, 0));
    const range = count > 0 ? ([start, start + (count - 1) * step + 1, step] as const) : ([0, 0] as const);
    return scope(() => this.reshape([this.size]).slice(range));
  }
  /**
   * Elements picked along `axis` (`torch.gather`): y[i, j] = this[index[i, j], j] for axis 0, this[i, index[i, j]] for
   * axis 1, and so on. `index` is int32, has this tensor's rank, and along the other axes at most its sizes. An index
   * outside the axis gives NaN, in int32 the smallest integer; negative ones do not count from the end.
   */
  gather(axis: number, index: Tensor): Tensor {
    return apply(ops.gather, [this, index], { axis });
  }
  /**
   * This tensor with `source` added at the places that `gather` with this `index` would read (`torch.scatter_add`):
   * equal places add up, in order. An index outside the axis adds to nothing.
   */
  scatterAdd(axis: number, index: Tensor, source: Tensor): Tensor {
    return scope(() => this.add(apply(ops.scatterAdd, [index, source], { axis, shape: this.shape })));
  }
  /**
   * Entries of `axis` in the order of `index` (`torch.index_select`): an int32 vector, outside the axis as in `gather`,
   * or a list of numbers, which throws ArgumentError where one is outside.
   */
  indexSelect(axis: number, index: Tensor | readonly number[]): Tensor {
    const at = resolveAxis("indexSelect", axis, this.rank);
    return scope(() => {
      const places = index instanceof Tensor ? index : this.indexOf(index, at);
      expectRank("indexSelect", "index", places, 1, "[n]");
      const across = this.shape.map((_, i) => (i === at ? places.size : 1));
      const shape = withSize("indexSelect", this.shape, at, places.size);
      return this.gather(at, places.reshape(across).broadcastTo(shape));
    });
  }
  /**
   * Conversion to another dtype, or a copy on another device (`torch.Tensor.to`); this tensor itself where it has the
   * dtype, or lies on the device, already. Float to int32 truncates and saturates, NaN becomes 0. A copy to another
   * device waits for the values; gradients do not pass through it, so that a tensor that requires them is refused.
   */
  to(target: DType | DeviceName): Tensor {
    switch (target) {
      case "float32":
      case "float64":
      case "int32":
        return target === this.dtype ? this : apply(ops.cast, [this], { dtype: target });
      case "cpu":
      case "ts":
      case "cuda":
        return target === this.device ? this : this.copyTo(target);
      default:
        throw new ArgumentError({
          op: "to",
          problem: `"${String(target)}" is neither a dtype nor a device.`,
          advice: "Choose float32, int32, float64, cpu, ts or cuda.",
        });
    }
  }
  /** A copy with memory of its own; gradients pass through. */
  clone(): Tensor {
    return apply(ops.copy, [this], {});
  }

  private binary(op: typeof ops.add, other: Operable): Tensor {
    if (typeof other !== "number") return apply(op, [this, other], {});
    return this.withNumber(op.name, other, (number) => apply(op, [this, number], {}));
  }

  /** @internal What `use` makes of a number as a scalar of this dtype, on this device. */
  withNumber(op: string, value: number, use: (number: Tensor) => Tensor): Tensor {
    if (this.dtype === "int32" && !Number.isInteger(value))
      throw new DTypeError({
        op,
        problem: `an int32 tensor with the number ${value}.`,
        advice: 'Convert the tensor with .to("float32").',
      });
    expectHolds(op, this.dtype, value);
    const number = apply(ops.fill, [], { shape: [], dtype: this.dtype, value }, this.executor);
    try {
      return use(number);
    } finally {
      number.dispose();
    }
  }

  private copyTo(device: DeviceName): Tensor {
    if (this.requiresGrad)
      throw new GradientError({
        op: "to",
        problem: `gradients do not pass from ${device} back to ${this.device}.`,
        advice: `Move it before it requires a gradient, or write detach().to("${device}").`,
      });
    return tensor(this.elements("to"), { dtype: this.dtype, device, shape: this.shape });
  }

  private reduce(op: typeof ops.sum, axes: Axes | undefined, { keepDims = false }: ReduceOptions): Tensor {
    return apply(op, [this], { axes: listAxes(axes, this.rank), keepDims });
  }

  private withAxisLast(op: string, axis: number): Tensor {
    const along = resolveAxis(op, axis, this.rank);
    if (along === this.rank - 1) return this;
    return this.permute([...this.shape.keys()].filter((i) => i !== along).concat(along));
  }

  private placeOfExtreme(op: typeof ops.argmax, axis: number | undefined, options: ReduceOptions): Tensor {
    const { keepDims = false } = options;
    if (axis !== undefined) return apply(op, [this], { axis, keepDims });
    return scope(() => {
      const place = apply(op, [this.reshape([this.size])], { axis: 0, keepDims: false });
      return keepDims ? place.reshape(this.shape.map(() => 1)) : place;
    });
  }

  /** Listed indexes of an axis as a tensor beside this one. */
  private indexOf(indexes: readonly number[], axis: number): Tensor {
    expectIndexes("indexSelect", indexes, this.shape[axis], axis);
    return tensor(Int32Array.from(indexes), { device: this.device });
  }
}

const { apply, applyInPlace, share, builderOn } = createEngine<Tensor>(
  (place, type, options) => new Tensor(place, type, options),
);
/** @internal */
export { apply, applyInPlace };

// ---- making tensors --------------------------------------------------------------------------------------------------

let floatType: "float32" | "float64" = "float32";

/** The dtype of floating tensors that are made without naming one: float32 unless `setDefaultDType` changed it. */
export function defaultDType(): "float32" | "float64" {
  return floatType;
}

/** Makes float64 (for checks on the `ts` device) or float32 the default (`torch.set_default_dtype`). */
export function setDefaultDType(dtype: "float32" | "float64"): void {
  if (dtype !== "float32" && dtype !== "float64")
    throw new DTypeError({
      op: "setDefaultDType",
      problem: `${showValue(dtype)} is no floating dtype.`,
      advice: "Choose float32 or float64.",
    });
  floatType = dtype;
}

/** Where and as what a tensor is made. */
export interface TensorOptions {
  /** Default: float32 (see `setDefaultDType`), and int32 for an Int32Array. */
  readonly dtype?: DType;
  /** Default: the default device (see `setDefaultDevice`). */
  readonly device?: DeviceName;
}

/** @internal */
export function executorOf(options: { readonly device?: DeviceName }): Executor {
  return options.device ? openDevice(options.device) : defaultExecutor();
}

/**
 * A tensor with these elements (`torch.tensor`). Nested arrays tell their shape; flat data may be given one.
 * Throws ShapeError when the arrays are ragged or the count does not match the shape. In int32 fractions are cut off.
 */
export function tensor(data: TensorData, options: TensorOptions & { readonly shape?: Shape } = {}): Tensor {
  const typed = isTypedArray(data);
  if (typeof data !== "number" && !Array.isArray(data) && !typed) throw notNumbers(data);
  const own = typed ? [data.length] : shapeOfNested(data);
  const flat = typed ? data : flatten(data);
  expectSizes("tensor", options.shape ?? own);
  const shape = [...(options.shape ?? own)];
  const dtype = options.dtype ?? (data instanceof Int32Array ? "int32" : floatType);
  if (sizeOf(shape) !== flat.length)
    throw new ShapeError({
      op: "tensor",
      problem: `${flat.length} elements for shape ${showShape(shape)}, which has ${sizeOf(shape)}.`,
      advice: "The shape's sizes multiply to the number of elements.",
    });
  const executor = executorOf(options);
  expectSupported("tensor", executor, dtype);
  const elements = asElements(dtype, flat);
  const result = uninitialised(shape, dtype, executor);
  (currentRecording() ?? executor).write(result.place("tensor").storage.buffer, 0, elements);
  adopt(result);
  return result;
}

/**
 * @internal A tensor of elements that the host computes: in a captured function anew for each step, by way of a table
 * that is on the device before they run.
 */
export function tensorPerStep(
  compute: () => ElementArray,
  type: TensorType & { readonly device?: DeviceName },
): Tensor {
  const recording = currentRecording();
  const { shape, dtype } = type;
  if (!recording) return tensor(compute(), type);
  const executor = executorOf(type);
  const { index, table } = recording.actWithRow(dtype, sizeOf(shape), compute);
  const result = uninitialised(shape, dtype, executor);
  const output = result.operand("tensor");
  recording.submit(
    executor,
    { op: ops.row, attributes: { index: 0 }, inputs: [{ ...output, buffer: table, shape: [1, ...shape] }], output },
    [{ attribute: "index", number: index }],
  );
  adopt(result);
  return result;
}

/** Refuses to change, in a captured function, what its steps would not find changed. */
function refuseUnlessMadeHere(op: string, value: Tensor): void {
  if (value.madeIn !== currentRecording()) refuseInRecording(op, "a tensor from outside was changed", "Do it outside.");
}

/** Whether data is a typed array of numbers; those of bigints are not, nor is a DataView. */
function isTypedArray(data: TensorData): data is Exclude<TensorData, NestedNumbers | readonly number[]> {
  return (
    ArrayBuffer.isView(data) &&
    !((data as unknown) instanceof DataView) &&
    !((data as unknown) instanceof BigInt64Array) &&
    !((data as unknown) instanceof BigUint64Array)
  );
}

/** @internal Memory without values, owned by nobody. */
export function uninitialised(shape: Shape, dtype: DType, executor: Executor): Tensor {
  return new Tensor({ storage: new Storage(executor, sizeOf(shape) * bytesOf(dtype)), offset: 0 }, { shape, dtype });
}

// ---- arguments ------------------------------------------------------------------------------------------------------

/** The op of a form of GELU. */
function approximation(name: "none" | "tanh"): typeof ops.gelu {
  if (name === "none") return ops.gelu;
  if (name === "tanh") return ops.geluTanh;
  throw new ArgumentError({
    op: "gelu",
    problem: `approximate is ${String(name)}.`,
    advice: 'Choose "none" or "tanh".',
  });
}
