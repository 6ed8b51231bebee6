// Convolutions in groups equal dense convolutions whose weights are zero across groups.

import { expect } from "chai";
import type { Tensor } from "langevin";
import { Parameter, ShapeError, concat, conv2d, convTranspose2d, randn, setDefaultDType, zeros } from "langevin";
import { failure } from "../failure.ts";
import { useDevice } from "./devices.ts";

/** The weights of all groups on the diagonal of [inputs, outputs], axes 2 and 3 of `weight`; zeros elsewhere. */
function blockDiagonal(weight: Tensor, groups: number, groupedAxis: 2 | 3): Tensor {
  const blocks = Array.from({ length: groups }, (_, g) => {
    const width = weight.shape[3] / groups;
    const own = weight.slice(null, null, null, [g * width, (g + 1) * width]);
    const others = (count: number): Tensor => {
      const shape = [...own.shape];
      shape[groupedAxis] *= count;
      return zeros(shape);
    };
    return concat([others(g), own, others(groups - 1 - g)], groupedAxis);
  });
  return concat(blocks, groupedAxis === 2 ? 3 : 2);
}

const values = (x: Tensor | undefined): number[] => [...x!.elements("values")];

function expectSame(got: Tensor | undefined, expected: Tensor | undefined): void {
  expect(got!.shape).to.deep.equal(expected!.shape);
  const [a, b] = [values(got), values(expected)];
  a.forEach((value, i) => expect(value).to.be.closeTo(b[i], 1e-12));
}

describe("convolutions in groups", () => {
  useDevice("ts");
  before(() => {
    setDefaultDType("float64");
  });
  after(() => {
    setDefaultDType("float32");
  });

  for (const groups of [2, 3, 6])
    it(`conv2d in ${groups}: values and gradients`, () => {
      const x = new Parameter(randn([2, 5, 4, 6]));
      const weight = new Parameter(randn([3, 3, 6 / groups, 12]));
      const bias = new Parameter(randn([12]));
      const options = { stride: 2, padding: 1 };
      const grouped = conv2d(x, weight, bias, { ...options, groups });
      const cotangent = randn(grouped.shape);
      grouped.mul(cotangent).sum().backward();
      const gradients = [x, weight, bias].map((p) => p.grad!.clone());
      for (const p of [x, weight, bias]) p.clearGrad();
      const plain = conv2d(x, blockDiagonal(weight, groups, 2), bias, options);
      plain.mul(cotangent).sum().backward();
      expectSame(grouped, plain);
      [x, weight, bias].forEach((p, i) => {
        expectSame(gradients[i], p.grad);
      });
    });

  it("convTranspose2d: each group of inputs makes its own outputs", () => {
    const [x, weight, bias] = [randn([1, 3, 3, 4]), randn([2, 2, 3, 4]), randn([6])];
    const grouped = convTranspose2d(x, weight, bias, { stride: 2, groups: 2 });
    const halves = [0, 1].map((g) =>
      convTranspose2d(
        x.slice(null, null, null, [2 * g, 2 * g + 2]),
        weight.slice(null, null, null, [2 * g, 2 * g + 2]),
        bias.slice([3 * g, 3 * g + 3]),
        { stride: 2 },
      ),
    );
    expect(grouped.shape).to.deep.equal([1, 6, 6, 6]);
    expectSame(grouped, concat(halves, 3));
  });

  it("refuse groups that do not divide the channels", () => {
    const error = failure(() => conv2d(randn([1, 4, 4, 6]), randn([3, 3, 2, 4]), undefined, { groups: 3 }));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.equal(
      "conv2d: 3 groups do not divide the channels: x [1, 4, 4, 6], weight [3, 3, 2, 4]. " +
        "Input and output channels, the last axes of x and weight, are multiples of groups.",
    );
  });
});
