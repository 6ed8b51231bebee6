// Wrong input of every kind: which error it is, and its words, read as a user would. Nothing is lost or left behind.

import { expect } from "chai";
import * as langevin from "langevin";
import { Parameter, arange, concat, full, noGrad, ones, rand, randint, randn, scope, tensor, zeros } from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice, referencedMemory } from "../tensor/devices.ts";

/** What a caller without types may pass. */
const untyped = (value: unknown): never => value as never;

type Kind = "ArgumentError" | "DTypeError" | "DeviceError" | "GradientError" | "LifetimeError" | "ShapeError";

/** A call that must fail, the error's class, and its whole text. `x` is a tensor of ones [2, 3]. */
type Mistake = readonly [name: string, call: (x: Tensor) => unknown, kind: Kind, message: string];

const shapeAdvice = "A shape is an array of sizes, as in [2, 3].";
const dataAdvice = "Data is a number, nested arrays of numbers, or a typed array of numbers.";
const dtypeAdvice = "Choose float32, int32 or float64.";
const axisAdvice = "Axes go from -2 to 1.";
const dead = (x: Tensor): Tensor => {
  x.dispose();
  return x;
};
const deadText =
  "a tensor of shape [2, 3] was used after it was disposed. Return it from its scope, call keep() on it, or make it outside.";
const cyclic: unknown[] = [];
cyclic.push(cyclic);

const data: readonly Mistake[] = [
  ["ragged rows", () => tensor([[1, 2], [3]]), "ShapeError", "tensor: nested arrays of different lengths: [2] and [1]. All rows of an axis have one length."],
  ["numbers beside rows", () => tensor([1, [2]]), "ShapeError", "tensor: nested arrays of different lengths: [] and [1]. All rows of an axis have one length."],
  ["a string", () => tensor(untyped("abc")), "ArgumentError", `tensor: cannot make a tensor of "abc". ${dataAdvice}`],
  ["strings", () => tensor(untyped(["1"])), "ArgumentError", `tensor: cannot make a tensor of "1". ${dataAdvice}`],
  ["null", () => tensor(untyped(null)), "ArgumentError", `tensor: cannot make a tensor of null. ${dataAdvice}`],
  ["nothing", () => tensor(untyped(undefined)), "ArgumentError", `tensor: cannot make a tensor of undefined. ${dataAdvice}`],
  ["a hole", () => tensor(untyped([1, , 2])), "ArgumentError", `tensor: cannot make a tensor of undefined. ${dataAdvice}`], // eslint-disable-line no-sparse-arrays
  ["a boolean", () => tensor(untyped([true])), "ArgumentError", `tensor: cannot make a tensor of true. ${dataAdvice}`],
  ["a bigint", () => tensor(untyped(3n)), "ArgumentError", `tensor: cannot make a tensor of 3n. ${dataAdvice}`],
  ["a tensor", (x) => tensor(untyped(x)), "ArgumentError", `tensor: cannot make a tensor of a Tensor. ${dataAdvice}`],
  ["an array-like object", () => tensor(untyped({ length: 1, 0: 1 })), "ArgumentError", `tensor: cannot make a tensor of an object. ${dataAdvice}`],
  ["bytes without a type", () => tensor(untyped(new ArrayBuffer(8))), "ArgumentError", `tensor: cannot make a tensor of an ArrayBuffer. ${dataAdvice}`],
  ["a DataView", () => tensor(untyped(new DataView(new ArrayBuffer(8)))), "ArgumentError", `tensor: cannot make a tensor of a DataView. ${dataAdvice}`],
  ["64-bit integers", () => tensor(untyped(BigInt64Array.of(1n))), "ArgumentError", "tensor: cannot make a tensor of a BigInt64Array of 1. Convert it with Int32Array.from(data, Number)."],
  ["arrays in a circle", () => tensor(untyped(cyclic)), "ShapeError", "tensor: arrays are nested deeper than 8 levels."],
  ["too few elements", () => tensor([1, 2, 3], { shape: [2, 2] }), "ShapeError", "tensor: 3 elements for shape [2, 2], which has 4. The shape's sizes multiply to the number of elements."],
  ["a number as the shape", () => tensor([1, 2], { shape: untyped(2) }), "ShapeError", `tensor: the shape is 2. ${shapeAdvice}`],
  ["an unknown dtype", () => tensor([1], { dtype: untyped("float16") }), "DTypeError", `tensor: "float16" is no dtype. ${dtypeAdvice}`],
  ["an unknown device", () => tensor([1], { device: untyped("gpu") }), "ArgumentError", 'device: "gpu" is no device. Choose cuda, cpu, ts.'],
  ["NaN in int32", () => tensor([1, NaN], { dtype: "int32" }), "ArgumentError", "tensor: element 1 is NaN, which int32 does not hold."],
  ["2^31 in int32", () => tensor([2 ** 31], { dtype: "int32" }), "ArgumentError", "tensor: element 0 is 2147483648, which int32 does not hold."],
]; // prettier-ignore

