// Upsample as a layer: alone, with gradients, and in a row of layers.

import { expect } from "chai";
import { Conv2d, Sequential, Upsample, arange, ones } from "langevin";
import { onEveryDevice } from "../tensor/devices.ts";

onEveryDevice("Upsample", () => {
  it("gives the size or the multiple that it was made with", () => {
    const x = arange(12).to("float32").reshape([1, 2, 2, 3]);
    expect(new Upsample({ scale: 2 }).forward(x).shape).to.deep.equal([1, 4, 4, 3]);
    expect(new Upsample({ size: [3, 5], mode: "bicubic" }).forward(x).shape).to.deep.equal([1, 3, 5, 3]);
    const corners = new Upsample({ scale: 2, mode: "bilinear", alignCorners: true })
      .forward(x)
      .toArray() as number[][][][];
    expect(corners[0][0][0]).to.deep.equal([0, 1, 2]);
    expect(corners[0][3][3]).to.deep.equal([9, 10, 11]);
  });

  it("has no parameters and passes gradients on to the layers before it", () => {
    const net = new Sequential(new Conv2d(2, 4, 3, { padding: 1 }), new Upsample({ scale: 2 }), new Conv2d(4, 1, 1));
    expect(net.parameters()).to.have.length(4);
    const y = net.forward(ones([2, 3, 3, 2]));
    expect(y.shape).to.deep.equal([2, 6, 6, 1]);
    y.sum().backward();
    expect(net.chain[0].weight.grad!.shape).to.deep.equal([3, 3, 2, 4]);
  });
});
