// Modules: names of parameters, state, and the path of the layer in errors.

import { expect } from "chai";
import {
  Adam,
  ArgumentError,
  Conv2d,
  DTypeError,
  DeviceError,
  Embedding,
  LangevinError,
  LifetimeError,
  Linear,
  Module,
  Parameter,
  ShapeError,
  arange,
  ones,
  randn,
  tensor,
  zeros,
} from "langevin";
import type { StateDict, Tensor } from "langevin";
import { TinyNet, TutorialUNet } from "../../examples/tutorial-nets.ts";
import { failure } from "../failure.ts";
import { cpuIsBuilt, liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

const unetOptions = { imageChannels: 1, channels: [4, 8, 16] as [number, number, number], timeDim: 4, steps: 10 };

class ResBlock extends Module {
  conv1: Conv2d;
  conv2: Conv2d;
  constructor(inChannels: number, outChannels: number) {
    super();
    this.conv1 = new Conv2d(inChannels, outChannels, 3, { padding: 1 });
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: 1 });
  }
  forward(x: Tensor): Tensor {
    return this.conv2.forward(this.conv1.forward(x).relu());
  }
}

class Down extends Module {
  resnet: ResBlock[];
  constructor(...channels: [number, number][]) {
    super();
    this.resnet = channels.map(([from, to]) => new ResBlock(from, to));
  }
  forward(x: Tensor): Tensor {
    return this.resnet.reduce((h, block) => block.forward(h), x);
  }
}

class UNet extends Module {
  down = [new Down([3, 4]), new Down([8, 4], [4, 4])];
  forward(x: Tensor): Tensor {
    return this.down.reduce((h, block) => block.forward(h), x);
  }
}

function pathOf(call: () => unknown): string | undefined {
  const error = failure(call);
  expect(error).to.be.instanceOf(LangevinError);
  return (error as LangevinError).modulePath;
}

