// Layers that move a window over images check how, when they are made, under their own names.

import { expect } from "chai";
import { ArgumentError, AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d, Upsample, conv2d, ones } from "langevin";
import { failure } from "../failure.ts";

const padding = "Give a number, [y, x] or [top, bottom, left, right]";

/** A layer that must not be made, and what the error says. */
const refused: readonly (readonly [make: () => unknown, text: string])[] = [
  [() => new Conv2d(1, 1, "3" as never), 'Conv2d: kernel is "3", expected 2 integers >= 1.'],
  [() => new Conv2d(1, 1, 3, { stride: 0 }), "Conv2d: stride is [0, 0], expected 2 integers >= 1."],
  [() => new Conv2d(1, 1, 3, { stride: null as never }), "Conv2d: stride is null, expected 2 integers >= 1."],
  [() => new Conv2d(1, 1, 3, { padding: -1 }), "Conv2d: padding is [-1, -1, -1, -1], expected 4 integers >= 0."],
  [() => new Conv2d(1, 1, 3, { padding: "same" as never }), `Conv2d: padding is "same". ${padding}; "valid" is 0, and "same" is (kernel - 1) / 2.`],
  [() => new Conv2d(1, 1, 3, { padding: [1, 1, 1] as never }), `Conv2d: padding is an array of 3. ${padding}.`],
  [() => new Conv2d(1, 1, 3, { padding: null as never }), `Conv2d: padding is null. ${padding}.`],
  [() => new Conv2d(1, 1, 3, { dilation: [1, 0.5] }), "Conv2d: dilation is [1, 0.5], expected 2 integers >= 1."],
  [() => new ConvTranspose2d(1, 1, 2, { stride: [2, 0] }), "ConvTranspose2d: stride is [2, 0], expected 2 integers >= 1."],
  [() => new ConvTranspose2d(1, 1, 2, { padding: 0.5 }), "ConvTranspose2d: padding is [0.5, 0.5, 0.5, 0.5], expected 4 integers >= 0."],
  [() => new ConvTranspose2d(1, 1, 2, { outputPadding: -1 }), "ConvTranspose2d: outputPadding is [-1, -1], expected 2 integers >= 0."],
  [() => new ConvTranspose2d(1, 1, 2, { stride: 2, outputPadding: [1, 2] }), "ConvTranspose2d: outputPadding is [1, 2] with a stride of [2, 2]. outputPadding must be smaller than the stride."],
  [() => new MaxPool2d(0), "MaxPool2d: kernel is [0, 0], expected 2 integers >= 1."],
  [() => new MaxPool2d(2, { stride: 0 }), "MaxPool2d: stride is [0, 0], expected 2 integers >= 1."],
  [() => new MaxPool2d([2, 4], { padding: [1, 3] }), "MaxPool2d: padding [1, 1, 3, 3] exceeds half of the kernel 2x4."],
  [() => new AvgPool2d(2, { padding: "valid" as never }), `AvgPool2d: padding is "valid". ${padding}; "valid" is 0, and "same" is (kernel - 1) / 2.`],
  [() => new Upsample(undefined as never), "Upsample: neither size nor scale is given. Give one of them: { size: [64, 64] } or { scale: 2 }."],
  [() => new Upsample({ size: 0 }), "Upsample: size is [0, 0], expected 2 integers >= 1."],
  [() => new Upsample({ scale: [2, -1] }), "Upsample: scale is [2, -1], expected 2 numbers above 0."],
  [() => new Upsample({ scale: 2, mode: "linear" as never }), 'Upsample: mode is "linear". Choose nearest or bilinear or bicubic or area.'],
  [() => new Upsample({ scale: 2, alignCorners: true }), 'Upsample: alignCorners is true with mode "nearest". Only "bilinear" and "bicubic" have corners to align.'],
]; // prettier-ignore

describe("layers that move a window", () => {
  for (const [make, text] of refused)
    it(text, () => {
      const error = failure(make);
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(text);
    });

  it("take every form of what they may be given", () => {
    const x = ones([1, 5, 6, 2]);
    const conv = new Conv2d(2, 3, [3, 1], { stride: [1, 2], padding: [1, 0], dilation: [2, 1] });
    expect(conv.forward(x).shape).to.deep.equal([1, 3, 3, 3]);
    expect(new Conv2d(2, 3, 3, { padding: [0, 1, 2, 0] }).forward(x).shape).to.deep.equal([1, 4, 6, 3]);
    const transposed = new ConvTranspose2d(2, 3, 3, { stride: [2, 3], padding: 1, outputPadding: [1, 2] });
    expect(transposed.forward(x).shape).to.deep.equal([1, 10, 18, 3]);
    expect(new MaxPool2d([2, 3], { padding: [1, 0, 0, 1] }).forward(x).shape).to.deep.equal([1, 3, 2, 2]);
    expect(new AvgPool2d(2, { stride: 1 }).forward(x).shape).to.deep.equal([1, 4, 5, 2]);
    expect(new Upsample({ scale: [2, 0.5] }).forward(x).shape).to.deep.equal([1, 10, 3, 2]);
  });

  it("as functions are refused under the names of functions", () => {
    const [x, weight] = [ones([1, 5, 5, 1]), ones([3, 3, 1, 1])];
    for (const value of ["same", null, [1]])
      expect(failure(() => conv2d(x, weight, undefined, { padding: value as never })).message).to.match(
        /^conv2d: padding is .*Give a number/,
      );
    expect(failure(() => conv2d(x, weight, undefined, { stride: 0 })).message).to.equal(
      "conv2d: stride is [0, 0], expected 2 integers >= 1.",
    );
  });
});
