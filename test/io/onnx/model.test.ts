// ONNX files byte for byte as the onnx package writes them, and what is too large for one.

import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ExportError } from "langevin";
import type { OnnxModel, OnnxTensor } from "../../../ts/io/onnx/model.ts";
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

  describe("that would be too large", () => {
    let folder: string;
    beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-onnx-"))));
    afterEach(() => rm(folder, { recursive: true }));

    const row = (name: string, length: number): OnnxTensor => {
      return { name, dtype: "float32", shape: [length], data: Float32Array.from({ length }, (_, i) => i) };
    };
    const large = { ...small, initializers: [row("a", 1025), row("b", 3), row("c", 300)] };

    it("become two, with tensors at multiples of 4096 bytes in the other", async () => {
      const path = join(folder, "large.onnx");
      const files = await writeOnnx(path, large, 2000);
      expect(files.map(({ path: name }) => name)).to.deep.equal([path, `${path}.data`]);
      const [model, data] = await Promise.all(files.map(({ path: name }) => readFile(name)));
      expect([model.length, data.length]).to.deep.equal(files.map(({ bytes }) => bytes));
      expect(data.length).to.equal(8192 + 1200);
      expect([data.readFloatLE(4 * 1024), data.readFloatLE(8192 + 4 * 299)]).to.deep.equal([1024, 299]);
      expect(data.subarray(4100, 8192).every((byte) => byte === 0)).to.equal(true);
      for (const entry of ["large.onnx.data", "location", "8192", "1200"]) expect(model.includes(entry)).to.equal(true);
    });

    it("do not leave an older model beside new weights", async () => {
      const path = join(folder, "large.onnx");
      await writeFile(path, "old");
      await mkdir(`${path}.data`); // so that the weights cannot be written
      await rejection(writeOnnx(path, large, 2000));
      expect(await readdir(folder)).to.deep.equal(["large.onnx.data"]);
    });

    it("are refused where that does not help", async () => {
      const path = join(folder, "large.onnx");
      const error = await rejection(writeOnnx(path, large, 100));
      expect(error).to.be.instanceOf(ExportError).with.property("problem").that.includes("without its weights");
      expect(await readdir(folder)).to.deep.equal([]);
    });

    it("are those of 2 GiB, whose weights are not copied", async () => {
      const data = new Float32Array(2 ** 27);
      const initializers = ["a", "b", "c", "d"].map((name) => ({ ...row(name, 0), shape: [2 ** 27], data }));
      expect(encodeOnnx({ ...small, initializers }).length).to.be.above(2 ** 31);
    });
  });
});