const shapes: readonly Mistake[] = [
  ["a negative size", () => zeros([-1]), "ShapeError", "zeros: [-1] is not a shape. Sizes are integers >= 0."],
  ["NaN as a size", () => ones([NaN]), "ShapeError", "ones: [NaN] is not a shape. Sizes are integers >= 0."],
  ["a fractional size", () => full([1.5], 1), "ShapeError", "full: [1.5] is not a shape. Sizes are integers >= 0."],
  ["an infinite size", () => randn([Infinity]), "ShapeError", "randn: [Infinity] is not a shape. Sizes are integers >= 0."],
  ["a size as text", () => zeros(untyped(["2"])), "ShapeError", 'zeros: ["2"] is not a shape. Sizes are integers >= 0.'],
  ["a number", () => zeros(untyped(3)), "ShapeError", `zeros: the shape is 3. ${shapeAdvice}`],
  ["nothing", () => zeros(untyped(undefined)), "ShapeError", `zeros: the shape is undefined. ${shapeAdvice}`],
  ["2^31 elements", () => zeros([2 ** 31]), "ShapeError", "zeros: [2147483648] has 2147483648 elements, at most 2147483647 are possible."],
  ["2^32 elements", () => rand([65536, 65536]), "ShapeError", "rand: [65536, 65536] has 4294967296 elements, at most 2147483647 are possible."],
  ["2^53 elements", () => zeros([2 ** 53]), "ShapeError", "zeros: [9007199254740992] has 9007199254740992 elements, at most 2147483647 are possible."],
  ["2^53 beside 0", () => zeros([2 ** 53, 0]), "ShapeError", "zeros: [9007199254740992, 0] has 9007199254740992 elements, at most 2147483647 are possible."],
  ["rank 9", () => zeros([1, 1, 1, 1, 1, 1, 1, 1, 1]), "ShapeError", "zeros: [1, 1, 1, 1, 1, 1, 1, 1, 1] has rank 9, at most 8 is possible."],
  ["counting to 2^31", () => arange(2 ** 31), "ShapeError", "arange: [2147483648] has 2147483648 elements, at most 2147483647 are possible."],
  ["counting to -1", () => arange(-1), "ArgumentError", "arange: stop is -1, expected a number >= 0."],
  ["counting to text", () => arange(untyped("3")), "ArgumentError", 'arange: stop is "3", expected a number >= 0.'],
  ["repeating 2^40 times", () => tensor(1).broadcastTo([2 ** 40]), "ShapeError", "broadcastTo: [1099511627776] has 1099511627776 elements, at most 2147483647 are possible."],
  ["another number of elements", (x) => x.reshape([4]), "ShapeError", "reshape: [2, 3] has 6 elements, [4] 4."],
  ["two unknown sizes", (x) => x.reshape([-1, -1]), "ShapeError", "reshape: [2, 3] cannot become [-1, -1]. One size may be -1, and the others must divide the number of elements."],
  ["reshape to a number", (x) => x.reshape(untyped(6)), "ShapeError", `reshape: the shape is 6. ${shapeAdvice}`],
  ["a value that is text", () => full([1], untyped("1")), "ArgumentError", 'full: the value is "1", which float32 does not hold.'],
  ["half in int32", () => full([1], 0.5, { dtype: "int32" }), "ArgumentError", "full: the value is 0.5, which int32 does not hold."],
  ["an unknown dtype", () => zeros([1], { dtype: untyped("bfloat16") }), "DTypeError", `zeros: "bfloat16" is no dtype. ${dtypeAdvice}`],
]; // prettier-ignore

