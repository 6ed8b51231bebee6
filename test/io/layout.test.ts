// Layouts against the formula of each index, written out, and there and back again.

import { expect } from "chai";
import { ArgumentError, ShapeError } from "../../ts/errors/index.ts";
import type { TorchLayout } from "../../ts/io/layout.ts";
import { fromTorch, toTorch, torchShape } from "../../ts/io/layout.ts";
import { failure } from "../failure.ts";

/** 0, 1, 2, ...: each element says where it was. */
function counting(shape: readonly number[]): Float64Array {
  return Float64Array.from({ length: shape.reduce((product, n) => product * n, 1) }, (_, i) => i);
}

describe("layouts", () => {
  it("OIHW: ours is [KH, KW, I, O]", () => {
    const [KH, KW, I, O] = [2, 3, 4, 5];
    const { data, shape } = toTorch("OIHW", counting([KH, KW, I, O]), [KH, KW, I, O]);
    expect(shape).to.deep.equal([O, I, KH, KW]);
    for (let o = 0; o < O; o++)
      for (let i = 0; i < I; i++)
        for (let y = 0; y < KH; y++)
          for (let x = 0; x < KW; x++)
            expect(data[((o * I + i) * KH + y) * KW + x]).to.equal(((y * KW + x) * I + i) * O + o);
  });

  it("IOHW: ours is [KH, KW, out, in]", () => {
    const [KH, KW, out, inn] = [2, 3, 4, 5];
    const { data, shape } = toTorch("IOHW", counting([KH, KW, out, inn]), [KH, KW, out, inn]);
    expect(shape).to.deep.equal([inn, out, KH, KW]);
    for (let i = 0; i < inn; i++)
      for (let o = 0; o < out; o++)
        for (let y = 0; y < KH; y++)
          for (let x = 0; x < KW; x++)
            expect(data[((i * out + o) * KH + y) * KW + x]).to.equal(((y * KW + x) * out + o) * inn + i);
  });

  it("OI: ours is [in, out]", () => {
    expect(toTorch("OI", Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])).to.deep.equal({
      data: Float32Array.of(1, 4, 2, 5, 3, 6),
      shape: [3, 2],
    });
  });

  it("NCHW: ours is NHWC", () => {
    const [N, H, W, C] = [2, 3, 4, 5];
    const { data, shape } = toTorch("NCHW", counting([N, H, W, C]), [N, H, W, C]);
    expect(shape).to.deep.equal([N, C, H, W]);
    for (let n = 0; n < N; n++)
      for (let c = 0; c < C; c++)
        for (let y = 0; y < H; y++)
          for (let x = 0; x < W; x++)
            expect(data[((n * C + c) * H + y) * W + x]).to.equal(((n * H + y) * W + x) * C + c);
  });

  it("plain: the very same data", () => {
    const data = Float32Array.of(1, 2, 3);
    expect(toTorch("plain", data, [3]).data).to.equal(data);
    expect(fromTorch("plain", data, [3, 1, 1]).shape).to.deep.equal([3, 1, 1]);
  });

  const ours: Record<TorchLayout, number[]> = {
    OIHW: [3, 2, 4, 5],
    IOHW: [2, 3, 5, 4],
    OI: [7, 3],
    NCHW: [2, 5, 3, 4],
    plain: [2, 3],
  };
  for (const [layout, shape] of Object.entries(ours) as [TorchLayout, number[]][])
    it(`${layout}: fromTorch undoes toTorch, for every kind of array`, () => {
      const numbers = counting(shape);
      const arrays = [numbers, Float32Array.from(numbers), Int32Array.from(numbers), Uint8Array.from(numbers)];
      for (const data of [...arrays, BigInt64Array.from(numbers, BigInt)]) {
        const there = toTorch(layout, data, shape);
        expect(there.data.constructor).to.equal(data.constructor);
        expect(torchShape(layout, shape)).to.deep.equal(there.shape);
        expect(fromTorch(layout, there.data, there.shape)).to.deep.equal({ data, shape });
      }
    });

  it("moves nothing where there is nothing", () => {
    expect(toTorch("OIHW", new Float32Array(0), [3, 3, 0, 4])).to.deep.equal({
      data: new Float32Array(0),
      shape: [4, 0, 3, 3],
    });
  });

  it("leaves its argument alone", () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    const shape = [2, 3];
    fromTorch("OI", data, shape);
    expect([...data]).to.deep.equal([1, 2, 3, 4, 5, 6]);
    expect(shape).to.deep.equal([2, 3]);
  });

  it("names what does not fit", () => {
    const wrongRank = failure(() => fromTorch("OIHW", new Float32Array(6), [2, 3]));
    expect(wrongRank).to.be.instanceOf(ShapeError);
    expect(wrongRank.message).to.equal("fromTorch: OIHW has 4 axes, the shape is [2, 3].");
    const wrongSize = failure(() => toTorch("OI", new Float32Array(5), [2, 3]));
    expect(wrongSize).to.be.instanceOf(ShapeError);
    expect(wrongSize.message).to.equal("toTorch: 5 elements do not fill the shape [2, 3].");
    const unknown = failure(() => toTorch("HWIO" as TorchLayout, new Float32Array(0), [0]));
    expect(unknown)
      .to.be.instanceOf(ArgumentError)
      .with.property("message")
      .match(/no layout "HWIO"\. Known are OIHW, /);
  });
});
