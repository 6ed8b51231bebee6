// Arrays as files hold them: typed arrays of many more element types than tensors have, until they are converted on purpose.

import { ArgumentError, showShape, showValue } from "../errors/index.ts";
import { Tensor } from "../tensor/tensor.ts";

/** The typed array that holds the raw elements of each dtype; the bits of floats below 32 bits stay bits. */
export const rawArrays = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

/** Element types of files, by the names that safetensors gives them. */
export type RawDType = keyof typeof rawArrays;

/** An array as raw as it lies in a file: floats below 32 bits are their bits, booleans are bytes of 0 and 1. */
export type RawTensor = {
  readonly [D in RawDType]: {
    /** Element type, as files call it. */
    readonly dtype: D;
    /** Sizes, the slowest axis first. */
    readonly shape: readonly number[];
    /** Elements in the order of the shape; of types that JavaScript lacks, their bits. */
    readonly data: InstanceType<(typeof rawArrays)[D]>;
  };
}[RawDType];

/** Whether a value from outside names a dtype. */
export function isRawDType(name: unknown): name is RawDType {
  return typeof name === "string" && Object.hasOwn(rawArrays, name);
}

/** The dtypes, for error messages. */
export const knownRawDTypes = Object.keys(rawArrays).join(", ");

/** Bytes that an array takes. An absurd product is inexact, but then larger than any file, so it equals no length. */
export function rawBytes(dtype: RawDType, shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, rawArrays[dtype].BYTES_PER_ELEMENT);
}

/** Whether a value from outside is a list of safe integers >= 0. */
export function isListOfSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}

/** The elements of a buffer from byte `position` on; aligned, and all there. */
export function rawTensor(
  dtype: RawDType,
  shape: readonly number[],
  buffer: ArrayBufferLike,
  position: number,
): RawTensor {
  const length = rawBytes(dtype, shape) / rawArrays[dtype].BYTES_PER_ELEMENT;
  return { dtype, shape, data: new rawArrays[dtype](buffer as ArrayBuffer, position, length) } as RawTensor;
}

/** What lies in memory for the elements. */
export function bytesOfRaw({ data }: RawTensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A tensor as a file holds it, once its elements are computed; a raw one as it is. `name` is what errors call it. */
export async function rawOf(op: string, name: string, array: Tensor | RawTensor): Promise<RawTensor> {
  if (!(array instanceof Tensor)) {
    if (hasDType(array)) return array;
    throw new ArgumentError({
      op,
      problem: `${name} is ${showValue(array)}, expected a tensor or { dtype, shape, data }.`,
    });
  }
  const { shape } = array;
  const data = await array.read(op);
  if (data instanceof Float32Array) return { dtype: "F32", shape, data };
  return data instanceof Int32Array ? { dtype: "I32", shape, data } : { dtype: "F64", shape, data };
}

/** Refuses what is no file in memory, as callers without types may give it. */
export function expectBytes(op: string, bytes: Uint8Array): void {
  if (!(bytes instanceof Uint8Array))
    throw new ArgumentError({
      op,
      problem: `was given ${showValue(bytes)}, expected the bytes of a file.`,
      advice: "They are a Uint8Array, or a Buffer; around an ArrayBuffer write new Uint8Array(buffer).",
    });
}

/** Whether a value from outside may be a raw tensor at all. */
const hasDType = (value: unknown): boolean => typeof value === "object" && value !== null && "dtype" in value;

/** What is wrong with a raw tensor that a caller made, if anything. */
export function flawOfRaw({ dtype, shape, data }: RawTensor): string | undefined {
  if (!isRawDType(dtype)) return `has dtype ${String(dtype)}; known are ${knownRawDTypes}.`;
  const expected = rawArrays[dtype];
  if (!(data instanceof expected)) return `is ${dtype}, which takes a ${expected.name}, but its data is not one.`;
  if (!isListOfSizes(shape)) return `has shape ${JSON.stringify(shape)}, expected a list of sizes.`;
  const length = (data as Uint8Array).length;
  if (rawBytes(dtype, shape) !== (data as Uint8Array).byteLength)
    return `has ${length} elements, which do not fill ${showShape(shape)}.`;
  return undefined;
}

/**
 * The elements as float32, for `tensor(toFloat32(raw), { shape: raw.shape })` (`torch.Tensor.float`). Exact for F16, BF16,
 * both F8, BOOL and integers of 8 and 16 bits; others are rounded to the nearest float32. F32 is handed back without a
 * copy.
 */
export function toFloat32(raw: RawTensor): Float32Array {
  expectSound("toFloat32", raw);
  switch (raw.dtype) {
    case "F32":
      return raw.data;
    case "F16":
      return Float32Array.from(raw.data, float16);
    case "BF16":
      return new Float32Array(Uint32Array.from(raw.data, (bits) => bits << 16).buffer);
    case "F8_E5M2":
      return Float32Array.from(raw.data, (bits) => float16(bits << 8));
    case "F8_E4M3":
      return Float32Array.from(raw.data, float8E4M3);
    case "I64":
    case "U64":
      return Float32Array.from(raw.data as ArrayLike<bigint>, Number);
    default:
      return Float32Array.from(raw.data);
  }
}

/**
 * The elements as int32, for `tensor(toInt32(raw), { shape: raw.shape })` (`torch.Tensor.int`): integers and booleans, of
 * which none may lie outside int32. I32 is handed back without a copy.
 */
export function toInt32(raw: RawTensor): Int32Array {
  expectSound("toInt32", raw);
  if (raw.dtype === "I32") return raw.data;
  if (!/^([IU]\d+|BOOL)$/.test(raw.dtype))
    throw new ArgumentError({
      op: "toInt32",
      problem: `the tensor is ${raw.dtype}, expected integers or BOOL.`,
      advice: "Use toFloat32.",
    });
  const result = Int32Array.from(raw.data as ArrayLike<number | bigint>, Number);
  const wrong = result.findIndex((value, i) => value !== Number(raw.data[i]));
  if (wrong >= 0)
    throw new ArgumentError({
      op: "toInt32",
      problem: `element ${wrong} is ${raw.data[wrong]}, which int32 does not hold.`,
    });
  return result;
}

function expectSound(op: string, raw: RawTensor): void {
  const flaw = hasDType(raw) ? flawOfRaw(raw) : `is ${showValue(raw)}, expected { dtype, shape, data }.`;
  if (flaw !== undefined) throw new ArgumentError({ op, problem: `the tensor ${flaw}` });
}

/** IEEE 754's binary16: 1 bit of sign, 5 of exponent, 10 of fraction. */
function float16(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** The E4M3 of Micikevicius et al. 2022, "FP8 formats for deep learning": no infinities, and NaN is all ones behind the sign. */
function float8E4M3(bits: number): number {
  if ((bits & 0x7f) === 0x7f) return NaN;
  const [sign, exponent, fraction] = [bits & 0x80 ? -1 : 1, (bits >> 3) & 15, bits & 7];
  return sign * (exponent === 0 ? fraction * 2 ** -9 : (8 + fraction) * 2 ** (exponent - 10));
}