const operands: readonly Mistake[] = [
  ["shapes that do not broadcast", (x) => x.add(ones([4])), "ShapeError", "add: shapes [2, 3] and [4] do not broadcast: sizes 3 and 4 at axis -1. Sizes of an axis must be equal, or one of them 1."],
  ["two dtypes", (x) => x.add(arange(3)), "DTypeError", "add: a is float32 and b is int32. Convert one of them with .to(...): there is no implicit conversion."],
  ["text", (x) => x.add(untyped("1")), "ArgumentError", 'add: b is "1", expected a tensor.'],
  ["null", (x) => x.mul(untyped(null)), "ArgumentError", "mul: b is null, expected a tensor."],
  ["nothing", (x) => x.sub(untyped(undefined)), "ArgumentError", "sub: b is undefined, expected a tensor."],
  ["an array", (x) => x.div(untyped([1, 2, 3])), "ArgumentError", "div: b is an array of 3, expected a tensor."],
  ["a fraction with int32", () => arange(3).add(0.5), "DTypeError", 'add: an int32 tensor with the number 0.5. Convert the tensor with .to("float32").'],
  ["2^40 with int32", () => arange(3).mul(2 ** 40), "ArgumentError", "mul: the value is 1099511627776, which int32 does not hold."],
  ["joining nothing", () => concat([], 0), "ArgumentError", "concat: no tensors were given."],
  ["joining one tensor", (x) => concat(untyped(x), 0), "ArgumentError", "concat: tensors is a Tensor, expected an array of tensors."],
  ["joining numbers", (x) => concat(untyped([x, 2]), 0), "ArgumentError", "concat: x[1] is 2, expected a tensor."],
  ["joining other sizes", (x) => concat([x, ones([3, 4])], 0), "ShapeError", "concat: x[1] has shape [3, 4], x[0] has [2, 3]. All sizes but that of axis 0 must be equal."],
  ["an axis that is not there", (x) => x.sum(2), "ArgumentError", `sum: axis 2 does not exist in a tensor of rank 2. ${axisAdvice}`],
  ["half an axis", (x) => x.mean(0.5), "ArgumentError", `mean: axis 0.5 does not exist in a tensor of rank 2. ${axisAdvice}`],
  ["an axis twice", (x) => x.sum([0, -2]), "ArgumentError", "sum: axes [0, -2] name an axis twice."],
  ["an axis as text", (x) => x.sum(untyped("0")), "ArgumentError", 'sum: axes is "0", expected an array of numbers.'],
  ["too few axes", (x) => x.permute([0]), "ArgumentError", "permute: axes [0] for a tensor of shape [2, 3]. List every axis once."],
  ["swapping axes that are not there", (x) => x.transpose(0, 2), "ArgumentError", `transpose: axes 0 and 2 of a tensor of shape [2, 3]. ${axisAdvice}`],
  ["too many ranges", (x) => x.slice(0, 0, 0), "ArgumentError", "slice: 3 ranges for a tensor of shape [2, 3]. Give at most one range for each axis."],
  ["an index that is not there", (x) => x.slice(2), "ArgumentError", "slice: index 2 on axis 0 of size 2. Expected -2 to 1; negative ones count from the end."],
  ["a range beyond the end", (x) => x.slice([0, 5]), "ArgumentError", "slice: 0:5:1 on axis 0 of [2, 3]. Expected 0 <= start <= stop <= 2 and step >= 1; without a stop a range goes to the end."],
  ["a step of 0", (x) => x.slice([0, 2, 0]), "ArgumentError", "slice: 0:2:0 on axis 0 of [2, 3]. Expected 0 <= start <= stop <= 2 and step >= 1; without a stop a range goes to the end."],
  ["a range as text", (x) => x.slice(untyped("0:1")), "ArgumentError", 'slice: the range of axis 0 is "0:1". Expected [start, stop, step], an index, or null for all.'],
  ["a step back", (x) => x.slice(null, [null, null, -1]), "ArgumentError", "slice: the range of axis 1 is [null, null, -1]. A step is at least 1: flip(1) reverses an axis."],
  ["a range of text", (x) => x.slice(untyped(["0", 1])), "ArgumentError", 'slice: the range of axis 0 is ["0", 1]. Expected [start, stop, step], each an integer, or null for its default.'],
  ["a range from half", (x) => x.slice([0.5, 2]), "ArgumentError", "slice: the range of axis 0 is [0.5, 2]. Expected [start, stop, step], each an integer, or null for its default."],
  ["a range of nothing", (x) => x.slice(untyped([])), "ArgumentError", "slice: the range of axis 0 is []. Expected [start, stop, step], each an integer, or null for its default."],
  ["a tensor as JSON", (x) => JSON.stringify({ x }), "ArgumentError", "toJSON: a tensor of shape [2, 3] is no JSON. Write x.toArray(), or Array.from(await x.data()) beside x.shape; writeSafetensors and writeNpy make files."],
  ["an unknown dtype", (x) => x.to(untyped("half")), "ArgumentError", 'to: "half" is neither a dtype nor a device. Choose float32, int32, float64, cpu, ts or cuda.'],
  ["item of six", (x) => x.item(), "ShapeError", "item: the tensor has shape [2, 3], not one element. Use toArray() or data()."],
]; // prettier-ignore