onEveryDevice("modules", () => {
  describe("names of parameters", () => {
    it("of the tutorial's U-Net are PyTorch's, in its order", () => {
      const block = (name: string): string[] =>
        ["conv1", "proj", "conv2"].flatMap((layer) => [`${name}.${layer}.weight`, `${name}.${layer}.bias`]);
      const expected = [
        "embed.weight",
        ...["enc1", "enc2", "bottleneck"].flatMap(block),
        "upconv2.weight",
        "upconv2.bias",
        ...block("dec2"),
        "upconv1.weight",
        "upconv1.bias",
        ...block("dec1"),
        "final.weight",
        "final.bias",
      ];
      const model = new TutorialUNet(unetOptions);
      expect([...model.namedParameters().keys()]).to.deep.equal(expected);
      expect(model.parameters()).to.have.length(expected.length);
    });

    it("of the tutorial's small net are PyTorch's", () => {
      const names = [...new TinyNet(3).namedParameters().keys()].sort();
      expect(names).to.deep.equal(
        ["conv1", "conv2", "linear"].flatMap((layer) => [`${layer}.bias`, `${layer}.weight`]).sort(),
      );
    });

    it("number the elements of arrays", () => {
      const names = [...new UNet().namedParameters().keys()];
      expect(names[0]).to.equal("down.0.resnet.0.conv1.weight");
      expect(names.at(-1)).to.equal("down.1.resnet.1.conv2.bias");
      expect(names).to.have.length(12);
    });

    it("take the keys of plain objects, and end in objects that hold themselves", () => {
      class Keyed extends Module {
        heads = { small: new Linear(1, 2), big: [new Linear(2, 3)] };
        self: Record<string, unknown> = {};
        constructor() {
          super();
          this.self.again = this.self;
        }
        forward(x: Tensor): Tensor {
          return this.heads.big[0].forward(x);
        }
      }
      const names = [...new Keyed().namedParameters().keys()];
      expect(names).to.deep.equal(["small", "big.0"].flatMap((head) => [`heads.${head}.weight`, `heads.${head}.bias`]));
      expect(failure(() => new Keyed().forward(ones([1, 1]))).message).to.match(/^keyed\.heads\.big\[0\]: linear/);
    });

    it("number the elements of arrays in arrays", () => {
      class Levels extends Module {
        levels = [[new Linear(1, 1, { bias: false })], [new Linear(1, 1, { bias: false }), new Linear(1, 1)]];
        forward(x: Tensor): Tensor {
          return this.levels[1][0].forward(x);
        }
      }
      const model = new Levels();
      expect([...model.namedParameters().keys()]).to.deep.equal([
        "levels.0.0.weight",
        "levels.1.0.weight",
        "levels.1.1.weight",
        "levels.1.1.bias",
      ]);
      expect(pathOf(() => model.forward(ones([1, 2])))).to.equal("levels.levels[1][0]");
    });

    it("list a tied parameter once, under its first name", () => {
      class Tied extends Module {
        first = new Linear(2, 2);
        second = new Linear(2, 2, { bias: false });
        own = new Parameter(zeros([3]));
        constructor() {
          super();
          (this.second as { weight: Parameter }).weight = this.first.weight;
        }
        forward(x: Tensor): Tensor {
          return this.second.forward(this.first.forward(x));
        }
      }
      const model = new Tied();
      expect([...model.namedParameters().keys()]).to.deep.equal(["first.weight", "first.bias", "own"]);
      expect(model.parameterCount()).to.equal(4 + 2 + 3);
      model
        .forward(ones([1, 2]))
        .sum()
        .backward();
      new Adam(model.parameters()).step();
    });

    it("end where a module holds its parent", () => {
      class Child extends Module {
        weight = new Parameter(zeros([1]));
        parent: Module | undefined;
        forward(x: Tensor): Tensor {
          return x.mul(this.weight);
        }
      }
      class Parent extends Module {
        child = new Child();
        forward(x: Tensor): Tensor {
          return this.child.forward(x);
        }
      }
      const model = new Parent();
      model.child.parent = model;
      expect([...model.namedParameters().keys()]).to.deep.equal(["child.weight"]);
    });
  });

  describe("stateDict", () => {
    class Tied extends Module {
      encoder = new Linear(2, 2, { bias: false });
      decoder = new Linear(2, 2, { bias: false });
      shared: Module[];
      constructor() {
        super();
        (this.decoder as { weight: Parameter }).weight = this.encoder.weight;
        this.shared = [this.encoder];
      }
      forward(x: Tensor): Tensor {
        return this.decoder.forward(this.encoder.forward(x));
      }
    }
    const names = ["encoder.weight", "decoder.weight", "shared.0.weight"];

    it("lists a tied parameter under each of its names, as PyTorch does", () => {
      const state = new Tied().stateDict();
      expect(Object.keys(state)).to.deep.equal(names);
      const before = String(state["encoder.weight"].toArray());
      expect(names.map((name) => String(state[name].toArray()))).to.deep.equal(names.map(() => before));
    });

    it("is loaded into tied parameters from all of their names, or from any", () => {
      const [a, b, c] = [new Tied(), new Tied(), new Tied()];
      b.loadStateDict(a.stateDict());
      expect(b.decoder.weight.toArray()).to.deep.equal(a.encoder.weight.toArray());
      c.loadStateDict({ "decoder.weight": a.encoder.weight });
      expect(c.encoder.weight.toArray()).to.deep.equal(a.encoder.weight.toArray());
      expect(failure(() => c.loadStateDict({})).message).to.match(/missing \[encoder.weight, decoder.weight, shared.0/);
    });

    it("goes back in: another model then computes the same", () => {
      const [a, b] = [new TutorialUNet(unetOptions), new TutorialUNet(unetOptions)];
      const [x, t] = [randn([2, 8, 8, 1], { seed: 3 }), arange(2)];
      expect(String(b.forward(x, t).toArray())).not.to.equal(String(a.forward(x, t).toArray()));
      b.loadStateDict(a.stateDict());
      expect(b.forward(x, t).toArray()).to.deep.equal(a.forward(x, t).toArray());
    });

    it("copies: the models go their own ways afterwards", () => {
      const [a, b] = [new Linear(1, 1), new Linear(1, 1)];
      b.loadStateDict(a.stateDict());
      const before = b.weight.item();
      a.weight.assign(tensor([[7]]));
      expect(b.weight.item()).to.equal(before);
    });

    for (const when of ["before", "after"])
      it(`shows the weights as training changes them, taken ${when} the optimizer was made`, () => {
        const layer = new Linear(1, 1);
        const early = layer.stateDict();
        const adam = new Adam(layer.parameters());
        const state = when === "before" ? early : layer.stateDict();
        layer
          .forward(ones([1, 1]))
          .sum()
          .backward();
        adam.step();
        expect(state.weight.item()).to.equal(layer.weight.item());
        expect(state.bias.toArray()).to.deep.equal(layer.bias!.toArray());
        expect(state.weight.requiresGrad).to.equal(false);
      });

    const change = (state: StateDict, changes: Record<string, Tensor | undefined>): StateDict =>
      Object.fromEntries(Object.entries({ ...state, ...changes }).filter(([, value]) => value)) as StateDict;
    const wrong: [string, Record<string, Tensor | undefined>, RegExp, unknown][] = [
      ["a missing name", { bias: undefined }, /missing \[bias\], unknown \[\]/, ArgumentError],
      ["an unknown name", { scale: zeros([1], { device: "ts" }) }, /missing \[\], unknown \[scale\]/, ArgumentError],
      [
        "a wrong shape",
        { bias: zeros([3], { device: "ts" }) },
        /bias has shape \[3\], the parameter \[2\]/,
        ShapeError,
      ],
      ["a wrong dtype", { bias: zeros([2], { dtype: "int32", device: "ts" }) }, /bias/, DTypeError],
    ];
    for (const [name, changes, text, kind] of wrong)
      it(`refuses ${name}, and changes nothing`, () => {
        const layer = new Linear(2, 2, { device: "ts" });
        const before = String(layer.parameters().map((p) => p.toArray()));
        const fresh = new Linear(2, 2, { device: "ts" }).stateDict();
        const error = failure(() => layer.loadStateDict(change(fresh, changes)));
        expect(error).to.be.instanceOf(kind);
        expect(error.message).to.match(/^loadStateDict: /);
        expect(error.message).to.match(text);
        expect(String(layer.parameters().map((p) => p.toArray()))).to.equal(before);
      });

    it("refuses values on another device, and changes nothing", function () {
      if (!cpuIsBuilt) return this.skip();
      const layer = new Linear(2, 2, { device: "cpu" });
      const before = String(layer.weight.toArray());
      const state = { weight: zeros([2, 2], { device: "cpu" }), bias: zeros([2], { device: "ts" }) };
      expect(failure(() => layer.loadStateDict(state))).to.be.instanceOf(DeviceError);
      expect(String(layer.weight.toArray())).to.equal(before);
    });
  });

  it("count their values", () => {
    expect(new Linear(3, 4).parameterCount()).to.equal(16);
    expect(new Embedding(10, 3).parameterCount()).to.equal(30);
    expect(new Conv2d(3, 5, [1, 2], { bias: false }).parameterCount()).to.equal(30);
  });

  it("free everything when disposed, and cannot be used afterwards", async () => {
    const before = await referencedMemory();
    const model = new UNet();
    model.dispose();
    expect(await liveMemory()).to.deep.equal(before);
    const error = failure(() => model.forward(ones([1, 4, 4, 3])));
    expect(error).to.be.instanceOf(LifetimeError);
    expect((error as LangevinError).modulePath).to.equal("unet.down[0].resnet[0].conv1");
  });

  describe("the path in errors", () => {
    it("names nested modules and elements of arrays", () => {
      const unet = new UNet();
      const error = failure(() => unet.forward(ones([1, 4, 4, 3])));
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(
        "unet.down[1].resnet[0].conv1: conv2d: expected 8 input channels, got 4 (x [1, 4, 4, 4], weight [3, 3, 8, 4]).",
      );
      expect((error as LangevinError).modulePath).to.equal("unet.down[1].resnet[0].conv1");
    });

    it("ends at the module whose own operation failed", () => {
      class Head extends Module {
        linear = new Linear(2, 3);
        forward(x: Tensor): Tensor {
          return this.linear.forward(x).add(ones([4]));
        }
      }
      expect(pathOf(() => new Head().forward(ones([1, 2])))).to.equal("head");
    });

    it("is that of a layer called alone", () => {
      expect(pathOf(() => new Linear(2, 3).forward(ones([1, 3])))).to.equal("linear");
    });

    it("is right when a module is used twice", () => {
      class Twice extends Module {
        a = new Linear(2, 3);
        b = new Linear(3, 3);
        forward(x: Tensor): Tensor {
          return this.a.forward(this.b.forward(this.a.forward(x)));
        }
      }
      const model = new Twice();
      expect(pathOf(() => model.forward(ones([1, 2])))).to.equal("twice.a");
      expect(pathOf(() => model.forward(ones([1, 3])))).to.equal("twice.a");
      expect(pathOf(() => model.b.forward(ones([1, 2])))).to.equal("linear");
    });

    it("is right after an error was caught inside a forward", () => {
      class Careful extends Module {
        first = new Linear(2, 2);
        second = new Linear(3, 3);
        forward(x: Tensor): Tensor {
          failure(() => this.first.forward(ones([1, 5])));
          return this.second.forward(x);
        }
      }
      const model = new Careful();
      expect(pathOf(() => model.forward(ones([1, 2])))).to.equal("careful.second");
      expect(model.forward(ones([1, 3])).shape).to.deep.equal([1, 3]);
      expect(pathOf(() => ones([2]).add(ones([3])))).to.equal(undefined);
    });

    it("is not put on errors of others", () => {
      class Broken extends Module {
        forward(): Tensor {
          throw new RangeError("mine");
        }
      }
      expect(failure(() => new Broken().forward()).message).to.equal("mine");
    });

    it("passes through a subclass that calls its parent's forward", () => {
      class Scaled extends ResBlock {
        override forward(x: Tensor): Tensor {
          return super.forward(x).mul(2);
        }
      }
      const block = new Scaled(1, 2);
      expect(block.forward(ones([1, 2, 2, 1])).shape).to.deep.equal([1, 2, 2, 2]);
      expect(pathOf(() => block.forward(ones([1, 2, 2, 3])))).to.equal("scaled.conv1");
    });
  });

  it("may be given another forward", () => {
    const layer = new Linear(1, 1);
    layer.forward = (x: Tensor) => x.mul(3);
    expect(layer.forward(tensor([[2]])).item()).to.equal(6);
    class Arrow extends Module {
      weight = new Parameter(ones([1]));
      override forward = (x: Tensor): Tensor => x.mul(this.weight);
    }
    expect(new Arrow().forward(tensor([2])).item()).to.equal(2);
  });
});

onEveryDevice("layers", () => {
  it("refuse counts that are none", () => {
    for (const [make, text] of [
      [() => new Conv2d(0, 1, 3), "Conv2d: inChannels is 0, expected an integer >= 1."],
      [() => new Linear(1, 2.5), "Linear: outFeatures is 2.5, expected an integer >= 1."],
      [() => new Embedding(-1, 2), "Embedding: count is -1, expected an integer >= 1."],
      [() => new Conv2d(1, 1, 0), "Conv2d: kernel is [0, 0], expected 2 integers >= 1."],
    ] as const)
      expect(failure(make).message).to.equal(text);
  });

  it("leave the bias out when told", () => {
    expect(new Linear(2, 3, { bias: false }).bias).to.equal(undefined);
    expect([...new Conv2d(1, 2, 3, { bias: false }).namedParameters().keys()]).to.deep.equal(["weight"]);
    expect(new Linear(2, 3, { bias: false }).forward(zeros([1, 2])).toArray()).to.deep.equal([[0, 0, 0]]);
  });
});
