// What resampling does with NaN, infinities and signs of zero, with images of one pixel and with none, on every executor.

import { expect } from "chai";

import type { AnyOp, Shape } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import { resizeModes } from "../../ts/ops/resize.ts";
import type { ResizeMode } from "../../ts/ops/resize.ts";
import { generator, valueOf } from "./draw.ts";
import type { Subject } from "./executors.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate } from "./run-op.ts";
import { firstDifference } from "./tolerance.ts";

const nan = NaN;
const inf = Infinity;

function edges({ float, open }: Subject): void {
  const run = (op: AnyOp, shape: Shape, elements: readonly number[], size: readonly number[], mode: ResizeMode) =>
    Array.from(
      evaluate(open(), {
        op,
        inputs: [valueOf(float, shape, elements)],
        attributes: { size, mode, alignCorners: false },
      }).elements,
    );

  it("nearest keeps every bit", () => {
    const line = run(ops.resize2d, [1, 1, 5, 1], [-0, nan, -inf, 1e-44, 3e38], [2, 10], "nearest");
    const twice = [-0, nan, -inf, 1e-44, 3e38].map((v) => (float === "float32" ? Math.fround(v) : v));
    const expected = [...twice.flatMap((v) => [v, v]), ...twice.flatMap((v) => [v, v])];
    expect(firstDifference(line, expected)).to.equal(undefined);
  });

  it("where pixels meet exactly, their neighbours do not matter", () => {
    for (const mode of resizeModes) {
      expect(run(ops.resize2d, [1, 1, 3, 1], [1, nan, 3], [1, 3], mode)).to.deep.equal([1, nan, 3]);
      expect(run(ops.resize2d, [1, 3, 1, 1], [-inf, 2, inf], [3, 1], mode)).to.deep.equal([-inf, 2, inf]);
    }
    expect(run(ops.resize2d, [1, 1, 3, 1], [nan, 2, inf], [1, 1], "bilinear")).to.deep.equal([2]);
  });

  it("NaN and infinities reach the pixels that see them", () => {
    expect(run(ops.resize2d, [1, 1, 3, 1], [inf, 0, 1], [1, 6], "bilinear").slice(0, 4)).to.deep.equal([
      inf,
      inf,
      inf,
      0.25,
    ]);
    expect(run(ops.resize2d, [1, 1, 4, 1], [1, 1, nan, 1], [1, 2], "area")).to.deep.equal([1, nan]);
  });

  it("huge numbers have means", () => {
    const y = run(ops.resize2d, [1, 2, 2, 1], new Array<number>(4).fill(3e38), [1, 1], "area");
    expect(y[0] / 3e38).to.be.closeTo(1, 1e-7);
  });

  it("one pixel becomes a plain image, and takes the gradient of all of it", () => {
    for (const mode of resizeModes) {
      run(ops.resize2d, [1, 1, 1, 2], [3, -5], [4, 3], mode).forEach((v, i) =>
        expect(v).to.be.closeTo(i % 2 === 0 ? 3 : -5, 1e-6),
      );
      const [dx] = run(ops.resize2dGradient, [1, 4, 3, 1], new Array<number>(12).fill(1), [1, 1], mode);
      expect(dx).to.be.closeTo(12, 1e-5);
    }
  });

  it("pixels that no output sees have no gradient", () => {
    expect(run(ops.resize2dGradient, [1, 1, 2, 1], [nan, 7], [1, 5], "nearest")).to.deep.equal([nan, 0, 7, 0, 0]);
  });

  it("means of large images are as good as their terms", () => {
    const random = generator(5);
    const [h, w] = [300, 501];
    const x = Array.from({ length: h * w }, () => Math.fround(1 + random()));
    const [mean] = run(ops.resize2d, [1, h, w, 1], x, [1, 1], "area");
    expect(mean / (x.reduce((sum, v) => sum + v, 0) / (h * w))).to.be.closeTo(1, 3e-7);
  });

  it("no images, no channels", () => {
    for (const mode of resizeModes)
      for (const op of [ops.resize2d, ops.resize2dGradient]) {
        expect(run(op, [0, 3, 3, 2], [], [5, 2], mode)).to.deep.equal([]);
        expect(run(op, [2, 3, 3, 0], [], [5, 2], mode)).to.deep.equal([]);
      }
  });
}

describe("edges of resampling", () => {
  for (const subject of [oracle, ...subjects]) describeSubject(subject, () => edges(subject));
});