const gradients: readonly Mistake[] = [
  ["a gradient of integers", () => arange(2).requireGrad(), "DTypeError", 'requireGrad: an int32 tensor has no gradient. Convert it with .to("float32").'],
  ["a leaf that was computed", () => ones([1]).requireGrad().add(1).requireGrad(), "GradientError", "requireGrad: the tensor is the result of a recorded operation. Call detach() first."],
  ["backward from a constant", (x) => x.sum().backward(), "GradientError", "backward: the tensor depends on nothing that requires a gradient. Compute it from Parameters or from tensors marked with requireGrad(), outside noGrad."],
  ["backward from many", (x) => x.requireGrad().mul(2).backward(), "GradientError", "backward: the tensor has shape [2, 3], not one element. Reduce it (mean, sum), or pass the gradient of its elements."],
  ["a gradient of another shape", (x) => x.requireGrad().mul(2).backward(ones([3])), "ShapeError", "backward: gradient has shape [3], expected [2, 3]."],
  ["a gradient that is a number", (x) => x.requireGrad().mul(2).backward(untyped(1)), "ArgumentError", "backward: gradient is 1, expected a tensor."],
  ["a parameter of integers", () => new Parameter(arange(3)), "DTypeError", 'Parameter: int32 values have no gradient, so they cannot be trained. Convert them with .to("float32").'],
  ["a parameter of an array", () => new Parameter(untyped([1, 2])), "ArgumentError", "Parameter: the initial values are an array of 2, expected a tensor. Make one with tensor(...)."],
  ["assigning a number", () => new Parameter(ones([2])).assign(untyped(1)), "ArgumentError", "assign: source is 1, expected a tensor."],
  ["assigning another shape", () => new Parameter(ones([2])).assign(ones([3])), "ShapeError", "assign: source has shape [3], expected [2] as the target."],
]; // prettier-ignore

