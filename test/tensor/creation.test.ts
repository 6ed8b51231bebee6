// Making tensors: from arrays and constants, with their shapes and dtypes, and what is refused.

import { expect } from "chai";
import {
  ArgumentError,
  DTypeError,
  DeviceError,
  ShapeError,
  Tensor,
  arange,
  full,
  ones,
  setDefaultDType,
  tensor,
  zeros,
} from "langevin";
import type { TensorData } from "langevin";
import { loadCudaAddon } from "../../ts/device/native/addon.ts";
import { failure } from "../failure.ts";
import { cpuIsBuilt, onEveryDevice } from "./devices.ts";

onEveryDevice("creation", (device) => {
  it("takes the shape from nested arrays", () => {
    const x = tensor([
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      [
        [7, 8],
        [9, 10],
        [11, 12],
      ],
    ]);
    expect(x).to.be.instanceOf(Tensor);
    expect(x.shape).to.deep.equal([2, 3, 2]);
    expect([x.rank, x.size, x.dtype, x.device]).to.deep.equal([3, 12, "float32", device]);
    expect([...(x.slice(1, 2).toArray() as number[])]).to.deep.equal([11, 12]);
  });

  it("makes a scalar of a number", () => {
    const x = tensor(2.5);
    expect([x.shape, x.rank, x.size, x.item(), x.toArray()]).to.deep.equal([[], 0, 1, 2.5, 2.5]);
  });

  it("rounds to float32 once", () => {
    expect(tensor(0.1).item()).to.equal(Math.fround(0.1));
    expect(full([2], 0.1).toArray()).to.deep.equal([Math.fround(0.1), Math.fround(0.1)]);
  });

  it("lays flat data out in row-major order", () => {
    const x = tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3] });
    expect(x.toArray()).to.deep.equal([
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });

  it("takes the dtype from the typed array only for int32", () => {
    expect(tensor(new Int32Array([1, -2])).dtype).to.equal("int32");
    expect(tensor(new Float64Array([1, -2])).dtype).to.equal("float32");
    expect(tensor(new Uint8Array([0, 255])).toArray()).to.deep.equal([0, 255]);
    expect(tensor(new Float32Array([1.5])).dtype).to.equal("float32");
    expect(tensor([1, 2], { dtype: "int32" }).dtype).to.equal("int32");
  });

  it("copies: the array may be changed at once", () => {
    const source = new Float32Array([1, 2, 3]);
    const x = tensor(source);
    source.fill(9);
    expect(x.toArray()).to.deep.equal([1, 2, 3]);
  });

  it("copies shapes: the arrays may be changed at once", () => {
    const shape = [2, 3];
    const made = [zeros(shape), tensor(new Float32Array(6), { shape }), zeros([6]).reshape(shape)];
    shape[0] = 9;
    for (const { shape: own } of made) expect(own).to.deep.equal([2, 3]);
  });

  it("cuts fractions off in int32, and refuses what int32 does not hold", () => {
    expect(tensor([1.7, -1.7, 2147483647], { dtype: "int32" }).toArray()).to.deep.equal([1, -1, 2147483647]);
    for (const value of [NaN, Infinity, 3e9, -3e9])
      expect(failure(() => tensor([0, value], { dtype: "int32" })).message).to.equal(
        `tensor: element 1 is ${value}, which int32 does not hold.`,
      );
    for (const value of [0.5, NaN, 2 ** 31, 1e12])
      expect(failure(() => full([1], value, { dtype: "int32" })).message).to.equal(
        `full: the value is ${value}, which int32 does not hold.`,
      );
    expect(failure(() => full([1], undefined as unknown as number))).to.be.instanceOf(ArgumentError);
  });

  it("reads a part of a bigger typed array", () => {
    const source = Float32Array.from({ length: 10 }, (_, i) => i);
    expect(tensor(source.subarray(3, 6)).toArray()).to.deep.equal([3, 4, 5]);
  });

  it("keeps NaN, infinities and negative zero", () => {
    const [nan, low, zero] = tensor([NaN, -Infinity, -0]).toArray() as number[];
    expect(nan).to.be.NaN;
    expect(low).to.equal(-Infinity);
    expect(Object.is(zero, -0)).to.equal(true);
  });

  const ragged: [string, unknown][] = [
    ["rows of different lengths", [[1, 2], [3]]],
    ["a row missing deep inside", [[[1], [2]], [[3]]]],
    ["numbers beside arrays", [1, [2]]],
    ["arrays beside numbers", [[1], 2]],
  ];
  for (const [name, data] of ragged)
    it(`refuses ${name}`, () => {
      const error = failure(() => tensor(data as TensorData));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.match(
        /^tensor: nested arrays of different lengths: \[.*\] and \[.*\]\. All rows of an axis have one length\.$/,
      );
    });

  for (const data of [["a"], [undefined], [null], "abc", {}, [[1n]]])
    it(`refuses ${JSON.stringify(data, (_, v: unknown) => (typeof v === "bigint" ? "1n" : v))}`, () => {
      expect(failure(() => tensor(data as unknown as TensorData))).to.be.instanceOf(ArgumentError);
    });

  it("refuses a count that does not fit the shape", () => {
    const error = failure(() => tensor([1, 2, 3], { shape: [2, 2] }));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.equal(
      "tensor: 3 elements for shape [2, 2], which has 4. The shape's sizes multiply to the number of elements.",
    );
  });

  for (const shape of [
    [-1, -3],
    [1.5, 2],
    [3, 1, 1, 1, 1, 1, 1, 1, 1],
  ])
    it(`refuses [${shape.join(", ")}] as the shape of three elements`, () => {
      expect(failure(() => tensor([1, 2, 3], { shape }))).to.be.instanceOf(ShapeError);
    });

  for (const shape of [[-1], [2, 0.5], [NaN]])
    it(`refuses [${shape.join(", ")}] as the shape of zeros`, () => {
      expect(failure(() => zeros(shape))).to.be.instanceOf(ShapeError);
    });

  it("fills", () => {
    expect(zeros([2, 2]).toArray()).to.deep.equal([
      [0, 0],
      [0, 0],
    ]);
    expect(ones([3], { dtype: "int32" }).toArray()).to.deep.equal([1, 1, 1]);
    expect(full([], -7, { dtype: "int32" }).item()).to.equal(-7);
  });

  it("counts: arange is int32 unless told otherwise", () => {
    const x = arange(4);
    expect([x.dtype, x.toArray()]).to.deep.equal(["int32", [0, 1, 2, 3]]);
    expect(arange(3, { dtype: "float32" }).dtype).to.equal("float32");
    expect(arange(0).shape).to.deep.equal([0]);
    for (const stop of [-1, -0.5, NaN, Infinity]) expect(failure(() => arange(stop))).to.be.instanceOf(ArgumentError);
  });

  it("counts below what is no integer", () => {
    const x = arange(0.5);
    expect([x.dtype, x.toArray()]).to.deep.equal(["float32", [0]]);
    expect(arange(2.5).toArray()).to.deep.equal([0, 1, 2]);
    expect(arange(2.5, { dtype: "int32" }).toArray()).to.deep.equal([0, 1, 2]);
  });

  it("makes tensors without elements", () => {
    expect(tensor([]).shape).to.deep.equal([0]);
    expect(tensor([[], []]).shape).to.deep.equal([2, 0]);
    expect(zeros([3, 0, 2]).toArray()).to.deep.equal([[], [], []]);
    expect(zeros([0]).size).to.equal(0);
  });
});

