// ONNX files byte for byte as the onnx package writes them, and what is too large for one.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { ExportError } from "langevin";
import type { OnnxModel } from "../../../ts/io/onnx/model.ts";
import { encodeOnnx, writeOnnx } from "../../../ts/io/onnx/model.ts";
import { float, integer, message, text } from "../../../ts/io/onnx/wire.ts";
import { rejection } from "../../failure.ts";

const small: OnnxModel = {
  name: "small",
  opset: 18,
  irVersion: 8,
  inputs: [{ name: "x", dtype: "float32", shape: ["batch", 2] }],
  outputs: [{ name: "y", dtype: "int32", shape: [] }],
  nodes: [
    {
      name: "first",
      type: "Gemm",
      inputs: ["x", "weight", ""],
      outputs: ["product"],
      attributes: { alpha: { float: 0.5 }, transB: 0 },
    },
    {
      name: "second",
      type: "Made",
      inputs: ["product"],
      outputs: ["y"],
      attributes: { mode: "linear", perm: [1, -1, 200] },
    },
  ],
  initializers: [
    { name: "weight", dtype: "float32", shape: [2, 3], data: Float32Array.of(1.5, -2, 0, 0.25, 3, -0.5) },
    { name: "axes", dtype: "int64", shape: [2], data: BigInt64Array.of(-1n, 300n) },
    { name: "mask", dtype: "bool", shape: [], data: Uint8Array.of(1) },
  ],
};

describe("the wire format", () => {
  const hex = ({ pieces }: { pieces: readonly Uint8Array[] }): string => Buffer.concat(pieces).toString("hex");

  it("writes the examples of its specification", () => {
    expect(hex(integer(1, 150))).to.equal("089601");
    expect(hex(integer(1, -2))).to.equal("08feffffffffffffffff01");
    expect(hex(text(2, "testing"))).to.equal("120774657374696e67");
    expect(hex(message(3, integer(1, 150)))).to.equal("1a03089601");
  });

  it("writes floats as they lie, and fields of more than one byte", () => {
    expect(hex(float(2, -0.5))).to.equal("15000000bf");
    expect(hex(integer(20, 7))).to.equal("a00107");
  });

  it("counts bytes, not characters", () => expect(hex(text(1, "\u00e9"))).to.equal("0a02c3a9"));
});

describe("ONNX files", () => {
  it("have the bytes that the onnx package writes", () => {
    const { length, pieces } = encodeOnnx(small);
    const bytes = Buffer.concat(pieces);
    expect(bytes.toString("hex")).to.equal(readFileSync(join(import.meta.dirname, "small.onnx")).toString("hex"));
    expect(length).to.equal(bytes.length);
  });

  it("hold the elements of a part of a larger array", () => {
    const data = Float32Array.of(9, 9, 1.5, -2, 0, 0.25, 3, -0.5, 9).subarray(2, 8);
    const [weight, ...others] = small.initializers;
    const { pieces } = encodeOnnx({ ...small, initializers: [{ ...weight, data }, ...others] });
    expect(Buffer.concat(pieces).equals(Buffer.concat(encodeOnnx(small).pieces))).to.equal(true);
  });

  it("of 2 GiB are refused before anything is written", async () => {
    const data = new Float32Array(2 ** 27);
    const initializers = Array.from({ length: 4 }, (_, i) => ({
      name: `w${i}`,
      dtype: "float32" as const,
      shape: [2 ** 27],
      data,
    }));
    const error = await rejection(writeOnnx("/nowhere/large.onnx", { ...small, initializers }));
    expect(error).to.be.instanceOf(ExportError);
    expect((error as ExportError).problem).to.match(/takes 2147\d+ bytes/);
  });
});