const lifetimes: readonly Mistake[] = [
  ["arithmetic", (x) => ones([1]).add(dead(x)), "LifetimeError", `add: ${deadText}`],
  ["reading", (x) => dead(x).toArray(), "LifetimeError", `toArray: ${deadText}`],
  ["item", (x) => dead(x).item(), "LifetimeError", `item: ${deadText}`],
  ["backward", (x) => dead(x).backward(), "LifetimeError", `backward: ${deadText}`],
  ["a parameter", (x) => new Parameter(dead(x)), "LifetimeError", `Parameter: ${deadText}`],
  ["a promise from a scope", () => scope(async () => 1), "ArgumentError", "scope: the function returned a promise. Pass a synchronous function; await outside of scope."],
  ["a scope of no function", () => scope(untyped(1)), "ArgumentError", "scope: was given 1, expected a function."],
  ["noGrad of no function", () => noGrad(untyped(undefined)), "ArgumentError", "noGrad: was given undefined, expected a function."],
]; // prettier-ignore

const seedAdvice = "A seed is an integer from 0 to 2^53 - 1, or a bigint below 2^64.";
const settings: readonly Mistake[] = [
  ["a negative seed", () => randn([2], { seed: -1 }), "ArgumentError", `randn: seed is -1. ${seedAdvice}`],
  ["half a seed", () => rand([2], { seed: 0.5 }), "ArgumentError", `rand: seed is 0.5. ${seedAdvice}`],
  ["a seed as text", () => langevin.manualSeed(untyped("7")), "ArgumentError", `manualSeed: seed is "7". ${seedAdvice}`],
  ["a seed beyond 64 bits", () => randn([2], { seed: 2n ** 64n }), "ArgumentError", `randn: seed is 18446744073709551616n. ${seedAdvice}`],
  ["a step of -1", () => randn([2], { seed: 1, step: -1 }), "ArgumentError", "randn: step is -1, expected an integer from 0 to 2^32 - 1."],
  ["normal integers", () => randn([2], { dtype: "int32" }), "DTypeError", "randn: dtype is int32, expected float32 or float64. Use randint."],
  ["an unknown dtype of noise", () => randn([2], { dtype: untyped("half") }), "ArgumentError", 'randn: dtype is "half". Choose float32 or float64.'],
  ["low above high", () => rand([2], { low: 1, high: 0 }), "ArgumentError", "rand: low 1 is not below high 0."],
  ["no integers", () => randint(3, 3, [1]), "ArgumentError", "randint: no int32 lies in 3 <= value < 3."],
  ["an unknown default device", () => langevin.setDefaultDevice(untyped("gpu")), "ArgumentError", 'device: "gpu" is no device. Choose cuda, cpu, ts.'],
  ["an integer as default dtype", () => langevin.setDefaultDType(untyped("int32")), "DTypeError", 'setDefaultDType: "int32" is no floating dtype. Choose float32 or float64.'],
  ["strict mode of text", () => langevin.setStrictMode(untyped("yes")), "ArgumentError", 'setStrictMode: was given "yes", expected true or false.'],
  ["an unknown reduction", (x) => langevin.mse(x, x, { reduction: untyped("avg") }), "ArgumentError", 'mse: reduction is avg. Choose "mean", "sum" or "none".'],
]; // prettier-ignore

const aTensor = "expected a tensor.";
const { Conv2d } = langevin;

