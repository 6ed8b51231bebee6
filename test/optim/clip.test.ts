// Clipping of gradients, on packed and on plain parameters.

import { expect } from "chai";
import {
  Adam,
  ArgumentError,
  Parameter,
  SGD,
  ShapeError,
  clipGradNorm,
  clipGradValue,
  ones,
  tensor,
  zeros,
} from "langevin";
import { failure } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

/** A parameter with this gradient. */
function withGradient(...values: number[]): Parameter {
  const parameter = new Parameter(zeros([values.length]));
  parameter.assignGrad(tensor(values));
  return parameter;
}

const gradientOf = (parameter: Parameter): number[] => parameter.grad!.toArray() as number[];

onEveryDevice("clipping", () => {
  for (const packed of [false, true])
    describe(packed ? "of packed parameters" : "of plain parameters", () => {
      const make = (): Parameter[] => {
        const list = [withGradient(3, 0), withGradient(-4), new Parameter(ones([2]))];
        if (packed) new Adam(list);
        return list;
      };

      for (const [normType, norm] of [
        [2, 5],
        [1, 7],
        [Infinity, 4],
      ] as const)
        // prettier-ignore
        it(`scales to a norm of type ${normType}, over all parameters`, () => {
          const list = make();
          expect(clipGradNorm(list, 2, { normType }).item()).to.be.closeTo(norm, 1e-6);
          [3, 0].forEach((value, i) => expect(gradientOf(list[0])[i]).to.be.closeTo((2 * value) / norm, 1e-6));
          expect(gradientOf(list[1])[0]).to.be.closeTo(-8 / norm, 1e-6);
          expect(list[2].grad).to.equal(undefined);
        });

      it("leaves gradients of a smaller norm as they are", () => {
        const list = make();
        expect(clipGradNorm(new Set(list).values(), 5.1).item()).to.be.closeTo(5, 1e-6);
        expect([gradientOf(list[0]), gradientOf(list[1])]).to.deep.equal([[3, 0], [-4]]);
        clipGradNorm(list, Infinity);
        expect(gradientOf(list[0])).to.deep.equal([3, 0]);
      });

      it("divides by a norm that is a little larger, so that gradients of 0 stay 0", () => {
        const list = [withGradient(3e-6, 4e-6)];
        if (packed) new Adam(list);
        clipGradNorm(list, 3e-6);
        gradientOf(list[0]).forEach((value, i) => expect(value).to.be.closeTo([1.5e-6, 2e-6][i], 1e-11));
        list[0].assignGrad(zeros([2]));
        clipGradNorm(list, 0);
        expect(gradientOf(list[0])).to.deep.equal([0, 0]);
      });

      it("holds elements within limits", () => {
        const list = make();
        clipGradValue(list, 3.5);
        expect([gradientOf(list[0]), gradientOf(list[1])]).to.deep.equal([[3, 0], [-3.5]]);
        expect(list[2].grad).to.equal(undefined);
      });

      it("spreads an infinite gradient as PyTorch does, and spoils no neighbour for later", () => {
        const list = [withGradient(Infinity, 1), withGradient(2)];
        if (packed) new SGD(list);
        expect(clipGradNorm(list, 1).item()).to.equal(Infinity);
        expect([gradientOf(list[0]), gradientOf(list[1])]).to.deep.equal([[NaN, 0], [0]]);
        for (const parameter of list) parameter.clearGrad();
        list[1].assignGrad(tensor([2]));
        expect(clipGradNorm(list, 1).item()).to.equal(2);
      });

      it("keeps no memory", async () => {
        const list = make();
        clipGradNorm(list, 1).dispose();
        const before = await referencedMemory();
        for (let i = 0; i < 3; i++) {
          clipGradNorm(list, 1e-3).dispose();
          clipGradValue(list, 1e-4);
        }
        expect((await liveMemory()).buffers).to.equal(before.buffers);
      });
    });

  it("counts a parameter once, however often it is listed", () => {
    const p = withGradient(3, 4);
    expect(clipGradNorm([p, p], 1).item()).to.be.closeTo(5, 1e-6);
    expect(gradientOf(p)[0]).to.be.closeTo(0.6, 1e-6);
  });

  it("gives 0 where there is no gradient", () => {
    expect(clipGradNorm([new Parameter(ones([2]))], 1).item()).to.equal(0);
    expect(clipGradNorm([], 1).item()).to.equal(0);
    clipGradValue([], 1);
  });

  it("does not touch gradients that share memory", () => {
    const [a, b] = [new Parameter(ones([2])), new Parameter(ones([2]))];
    a.add(b).sum().backward();
    clipGradValue([a], 0.5);
    expect([gradientOf(a), gradientOf(b)]).to.deep.equal([[0.5, 0.5], [1, 1]]); // prettier-ignore
  });

  it("refuses negative limits and NaN", () => {
    const error = failure(() => clipGradNorm([withGradient(1)], -1));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal("clipGradNorm: maxNorm is -1, expected a number >= 0.");
    expect(failure(() => clipGradNorm([withGradient(1)], 1, { normType: 3 })).message).to.match(/p is 3/);
    expect(failure(() => clipGradValue([], NaN)).message).to.equal(
      "clipGradValue: limit is NaN, expected a number >= 0.",
    );
  });
});

onEveryDevice("assignGrad", () => {
  it("overwrites the gradient with a copy, or sets one", () => {
    const p = new Parameter(ones([2]));
    const values = tensor([1, 2]);
    p.assignGrad(values);
    values.dispose();
    expect(gradientOf(p)).to.deep.equal([1, 2]);
    p.assignGrad(p.grad!);
    expect(gradientOf(p)).to.deep.equal([1, 2]);
    p.mul(3).sum().backward();
    expect(gradientOf(p)).to.deep.equal([4, 5]);
    const sgd = new SGD([p], { lr: 1 });
    p.assignGrad(tensor([10, 20]));
    sgd.step();
    expect([p.toArray(), p.grad]).to.deep.equal([[-9, -19], undefined]);
  });

  it("refuses another shape", () => {
    const error = failure(() => new Parameter(ones([2])).assignGrad(ones([3])));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.equal("assignGrad: the gradient has shape [3], the parameter [2].");
  });
});