describe("dtypes and devices of new tensors", () => {
  it("follow the default dtype for everything that floats", () => {
    setDefaultDType("float64");
    try {
      for (const x of [tensor([0.1], { device: "ts" }), zeros([1], { device: "ts" })])
        expect(x.dtype).to.equal("float64");
      expect(tensor([0.1], { device: "ts" }).item()).to.equal(0.1);
      expect(tensor(new Int32Array(1), { device: "ts" }).dtype).to.equal("int32");
      expect(tensor([0.1], { device: "ts", dtype: "float32" }).dtype).to.equal("float32");
    } finally {
      setDefaultDType("float32");
    }
    expect(tensor([0.1], { device: "ts" }).dtype).to.equal("float32");
  });

  it("refuse float64 where the device does not compute in it", function () {
    if (!cpuIsBuilt) return this.skip();
    const text = /the cpu device does not compute in float64\. float64 exists on the "ts" device alone\./;
    expect(failure(() => tensor([1], { device: "cpu", dtype: "float64" }))).to.be.instanceOf(DTypeError);
    expect(failure(() => tensor([1], { device: "cpu", dtype: "float64" })).message).to.match(text);
    expect(failure(() => zeros([1], { device: "cpu", dtype: "float64" })).message).to.match(text);
    expect(failure(() => tensor([1], { device: "cpu" }).to("float64")).message).to.match(text);
  });

  it("refuse a device that does not exist, by its name", () => {
    expect(failure(() => zeros([1], { device: "tpu" as "cpu" })).message).to.equal(
      'device: "tpu" is no device. Choose cuda, cpu, ts.',
    );
  });

  it("refuse a device that does not work, by its name", function () {
    if (cpuIsBuilt && loadCudaAddon().cuda().devices.length > 0) return this.skip();
    const error = failure(() => zeros([1], { device: "cuda" }));
    expect(error).to.be.instanceOf(DeviceError);
    expect(error.message).to.match(/^device "cuda": /);
  });

  it("refuse operands on different devices, naming both", function () {
    if (!cpuIsBuilt) return this.skip();
    const [a, b] = [ones([2], { device: "ts" }), ones([2], { device: "cpu" })];
    const error = failure(() => a.mul(b));
    expect(error).to.be.instanceOf(DeviceError);
    expect(error.message).to.equal(
      'mul: operands lie on different devices: ts and cpu. Make them on one device, or move one with .to("ts").',
    );
    a.requireGrad();
    expect(failure(() => a.sum().backward(ones([], { device: "cpu" })))).to.be.instanceOf(DeviceError);
  });

  it("move to another device as a copy, and stay where they are already there", function () {
    if (!cpuIsBuilt) return this.skip();
    const x = tensor(
      [
        [1, -0],
        [NaN, 4],
      ],
      { device: "ts" },
    );
    const y = x.to("cpu");
    expect([y.device, y.dtype, y.toArray()]).to.deep.equal(["cpu", "float32", x.toArray()]);
    expect(y.to("cpu")).to.equal(y);
    expect(arange(3, { device: "cpu" }).to("ts").dtype).to.equal("int32");
    expect(failure(() => tensor([1], { device: "ts", dtype: "float64" }).to("cpu"))).to.be.instanceOf(DTypeError);
    const leaf = tensor([1], { device: "ts" }).requireGrad();
    expect(failure(() => leaf.to("cpu")).message).to.equal(
      'to: gradients do not pass from cpu back to ts. Move it before it requires a gradient, or write detach().to("cpu").',
    );
    expect(leaf.detach().to("cpu").item()).to.equal(1);
    expect(failure(() => x.to("half" as "cpu")).message).to.equal(
      'to: "half" is neither a dtype nor a device. Choose float32, int32, float64, cpu, ts or cuda.',
    );
  });
});
