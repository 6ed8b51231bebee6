// Pooling as functions and layers: values by hand, padding, and what is refused.

import { expect } from "chai";
import { AvgPool2d, MaxPool2d, Parameter, ShapeError, avgPool2d, tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

onEveryDevice("pooling", () => {
  const image = () =>
    tensor([
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, NaN],
    ]).reshape([1, 3, 3, 1]);
  const flat = (x: { toArray(): unknown }): unknown => [x.toArray()].flat(4);

  it("means leave out rows that no whole window covers", () => {
    expect(flat(new AvgPool2d(2).forward(image()))).to.deep.equal([3]);
  });

  it("means with padding divide by the kernel, or by what lies in the image", () => {
    const whole = image().slice(null, [0, 2], [0, 2]);
    expect(flat(avgPool2d(whole, 3, { stride: 2, padding: 1 }))).to.deep.equal([Math.fround(12 / 9)]);
    expect(flat(new AvgPool2d(3, { stride: 2, padding: 1, countPadding: false }).forward(whole))).to.deep.equal([3]);
  });

  it("a NaN stays in its windows", () => {
    expect(flat(avgPool2d(image(), 2, { stride: 1 }))).to.deep.equal([3, 4, 6, NaN]);
    expect(flat(new MaxPool2d(2, { stride: 1 }).forward(image()))).to.deep.equal([5, 6, 8, NaN]);
  });

  it("gives each pixel its shares", () => {
    const x = new Parameter(image().slice(null, [0, 2]));
    avgPool2d(x, [2, 2], { stride: 1 }).backward(tensor([4, 8]).reshape([1, 1, 2, 1]));
    expect(flat(x.grad!)).to.deep.equal([1, 3, 2, 1, 3, 2]);
  });

  it("refuses kernels that do not fit", () => {
    const error = failure(() => avgPool2d(image(), 4));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.match(/^avgPool2d: a 4x4 kernel .* does not fit into an image of 3x3/);
  });
});