const compositions: readonly Mistake[] = [
  ["a number to matmul", (x) => x.matmul(untyped(3)), "ArgumentError", `matmul: b is 3, ${aTensor}`],
  ["a number to logicalAnd", (x) => x.logicalAnd(untyped(1)), "ArgumentError", `logicalAnd: other is 1, ${aTensor}`],
  ["null to logicalOr", (x) => x.logicalOr(untyped(null)), "ArgumentError", `logicalOr: other is null, ${aTensor}`],
  ["bounds by position", (x) => (x.clamp as (...bounds: number[]) => Tensor)(-1, 1), "ArgumentError", "clamp: the bounds are -1. Give them by name: clamp({ min: -1, max: 1 })."],
  ["no bounds", (x) => x.clamp(untyped(undefined)), "ArgumentError", "clamp: the bounds are undefined. Give them by name: clamp({ min: -1, max: 1 })."],
  ["a loss without target", (x) => langevin.mse(x, untyped(undefined)), "ArgumentError", `mse: target is undefined, ${aTensor}`],
  ["a loss of an array", (x) => langevin.huber(untyped([1]), x), "ArgumentError", `huber: prediction is an array of 1, ${aTensor}`],
  ["a number as weight", (x) => langevin.mse(x, x, { weight: untyped(2) }), "ArgumentError", `mse: weight is 2, ${aTensor}`],
  ["classes as an array", (x) => langevin.crossEntropy(x, untyped([0, 1])), "ArgumentError", `crossEntropy: target is an array of 2, ${aTensor}`],
  ["a layer for its weight", (x) => langevin.linear(x, untyped(new langevin.Linear(3, 2))), "ArgumentError", `linear: weight is a Linear, ${aTensor}`],
  ["a normalisation without shape", (x) => langevin.layerNorm(x, untyped(undefined)), "ShapeError", `layerNorm: the shape is undefined. ${shapeAdvice}`],
  ["a normalisation of nothing", () => langevin.rmsNorm(untyped(undefined), 3), "ArgumentError", `rmsNorm: x is undefined, ${aTensor}`],
  ["attention to nothing", () => langevin.attention(untyped(undefined), untyped(1), untyped(2)), "ArgumentError", `attention: q is undefined, ${aTensor}`],
  ["attention without keys", (x) => langevin.scaledDotProductAttention(x, untyped(undefined), x), "ArgumentError", `scaledDotProductAttention: k is undefined, ${aTensor}`],
  ["a number as mask", (x) => langevin.scaledDotProductAttention(x, x, x, { mask: untyped(1) }), "ArgumentError", `scaledDotProductAttention: mask is 1, ${aTensor}`],
  ["a transposed convolution of nothing", (x) => langevin.convTranspose2d(untyped(null), x), "ArgumentError", `convTranspose2d: x is null, ${aTensor}`],
  ["a condition of true", (x) => langevin.where(untyped(true), 1, x), "ArgumentError", `where: condition is true, ${aTensor}`],
  ["a condition for two numbers", () => langevin.where(untyped(undefined), 1, 0), "ArgumentError", `where: condition is undefined, ${aTensor}`],
  ["a number to lerp", (x) => langevin.lerp(x, untyped(1), 0.5), "ArgumentError", `lerp: b is 1, ${aTensor}`],
  ["padding of an array", () => langevin.pad(untyped([1]), 1), "ArgumentError", `pad: x is an array of 1, ${aTensor}`],
  ["padding beyond all bounds", (x) => langevin.pad(x, [[0, 0], [0, 2 ** 31]]), "ShapeError", "pad: [2, 2147483651] has 4294967302 elements, at most 2147483647 are possible."],
  ["mirroring beyond all bounds", (x) => langevin.pad(x, [[0, 2 ** 40], [0, 0]], { mode: "replicate" }), "ShapeError", "pad: [1099511627778, 3] has 3298534883334 elements, at most 2147483647 are possible."],
  ["padding integers with half", () => langevin.pad(arange(2), [[1, 1]], { value: 0.5 }), "ArgumentError", "pad: the value is 0.5, which int32 does not hold."],
  ["repeating beyond all bounds", (x) => x.repeat([2 ** 20, 2 ** 20]), "ShapeError", "repeat: [2097152, 3145728] has 6597069766656 elements, at most 2147483647 are possible."],
  ["repeating into nine axes", (x) => x.repeat([1, 1, 1, 1, 1, 1, 1, 1, 1]), "ShapeError", "repeat: [1, 1, 1, 1, 1, 1, 1, 2, 3] has rank 9, at most 8 is possible."],
  ["repeating each beyond all bounds", (x) => x.repeatInterleave(2 ** 30, 1), "ShapeError", "repeatInterleave: [2, 3221225472] has 6442450944 elements, at most 2147483647 are possible."],
  ["a number to dot", () => ones([3]).dot(untyped(2)), "ArgumentError", `dot: other is 2, ${aTensor}`],
  ["matrices to dot", (x) => x.dot(x), "ShapeError", "dot: the tensor has shape [2, 3], expected [n]."],
  ["vectors of two lengths to dot", () => ones([3]).dot(ones([1])), "ShapeError", "dot: other has shape [1], expected [3] as the vector that it is multiplied by."],
  ["matrices to outer", (x) => ones([3]).outer(x), "ShapeError", "outer: other has shape [2, 3], expected [n]."],
  ["two dtypes to outer", () => ones([3]).outer(arange(3)), "DTypeError", "outer: the tensor is float32 and other is int32. Convert one of them with .to(...): there is no implicit conversion."],
  ["the parts of a scalar", () => tensor(1).unbind(), "ArgumentError", "unbind: axis 0 does not exist in a tensor of rank 0. A scalar has no axes."],
  ["a diagonal of three axes", () => ones([1, 2, 3]).diag(), "ShapeError", "diag: the tensor has shape [1, 2, 3], expected [n] or [rows, columns]."],
  ["half a diagonal", (x) => x.diag(0.5), "ArgumentError", "diag: diagonal is 0.5, expected an integer."],
  ["a matrix beyond all bounds", (x) => x.flatten().diag(2 ** 20), "ShapeError", "diag: [1048582, 1048582] has 1099524210724 elements, at most 2147483647 are possible."],
  ["log2 of integers", () => arange(2).log2(), "DTypeError", 'log2: the tensor is int32, expected float32 or float64. Convert it with .to("float32").'],
  ["tan of integers", () => arange(2).tan(), "DTypeError", 'tan: the tensor is int32, expected float32 or float64. Convert it with .to("float32").'],
  ["classes that are floats", (x) => langevin.oneHot(x, 3), "DTypeError", 'oneHot: index is float32, expected int32. Convert it with .to("int32").'],
  ["no classes", () => langevin.oneHot(arange(2), 0), "ArgumentError", "oneHot: classes is [0], expected 1 integer >= 1."],
  ["classes as an array", () => langevin.oneHot(untyped([1, 2]), 3), "ArgumentError", `oneHot: index is an array of 2, ${aTensor}`],
  ["normalising integers", () => langevin.normalize(arange(3)), "DTypeError", 'normalize: x is int32, expected float32 or float64. Convert it with .to("float32").'],
  ["normalising along no axis", (x) => langevin.normalize(x, { axis: 2 }), "ArgumentError", `normalize: axis 2 does not exist in a tensor of rank 2. ${axisAdvice}`],
  ["similarity of nothing", (x) => langevin.cosineSimilarity(x, untyped(undefined)), "ArgumentError", `cosineSimilarity: b is undefined, ${aTensor}`],
  ["similarity of other sizes", (x) => langevin.cosineSimilarity(x, ones([4])), "ShapeError", "cosineSimilarity: shapes [2, 3] and [4] do not broadcast: sizes 3 and 4 at axis -1. Sizes of an axis must be equal, or one of them 1."],
  ["shuffling what is no image", (x) => langevin.pixelShuffle(x, 2), "ShapeError", "pixelShuffle: x has shape [2, 3], expected images [..., H, W, C]."],
  ["shuffling too few channels", () => langevin.pixelShuffle(ones([1, 2, 2, 6]), 2), "ShapeError", "pixelShuffle: x has shape [1, 2, 2, 6], whose 6 channels 2^2 does not divide."],
  ["unshuffling odd sizes", () => langevin.pixelUnshuffle(ones([1, 2, 3, 1]), 2), "ShapeError", "pixelUnshuffle: x has shape [1, 2, 3, 1], whose 2x3 pixels 2 does not divide."],
  ["a tensor to stack", (x) => langevin.stack(untyped(x)), "ArgumentError", "stack: tensors is a Tensor, expected an array of tensors."],
  ["a number in a stack", (x) => langevin.stack([x, untyped(1)]), "ArgumentError", `stack: tensor 1 is 1, ${aTensor}`],
  ["a grid over arrays", () => langevin.meshgrid(untyped([1, 2])), "ArgumentError", `meshgrid: vector 0 is an array of 2, ${aTensor}`],
  ["zeros like a shape", () => langevin.zerosLike(untyped([2])), "ArgumentError", `fullLike: like is an array of 1, ${aTensor}`],
  ["axes as text", (x) => x.squeeze(untyped("0")), "ArgumentError", 'squeeze: the axes are "0", expected a number or a list of them.'],
  ["an axis that std does not find", (x) => x.std(2), "ArgumentError", `std: axis 2 does not exist in a tensor of rank 2. ${axisAdvice}`],
  ["sizes as text", (x) => x.split(untyped("1")), "ArgumentError", 'split: the size is "1", expected an integer >= 1 or a list of sizes.'],
  ["one count for all axes", (x) => x.repeat(untyped(2)), "ArgumentError", "repeat: counts is 2, expected 2 integers >= 0."],
  ["a model to an optimizer", () => new langevin.Adam(untyped(new Conv2d(1, 1, 1))), "ArgumentError", "Adam: was given a Conv2d, expected parameters. Pass model.parameters()."],
  ["a model in a list to an optimizer", () => new langevin.SGD(untyped([new Conv2d(1, 1, 1)])), "ArgumentError", "SGD: was given a function, expected parameters. Pass model.parameters()."],
  ["tensors to an optimizer", (x) => new langevin.RMSprop([untyped(x)]), "ArgumentError", "RMSprop: was given a Tensor, expected parameters. Pass model.parameters()."],
  ["gradients of a model", () => langevin.clipGradNorm(untyped(new Conv2d(1, 1, 1)), 1), "ArgumentError", "clipGradNorm: was given a Conv2d, expected parameters. Pass model.parameters()."],
]; // prettier-ignore

