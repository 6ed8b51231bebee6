// Gradients through the tape: what backward adds to leaves, what it refuses, and how operations end up on the tape.

import { expect } from "chai";
import {
  Adam,
  DTypeError,
  GradientError,
  NoiseSchedule,
  Parameter,
  ShapeError,
  arange,
  concat,
  conv2d,
  embedding,
  full,
  linear,
  maxPool2d,
  mse,
  noGrad,
  ones,
  randn,
  scope,
  tensor,
  zeros,
} from "langevin";
import type { NestedNumbers, Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

function leaf(values: NestedNumbers): Tensor {
  return tensor(values).requireGrad();
}

function gradientOf(x: Tensor): NestedNumbers | undefined {
  return x.grad?.toArray();
}

onEveryDevice("backward", () => {
  it("follows a chain", () => {
    const x = leaf([1, 2, 3]);
    x.mul(2).square().sum().backward(); // d/dx 4 x^2 = 8 x
    expect(gradientOf(x)).to.deep.equal([8, 16, 24]);
  });

  it("adds the gradients of a tensor that is used several times", () => {
    const x = leaf([3]);
    const y = x.mul(x); // x^2
    y.mul(y).add(y).add(x).sum().backward(); // 4 x^3 + 2 x + 1
    expect(gradientOf(x)).to.deep.equal([4 * 27 + 6 + 1]);
  });

  it("adds to what an earlier backward left", () => {
    const x = leaf([1, 2]);
    x.square().sum().backward();
    x.mul(10).sum().backward();
    expect(gradientOf(x)).to.deep.equal([12, 14]);
    x.clearGrad();
    expect(x.grad).to.equal(undefined);
    x.sum().backward();
    expect(gradientOf(x)).to.deep.equal([1, 1]);
  });

  it("reaches every leaf, and only leaves", () => {
    const [a, b, constant] = [leaf([2]), leaf([5]), tensor([7])];
    const product = a.mul(b);
    product.mul(constant).sum().backward();
    expect([gradientOf(a), gradientOf(b)]).to.deep.equal([[35], [14]]);
    expect([product.grad, constant.grad]).to.deep.equal([undefined, undefined]);
  });

  it("of a leaf itself is 1", () => {
    const x = leaf(4);
    x.backward();
    expect(gradientOf(x)).to.equal(1);
  });

  it("weights the elements by the gradient that it is given", () => {
    const x = leaf([1, 2, 3]);
    x.square().backward(tensor([1, 0, -1]));
    expect(gradientOf(x)).to.deep.equal([2, 0, -6]);
  });

  it("copies the gradient that it is given, which may change afterwards", () => {
    const [x, y, weights] = [tensor([1, 2]).requireGrad(), tensor([3, 4]).requireGrad(), new Parameter(tensor([5, 6]))];
    x.add(y).backward(weights);
    y.backward(weights);
    weights.assign(tensor([0, 0]));
    expect([x.grad!.toArray(), y.grad!.toArray()]).to.deep.equal([
      [5, 6],
      [10, 12],
    ]);
  });

  it("may be called on losses that share leaves but no operations", () => {
    const x = leaf([1]);
    const [first, second] = [x.mul(2), x.mul(3)];
    first.backward();
    second.backward();
    expect(gradientOf(x)).to.deep.equal([5]);
  });

  describe("goes through", () => {
    it("reshape and a leading-axis slice, which are views", () => {
      const x = leaf([[1, 2], [3, 4], [5, 6]]); // prettier-ignore
      x.slice([1, 3])
        .reshape([4])
        .mul(tensor([1, 2, 3, 4]))
        .sum()
        .backward();
      expect(gradientOf(x)).to.deep.equal([
        [0, 0],
        [1, 2],
        [3, 4],
      ]);
    });

    it("a slice with steps, and one index", () => {
      const x = leaf([1, 2, 3, 4, 5]);
      x.slice([1, 5, 2]).sum().add(x.slice(4)).backward();
      expect(gradientOf(x)).to.deep.equal([0, 1, 0, 1, 1]);
    });

    it("concat, to each part", () => {
      const [a, b] = [leaf([[1], [2]]), leaf([[3, 4], [5, 6]])]; // prettier-ignore
      concat([a, b, a], 1).mul(tensor([[1, 2, 3, 4], [5, 6, 7, 8]])).sum().backward(); // prettier-ignore
      expect(gradientOf(a)).to.deep.equal([[5], [13]]);
      expect(gradientOf(b)).to.deep.equal([
        [2, 3],
        [6, 7],
      ]);
    });

    it("broadcasting, summed over what was repeated", () => {
      const [row, column, scalar] = [leaf([1, 2]), leaf([[1], [2], [3]]), leaf(2)];
      row.mul(column).mul(scalar).sum().backward();
      expect(gradientOf(row)).to.deep.equal([12, 12]);
      expect(gradientOf(column)).to.deep.equal([[6], [6], [6]]);
      expect(gradientOf(scalar)).to.equal(18);
    });

    it("a division by something whose square underflows", () => {
      const divisor = tensor([1e-25]).requireGrad();
      tensor([1e-20]).div(divisor).sum().backward();
      expect(divisor.grad!.item()).to.be.closeTo(-1e30, 1e25);
    });

    it("permute, broadcastTo, clone and to", () => {
      const x = leaf([[1, 2]]);
      x.permute([1, 0]).broadcastTo([2, 3]).clone().to("float32").sum().backward();
      expect(gradientOf(x)).to.deep.equal([[3, 3]]);
    });

    it("sums and means over some axes", () => {
      const x = leaf([[1, 2], [3, 4]]); // prettier-ignore
      x.sum(0)
        .mul(tensor([1, 10]))
        .mean()
        .backward();
      expect(gradientOf(x)).to.deep.equal([
        [0.5, 5],
        [0.5, 5],
      ]);
    });

    it("max pooling, to the winner", () => {
      const x = tensor([1, 4, 2, 3], { shape: [1, 2, 2, 1] }).requireGrad();
      maxPool2d(x, 2).sum().backward();
      expect(gradientOf(x)).to.deep.equal([
        [
          [[0], [1]],
          [[0], [0]],
        ],
      ]);
    });

    it("embedding, adding up rows that are picked twice", () => {
      const table = leaf([[1, 2], [3, 4], [5, 6]]); // prettier-ignore
      embedding(table, tensor([2, 0, 2], { dtype: "int32" }))
        .sum()
        .backward();
      expect(gradientOf(table)).to.deep.equal([
        [1, 1],
        [0, 0],
        [2, 2],
      ]);
    });

    it("layers' functions, to input, weight and bias", () => {
      const [x, weight, bias] = [leaf([[1, 2]]), leaf([[1, 3], [2, 4]]), leaf([0, 0])]; // prettier-ignore
      linear(x, weight, bias).sum().backward();
      expect(gradientOf(x)).to.deep.equal([[4, 6]]);
      expect(gradientOf(weight)).to.deep.equal([
        [1, 1],
        [2, 2],
      ]);
      expect(gradientOf(bias)).to.deep.equal([1, 1]);
    });

    it("addNoise, to the image and the noise", () => {
      const schedule = new NoiseSchedule({ steps: 4, betaStart: 0.1, betaEnd: 0.5 });
      const [x0, noise] = [leaf([[1], [1]]), leaf([[1], [1]])];
      schedule
        .addNoise(x0, tensor([0, 3], { dtype: "int32" }), noise)
        .sum()
        .backward();
      const { alphaBar } = schedule;
      const f = Math.fround;
      expect(gradientOf(x0)).to.deep.equal([[f(Math.sqrt(alphaBar[0]))], [f(Math.sqrt(alphaBar[3]))]]);
      expect(gradientOf(noise)).to.deep.equal([[f(Math.sqrt(1 - alphaBar[0]))], [f(Math.sqrt(1 - alphaBar[3]))]]);
    });
  });

  describe("refuses", () => {
    function expectRefusal(call: () => unknown, text: string): void {
      const error = failure(call);
      expect(error).to.be.instanceOf(GradientError);
      expect(error.message).to.contain(text);
    }

    it("a second walk over the same operations", () => {
      const x = leaf([1, 2]);
      const loss = x.square().sum();
      loss.backward();
      expectRefusal(() => loss.backward(), "were freed by an earlier backward. Compute the loss again");
      expect(gradientOf(x)).to.deep.equal([2, 4]);
    });

    it("a second walk through shared operations", () => {
      const shared = leaf([1, 2]).square();
      const [first, second] = [shared.sum(), shared.mean()];
      first.backward();
      expectRefusal(() => second.backward(), "the values that square kept were freed by an earlier backward");
    });

    it("a tensor of several elements", () => {
      expectRefusal(
        () => leaf([1, 2]).mul(2).backward(),
        "backward: the tensor has shape [2], not one element. Reduce it (mean, sum), or pass the gradient of its elements.",
      );
    });

    it("a tensor without history", () => {
      expectRefusal(() => tensor(1).backward(), "depends on nothing that requires a gradient");
    });

    it("a gradient of another shape or dtype", () => {
      const y = leaf([1, 2]).mul(2);
      expect(failure(() => y.backward(ones([3])))).to.be.instanceOf(ShapeError);
      expect(failure(() => y.backward(ones([2], { dtype: "int32" })))).to.be.instanceOf(DTypeError);
    });

    it("requireGrad on a result", () => {
      expectRefusal(
        () => leaf([1]).mul(2).requireGrad(),
        "requireGrad: the tensor is the result of a recorded operation",
      );
      expect(leaf([1]).mul(2).detach().requireGrad().requiresGrad).to.equal(true);
    });

    it("an operation without a gradient, by its name", () => {
      const schedule = new NoiseSchedule({ steps: 4, betaStart: 0.1, betaEnd: 0.5 });
      const x = leaf([[1, 2]]);
      const y = schedule.reverseStep(x, 2, zeros([1, 2]), { seed: 1 });
      expectRefusal(
        () => y.sum().backward(),
        "backward: ddpmStep has no gradient. Call it inside noGrad, or on detached tensors.",
      );
    });

    const writers: [string, (weight: Parameter) => void][] = [
      ["assign", (weight) => weight.assign(zeros([2]))],
      [
        "optimizer.step()",
        (weight) => {
          const adam = new Adam([weight]);
          weight.sum().backward();
          adam.step();
        },
      ],
    ];
    for (const [name, write] of writers)
      it(`weights that ${name} changed after the forward pass`, () => {
        const weight = new Parameter(tensor([1, 2]));
        const loss = weight.square().sum();
        write(weight);
        expectRefusal(
          () => loss.backward(),
          "a value that square kept (shape [2]) was overwritten after the forward pass",
        );
      });

    it("views of weights that changed after the forward pass", () => {
      const weight = new Parameter(tensor([[1, 2], [3, 4]])); // prettier-ignore
      const loss = weight.slice(1).reshape([1, 2]).square().sum();
      weight.assign(zeros([2, 2]));
      expectRefusal(() => loss.backward(), "overwritten after the forward pass");
    });
  });

  it("does not mind a parameter that was made of a value the graph reads: its memory is its own", () => {
    const x = leaf(1);
    const y = x.square();
    const loss = y.sqrt().add(y);
    new Parameter(y).assign(zeros([]));
    loss.backward();
    expect(gradientOf(x)).to.equal(3);
  });

  it("does not mind weights that changed where their values are not read", () => {
    const weight = new Parameter(tensor([1, 2]));
    const loss = weight.add(1).sum();
    weight.assign(zeros([2]));
    loss.backward();
    expect(gradientOf(weight)).to.deep.equal([1, 1]);
  });

  it("uses the weights of the forward pass when the optimizer packs them in between", () => {
    const weight = new Parameter(tensor([3, 4]));
    const loss = weight.square().sum();
    new Adam([weight]);
    loss.backward();
    expect(gradientOf(weight)).to.deep.equal([6, 8]);
  });
});

onEveryDevice("the tape", () => {
  it("records nothing inside noGrad", () => {
    const x = leaf([1, 2]);
    const y = noGrad(() => x.mul(2));
    expect(y.requiresGrad).to.equal(false);
    expect(failure(() => y.sum().backward())).to.be.instanceOf(GradientError);
    expect(x.mul(2).requiresGrad).to.equal(true);
  });

  it("goes on recording after noGrad threw, and after nested ones", () => {
    const error = failure(() =>
      noGrad(() => {
        throw new Error("stop");
      }),
    );
    expect(error.message).to.equal("stop");
    expect(leaf([1]).mul(2).requiresGrad).to.equal(true);
    noGrad(() => {
      noGrad(() => 0);
      expect(leaf([1]).mul(2).requiresGrad).to.equal(false);
    });
  });

  it("records nothing that no leaf is in, and nothing of detached tensors", () => {
    expect(tensor([1]).mul(2).requiresGrad).to.equal(false);
    const x = leaf([3]);
    const y = x.mul(x.detach()).sum();
    y.backward();
    expect(gradientOf(x)).to.deep.equal([3]);
  });

  it("detach shares memory with a parameter", () => {
    const weight = new Parameter(zeros([2]));
    const view = weight.detach();
    weight.assign(tensor([1, 2]));
    expect([view.toArray(), view.requiresGrad]).to.deep.equal([[1, 2], false]);
  });

  it("gives results of parameters gradients, and not the gradients themselves", () => {
    const weight = new Parameter(ones([1]));
    const loss = weight.mul(3);
    loss.backward();
    expect([loss.requiresGrad, weight.grad?.requiresGrad]).to.deep.equal([true, false]);
  });

  it("holds a graph of 30,000 operations, walks it back and lets go of it", () => {
    const x = leaf([0]);
    scope(() => {
      let y = x.add(0);
      for (let i = 1; i < 30_000; i++) y = y.add(1);
      y.backward();
    });
    expect(gradientOf(x)).to.deep.equal([1]);
  });

  it("sums gradients in the order of the walk: the same bits each time", () => {
    const run = (): NestedNumbers | undefined => {
      const x = randn([64], { seed: 3 }).requireGrad();
      const parts = Array.from({ length: 20 }, (_, i) => x.mul(1 / (i + 3)).tanh());
      parts
        .reduce((a, b) => a.add(b))
        .sum()
        .backward();
      return gradientOf(x);
    };
    expect(run()).to.deep.equal(run());
  });

  it("does not let the gradient of an accumulated loss depend on what came between", () => {
    const x = randn([2, 4, 4, 3], { seed: 1 });
    const weight = new Parameter(randn([3, 3, 3, 2], { seed: 2 }));
    const target = full([2, 4, 4, 2], 0.5);
    const loss = () => mse(conv2d(x, weight, undefined, { padding: 1 }), target);
    loss().backward();
    const once = weight.grad!.mul(2).toArray();
    loss().backward();
    expect(gradientOf(weight)).to.deep.equal(once);
    expect(arange(3).requiresGrad).to.equal(false);
  });
});
