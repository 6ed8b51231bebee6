// Raw arrays: the bits of small floats as float32, integers as int32, and what is refused.

import { execFileSync } from "node:child_process";
import { expect } from "chai";
import { ArgumentError, tensor, toFloat32, toInt32 } from "langevin";
import type { RawTensor } from "langevin";
import { failure } from "../failure.ts";

/** Every pattern of 16 bits. */
const everyHalf = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
const everyByte = Uint8Array.from({ length: 256 }, (_, bits) => bits);

function expectValues(raw: RawTensor, values: Record<number, number>): void {
  const converted = toFloat32(raw);
  for (const [bits, value] of Object.entries(values))
    expect(Object.is(converted[Number(bits)], Math.fround(value)), `0x${Number(bits).toString(16)}`).to.equal(true);
}

describe("toFloat32", () => {
  it("reads F16: subnormals, extremes, infinities", () => {
    expectValues(
      { dtype: "F16", shape: [65536], data: everyHalf },
      {
        0x0000: 0, 0x8000: -0, 0x0001: 2 ** -24, 0x03ff: 1023 * 2 ** -24, 0x0400: 2 ** -14, 0x3555: 0.333251953125,
        0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0xfbff: -65504, 0x7c00: Infinity, 0xfc00: -Infinity, 0x7c01: NaN, 0xfe00: NaN,
      },
    ); // prettier-ignore
  });

  it("reads each F16 as numpy does", function () {
    const program = "import sys, numpy; sys.stdout.buffer.write(numpy.arange(65536, dtype='u2').view('f2').astype('f4'))";
    let bytes: Buffer;
    try {
      bytes = execFileSync("/usr/bin/python3", ["-c", program], { maxBuffer: 2 ** 20, stdio: ["ignore", "pipe", "ignore"] });
    } catch {
      this.skip();
    }
    const expected = new Float32Array(new Uint8Array(bytes).buffer);
    expect(toFloat32({ dtype: "F16", shape: [65536], data: everyHalf })).to.deep.equal(expected);
  }); // prettier-ignore

  it("reads BF16: the upper half of a float32", () => {
    expectValues(
      { dtype: "BF16", shape: [65536], data: everyHalf },
      { 0: 0, 0x8000: -0, 1: 2 ** -133, 0x3f80: 1, 0xc049: -3.140625, 0x7f7f: (2 - 2 ** -7) * 2 ** 127, 0x7f80: Infinity, 0xff80: -Infinity, 0x7fc0: NaN },
    ); // prettier-ignore
  });

  it("reads F8_E4M3, which has no infinities, and F8_E5M2, which has", () => {
    expectValues(
      { dtype: "F8_E4M3", shape: [256], data: everyByte },
      { 0: 0, 0x80: -0, 1: 2 ** -9, 7: 7 * 2 ** -9, 8: 2 ** -6, 0x38: 1, 0x7e: 448, 0xfe: -448, 0x7f: NaN, 0xff: NaN },
    );
    expectValues(
      { dtype: "F8_E5M2", shape: [256], data: everyByte },
      { 0: 0, 0x80: -0, 1: 2 ** -16, 3: 3 * 2 ** -16, 4: 2 ** -14, 0x3c: 1, 0x7b: 57344, 0x7c: Infinity, 0xfc: -Infinity, 0x7d: NaN },
    ); // prettier-ignore
  });

  it("rounds what float32 does not hold, and converts integers and booleans", () => {
    expect(toFloat32({ dtype: "F64", shape: [1], data: Float64Array.of(0.1) })[0]).to.equal(Math.fround(0.1));
    expect([...toFloat32({ dtype: "I64", shape: [2], data: BigInt64Array.of(-3n, 2n ** 62n) })]).to.deep.equal([-3, 2 ** 62]); // prettier-ignore
    expect([...toFloat32({ dtype: "BOOL", shape: [2], data: Uint8Array.of(0, 1) })]).to.deep.equal([0, 1]);
  });

  it("hands F32 back as it is, and feeds tensor", () => {
    const data = Float32Array.of(1, 2);
    const raw: RawTensor = { dtype: "F32", shape: [2, 1], data };
    expect(toFloat32(raw)).to.equal(data);
    expect(tensor(toFloat32(raw), { shape: raw.shape }).toArray()).to.deep.equal([[1], [2]]);
  });

  it("refuses data that does not fit the dtype or the shape", () => {
    const error = failure(() => toFloat32({ dtype: "F16", shape: [2], data: new Float32Array(2) as never }));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal("toFloat32: the tensor is F16, which takes a Uint16Array, but its data is not one.");
    expect(failure(() => toFloat32({ dtype: "F32", shape: [3], data: new Float32Array(2) })).message).to.equal(
      "toFloat32: the tensor has 2 elements, which do not fill [3].",
    );
    expect(failure(() => toFloat32(undefined as never)).message).to.equal(
      "toFloat32: the tensor is undefined, expected { dtype, shape, data }.",
    );
  });
});

describe("toInt32", () => {
  it("converts integers and booleans, and hands I32 back as it is", () => {
    const data = Int32Array.of(5);
    expect(toInt32({ dtype: "I32", shape: [1], data })).to.equal(data);
    const labels: RawTensor = { dtype: "I64", shape: [3], data: BigInt64Array.of(-(2n ** 31n), 7n, 2n ** 31n - 1n) };
    expect(toInt32(labels)).to.deep.equal(Int32Array.of(-(2 ** 31), 7, 2 ** 31 - 1));
    expect(toInt32({ dtype: "BOOL", shape: [2], data: Uint8Array.of(0, 1) })).to.deep.equal(Int32Array.of(0, 1));
    expect(toInt32({ dtype: "U16", shape: [1], data: Uint16Array.of(65535) })).to.deep.equal(Int32Array.of(65535));
  });

  const refused: [string, RawTensor, string][] = [
    ["floats", { dtype: "F16", shape: [1], data: Uint16Array.of(1) }, "the tensor is F16, expected integers or BOOL. Use toFloat32."],
    ["U32 beyond int32", { dtype: "U32", shape: [2], data: Uint32Array.of(1, 2 ** 31) }, "element 1 is 2147483648, which int32 does not hold."],
    ["I64 beyond int32", { dtype: "I64", shape: [1], data: BigInt64Array.of(-(2n ** 31n) - 1n) }, "element 0 is -2147483649, which int32 does not hold."],
    ["I64 beyond doubles", { dtype: "I64", shape: [1], data: BigInt64Array.of(2n ** 62n) }, "element 0 is 4611686018427387904, which int32 does not hold."],
  ]; // prettier-ignore
  for (const [name, raw, problem] of refused)
    it(`refuses ${name}`, () => {
      const error = failure(() => toInt32(raw));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(`toInt32: ${problem}`);
    });
});
