// Sequential, and the layers without weights that stand in it.

import { expect } from "chai";
import {
  Adam,
  ArgumentError,
  Conv2d,
  ConvTranspose2d,
  Dropout,
  ELU,
  Flatten,
  GELU,
  Identity,
  LeakyReLU,
  Linear,
  Mish,
  ReLU,
  ReLU6,
  Sequential,
  SiLU,
  Softplus,
  ShapeError,
  Sigmoid,
  Tanh,
  arange,
  conv2d,
  ones,
  randn,
} from "langevin";
import type { Layer, Tensor, LangevinError } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

onEveryDevice("Sequential", () => {
  const build = () => new Sequential(new Linear(2, 3), new ReLU(), new Sequential(new Linear(3, 1, { bias: false })));

  it("runs its layers one after the other", () => {
    const net = build();
    const x = randn([4, 2], { seed: 1 });
    const [first, , last] = net.chain;
    expect(net.forward(x).toArray()).to.deep.equal(last.forward(first.forward(x).relu()).toArray());
    expect(new Sequential().forward(x)).to.equal(x);
  });

  it("has PyTorch's names", () => {
    expect([...build().namedParameters().keys()]).to.deep.equal(["0.weight", "0.bias", "2.0.weight"]);
    expect([...build().namedModules().keys()]).to.deep.equal(["", "0", "1", "2", "2.0"]);
  });

  it("is read by index", () => {
    const net = build();
    expect([net.length, net[0], net[3]]).to.deep.equal([3, net.chain[0], undefined]);
    expect(net.children()).to.deep.equal(net.chain);
  });

  it("is trained and switched as a whole", () => {
    const net = new Sequential(new Linear(1, 1), new Dropout());
    expect(net.eval()[1].training).to.equal(false);
    const before = net.chain[0].weight.item();
    const adam = new Adam(net.parameters());
    net.forward(ones([1, 1])).sum().backward(); // prettier-ignore
    adam.step();
    expect(net.chain[0].weight.item()).to.not.equal(before);
  });

  it("names the layer in errors", () => {
    const width: number = 4;
    const net = new Sequential(new Conv2d(1, 2, 1), new Sequential(new SiLU(), new Conv2d(width, 1, 1)));
    const error = failure(() => net.forward(ones([1, 2, 2, 1])));
    expect(error).to.be.instanceOf(ShapeError);
    expect((error as LangevinError).modulePath).to.equal("sequential[1][1]");
    expect(error.message).to.match(/^sequential\[1\]\[1\]: conv2d: expected 4 input channels, got 2/);
  });

  it("refuses what is no module", () => {
    const layers = [new ReLU(), (x: Tensor) => x] as Layer[];
    const error = failure(() => new Sequential(...layers));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal("Sequential: layer 1 is a function. Every layer is a Module: new ReLU(), not relu.");
  });
});

onEveryDevice("layers without weights", () => {
  it("compute what the tensor's methods do", () => {
    const x = randn([2, 3], { seed: 2 });
    const pairs: [Layer, Tensor][] = [
      [new ReLU(), x.relu()],
      [new SiLU(), x.silu()],
      [new Sigmoid(), x.sigmoid()],
      [new Tanh(), x.tanh()],
      [new Identity(), x],
      [new ReLU6(), x.relu6()],
      [new LeakyReLU(), x.leakyRelu()],
      [new LeakyReLU({ slope: 0.2 }), x.leakyRelu({ slope: 0.2 })],
      [new ELU(), x.elu()],
      [new ELU({ alpha: 2 }), x.elu({ alpha: 2 })],
      [new GELU(), x.gelu()],
      [new GELU({ approximate: "tanh" }), x.gelu({ approximate: "tanh" })],
      [new Softplus(), x.softplus()],
      [new Mish(), x.mish()],
    ];
    for (const [layer, expected] of pairs) expect(layer.forward(x).toArray()).to.deep.equal(expected.toArray());
  });

  it("Flatten makes several axes one", () => {
    const x = arange(24).reshape([2, 3, 2, 2]);
    expect(new Flatten().forward(x).shape).to.deep.equal([2, 12]);
    expect(new Flatten(0).forward(x).shape).to.deep.equal([24]);
    expect(new Flatten(-2).forward(x).shape).to.deep.equal([2, 3, 4]);
    expect(new Flatten(1, 2).forward(x).shape).to.deep.equal([2, 6, 2]);
    expect(failure(() => new Flatten(4).forward(x)).message).to.match(/^flatten: flatten: axis 4 does not exist/);
  });
});

onEveryDevice("convolutions in groups", () => {
  it("have weights for the channels of one group, and PyTorch's fan-in", () => {
    const conv = new Conv2d(4, 6, 3, { groups: 2 });
    expect(conv.weight.shape).to.deep.equal([3, 3, 2, 6]);
    expect(new ConvTranspose2d(4, 6, 3, { groups: 2 }).weight.shape).to.deep.equal([3, 3, 3, 4]);
    expect(Math.max(...(conv.weight.reshape([-1]).toArray() as number[]))).to.be.within(0.2, 1 / Math.sqrt(2 * 9));
    const x = randn([1, 5, 5, 4], { seed: 3 });
    const expected = conv2d(x, conv.weight, conv.bias, { groups: 2 });
    expect(conv.forward(x).toArray()).to.deep.equal(expected.toArray());
    expect(new ConvTranspose2d(4, 6, 3, { groups: 2 }).forward(x).shape).to.deep.equal([1, 7, 7, 6]);
  });

  it("refuse groups that do not divide the channels", () => {
    expect(failure(() => new Conv2d(4, 6, 3, { groups: 4 })).message).to.equal(
      "Conv2d: groups is 4, which does not divide 4 input and 6 output channels.",
    );
    expect(failure(() => new ConvTranspose2d(4, 6, 3, { groups: 0 })).message).to.match(/groups is 0/);
  });
});
