// Images at another size, compared with PyTorch's values and gradients; what is refused.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type { DType, Resize2dOptions, LangevinError } from "langevin";
import { ArgumentError, DTypeError, Parameter, ShapeError, tensor } from "langevin";
import { adaptiveAvgPool2d, arange, globalAvgPool2d, ones, resize2d } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice, useDevice } from "./devices.ts";

/** An image of one channel at another size. */
interface Case {
  readonly mode: NonNullable<Resize2dOptions["mode"]>;
  readonly alignCorners: boolean;
  readonly from: readonly [number, number];
  readonly size: readonly [number, number];
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly cotangent: readonly number[];
  readonly gradient: readonly number[];
}

const { source, cases } = JSON.parse(readFileSync(join(import.meta.dirname, "resizing.json"), "utf8")) as {
  source: string;
  cases: readonly Case[];
};

/** Compares with every case; the other images and channels are multiples of the case's. */
async function compare(dtype: DType, within: number): Promise<void> {
  const factors = [1, -2, 0.5, 4, 8, 1];
  const images = (values: readonly number[], [h, w]: readonly [number, number]) =>
    tensor([...values], { shape: [1, h, w, 1], dtype }).mul(tensor(factors, { shape: [2, 1, 1, 3], dtype }));
  const expectClose = (got: ArrayLike<number>, expected: readonly number[], name: string) => {
    expect(got, name).to.have.length(6 * expected.length);
    const largest = Math.max(1, ...expected.map(Math.abs));
    for (let i = 0; i < got.length; i++) {
      const factor = factors[3 * Math.floor(i / (3 * expected.length)) + (i % 3)];
      const value = factor * expected[Math.floor(i / 3) % expected.length];
      expect(got[i], `${name}, element ${i}`).to.be.closeTo(value, within * largest * Math.abs(factor));
    }
  };
  for (const { mode, alignCorners, from, size, ...values } of cases) {
    const name = `${mode}${alignCorners ? ", corners aligned," : ""} ${from.join("x")} to ${size.join("x")}`;
    const x = new Parameter(images(values.x, from));
    const y = resize2d(x, { size, mode, alignCorners });
    expect(y.shape, name).to.deep.equal([2, ...size, 3]);
    y.backward(images(values.cotangent, size));
    expectClose(await y.data(), values.y, name);
    expectClose(await x.grad!.data(), values.gradient, `gradient of ${name}`);
  }
}

describe(`resize2d as in ${source.split(":")[0]}`, () => {
  useDevice("ts");
  it("float64", () => compare("float64", 1e-12));
});

onEveryDevice("resize2d", () => {
  const image = () => arange(6).to("float32").reshape([1, 2, 3, 1]);

  it("has the values and gradients of PyTorch", () => compare("float32", 1e-6));

  it("copies the nearest pixels by default; a scale is one number or [y, x], and sizes are rounded down", () => {
    expect(resize2d(image(), { scale: 2 }).reshape([4, 6]).toArray()).to.deep.equal([
      [0, 0, 1, 1, 2, 2],
      [0, 0, 1, 1, 2, 2],
      [3, 3, 4, 4, 5, 5],
      [3, 3, 4, 4, 5, 5],
    ]);
    expect(resize2d(image(), { scale: [0.5, 1.9] }).shape).to.deep.equal([1, 1, 5, 1]);
    expect(resize2d(image(), { size: 4, mode: "bilinear" }).shape).to.deep.equal([1, 4, 4, 1]);
  });

  it("averages areas, whole images too", () => {
    expect(adaptiveAvgPool2d(image(), [1, 2]).toArray()).to.deep.equal([[[[2], [3]]]]);
    expect(globalAvgPool2d(image()).toArray()).to.deep.equal([[[[2.5]]]]);
    expect(globalAvgPool2d(ones([2, 31, 33, 5])).shape).to.deep.equal([2, 1, 1, 5]);
  });

  it("has a second derivative, which is that of a linear function", () => {
    const x = new Parameter(image());
    const y = resize2d(x, { size: [3, 5], mode: "bicubic" });
    y.mul(y).sum().backward();
    const expected = resize2d(x.detach(), { size: [3, 5], mode: "bicubic" });
    expect(expected.mul(expected).sum().item()).to.be.closeTo(x.mul(x.grad!).sum().item() / 2, 1e-4);
  });

  it("refuses what is no image, no size or two of them", () => {
    const refused = (options: unknown, kind: typeof LangevinError = ArgumentError, x = image()) => {
      const error = failure(() => resize2d(x, options as Resize2dOptions));
      expect(error).to.be.instanceOf(kind);
      return error.message;
    };
    expect(refused({})).to.include("neither size nor scale");
    expect(refused({ size: 2, scale: 2 })).to.include("both size and scale");
    expect(refused({ size: [0, 3] })).to.include("size is [0, 3], expected 2 integers >= 1");
    expect(refused({ size: 1.5 })).to.include("size is [1.5, 1.5]");
    expect(refused({ scale: 0.3 })).to.include("size is [0, 0]");
    expect(refused({ scale: -1 })).to.include("scale is [-1, -1], expected 2 numbers above 0");
    expect(refused({ scale: NaN })).to.include("scale is [NaN, NaN]");
    expect(refused({ size: 4, mode: "linear" })).to.include('mode is "linear"');
    expect(refused({ size: 4, alignCorners: true })).to.include('alignCorners is true with mode "nearest"');
    expect(refused({ size: 4, mode: "area", alignCorners: true })).to.include('"area"');
    for (const target of [{ size: 2 }, { scale: 2 }]) {
      expect(refused(target, ShapeError, ones([2, 3]))).to.include("[N, H, W, C]");
      expect(refused(target, DTypeError, ones([1, 2, 2, 1], { dtype: "int32" }))).to.include("int32");
    }
    expect(refused({ size: 2 }, ShapeError, ones([1, 0, 2, 1]))).to.include("no pixels");
    expect(refused({ size: 50_000 }, ShapeError, ones([1, 1, 1, 1]))).to.include("elements");
  });
});