onEveryDevice("errors", (device) => {
  const groups = { data, shapes, operands, compositions, gradients, lifetimes, settings };
  for (const [group, mistakes] of Object.entries(groups))
    describe(group, () => {
      for (const [name, call, kind, message] of mistakes)
        it(name, () => {
          scope(() => {
            const error = failure(() => call(ones([2, 3])));
            expect(error.message).to.equal(message);
            expect(error).to.be.instanceOf(langevin[kind]);
            expect(error.name).to.equal(kind);
          });
        });
    });

  it("leave no memory behind, and everything working", async () => {
    const before = await referencedMemory();
    for (const [, call] of Object.values(groups).flat()) scope(() => failure(() => call(ones([2, 3]))));
    expect(await referencedMemory()).to.deep.equal(before);
    expect(tensor([1, 2]).add(1).toArray()).to.deep.equal([2, 3]);
  });

  it("name the device where operands lie on two", () => {
    const other = device === "ts" ? "cpu" : "ts";
    if (device === "ts" && langevin.defaultDevice() !== "ts") return;
    let elsewhere: Tensor;
    try {
      elsewhere = ones([2], { device: other });
    } catch {
      return; // nothing is compiled here
    }
    const error = failure(() => ones([2]).add(elsewhere));
    expect(error).to.be.instanceOf(langevin.DeviceError);
    expect(error.message).to.equal(
      `add: operands lie on different devices: ${device} and ${other}. Make them on one device, or move one with .to("${device}").`,
    );
  });

  it("tell the operands", () => {
    const error = failure(() => ones([2, 3]).add(ones([4]))) as langevin.LangevinError;
    expect(error.operands).to.deep.equal([
      { name: "a", shape: [2, 3], dtype: "float32" },
      { name: "b", shape: [4], dtype: "float32" },
    ]);
  });
});
