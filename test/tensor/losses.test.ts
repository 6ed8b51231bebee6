// Losses: values by hand, weights, gradients at kinks and for large inputs, and what they refuse.

import { expect } from "chai";
import {
  ArgumentError,
  DTypeError,
  ShapeError,
  bceWithLogits,
  crossEntropy,
  huber,
  l1,
  mse,
  pseudoHuber,
  smoothL1,
  tensor,
} from "langevin";
import type { LossOptions, Tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

type Loss = (prediction: Tensor, target: Tensor, options?: LossOptions) => Tensor;

function expectNear(got: unknown, expected: readonly number[]): void {
  const values = got as number[];
  expect(values).to.have.length(expected.length);
  values.forEach((value, i) => {
    if (Number.isFinite(expected[i]))
      expect(value, `element ${i}`).to.be.closeTo(expected[i], 1e-6 * Math.max(1, Math.abs(expected[i])));
    else expect(value, `element ${i}`).to.equal(expected[i]);
  });
}

/** Errors and gradients of a loss at differences d from a target of 0. */
function at(loss: Loss, d: readonly number[]): { errors: unknown; gradient: unknown } {
  const prediction = tensor([...d]).requireGrad();
  const target = tensor(d.map(() => 0));
  const errors = loss(prediction, target, { reduction: "none" });
  loss(prediction, target, { reduction: "sum" }).backward();
  return { errors: errors.toArray(), gradient: prediction.grad!.toArray() };
}

onEveryDevice("losses", () => {
  it("l1, huber and smoothL1 at kinks and for large differences", () => {
    const d = [-1e20, -0.5, -0.25, 0, 0.25, 0.5, 3];
    const absolute = at(l1, d);
    expectNear(absolute.errors, [1e20, 0.5, 0.25, 0, 0.25, 0.5, 3]);
    expectNear(absolute.gradient, [-1, -1, -1, 0, 1, 1, 1]);
    const half = at((p, t, options) => huber(p, t, { delta: 0.5, ...options }), d);
    expectNear(half.errors, [5e19, 0.125, 0.03125, 0, 0.03125, 0.125, 1.375]);
    expectNear(half.gradient, [-0.5, -0.5, -0.25, 0, 0.25, 0.5, 0.5]);
    const smooth = at((p, t, options) => smoothL1(p, t, { beta: 0.5, ...options }), d);
    expectNear(smooth.errors, [1e20, 0.25, 0.0625, 0, 0.0625, 0.25, 2.75]);
    expectNear(smooth.gradient, [-1, -1, -0.5, 0, 0.5, 1, 1]);
    expect(at((p, t, options) => smoothL1(p, t, { beta: 0, ...options }), d)).to.deep.equal(absolute);
  });

  it("pseudoHuber takes the length of each sample's difference", () => {
    const prediction = tensor([[3, 4], [0, 0], [1e-4, 0]]).requireGrad(); // prettier-ignore
    const target = tensor([[0, 0], [0, 0], [0, 0]]); // prettier-ignore
    const errors = pseudoHuber(prediction, target, { c: 12, reduction: "none" });
    expectNear(errors.toArray(), [1, 0, 1e-8 / 24]);
    expect(errors.slice(2).item() / (1e-8 / 24)).to.be.closeTo(1, 1e-5);
    pseudoHuber(prediction, target, { c: 12, reduction: "sum" }).backward();
    expectNear(prediction.grad!.reshape([6]).toArray(), [3 / 13, 4 / 13, 0, 0, 1e-4 / 12, 0]);
  });

  it("bceWithLogits is right for logits of any size", () => {
    const logits = tensor([0, 200, 200, -200, -200, 2]).requireGrad();
    const target = tensor([0.5, 1, 0, 0, 1, 0.25]);
    const sigmoid = 1 / (1 + Math.exp(-2));
    const last = -(0.25 * Math.log(sigmoid) + 0.75 * Math.log(1 - sigmoid));
    expectNear(bceWithLogits(logits, target, { reduction: "none" }).toArray(), [Math.LN2, 0, 200, 0, 200, last]);
    bceWithLogits(logits, target, { reduction: "sum" }).backward();
    expectNear(logits.grad!.toArray(), [0, 0, 1, 0, -1, sigmoid - 0.25]);
  });

  it("crossEntropy: large logits, smoothed labels, a class that does not exist", () => {
    const logits = tensor([[1000, 0, 0], [0, 0, 0], [1, 2, 3]]); // prettier-ignore
    const target = tensor([0, 2, 0], { dtype: "int32" });
    const third = 2 + Math.log(1 + Math.exp(-1) + Math.exp(-2));
    expectNear(crossEntropy(logits, target, { reduction: "none" }).toArray(), [0, Math.log(3), third]);
    expect(crossEntropy(logits, target).item()).to.be.closeTo((Math.log(3) + third) / 3, 1e-6);
    const smoothed = crossEntropy(logits, target, { reduction: "none", labelSmoothing: 0.3 });
    expectNear(smoothed.toArray(), [200, Math.log(3), 0.7 * third + 0.3 * (third - 1)]);
    const wrong = crossEntropy(logits, tensor([0, 3, -1], { dtype: "int32" }), { reduction: "none" });
    expect((wrong.toArray() as number[]).map(Number.isNaN)).to.deep.equal([false, true, true]);
  });

  it("weights are factors of samples or of elements", () => {
    const [a, b] = [tensor([[1, 2], [3, 4]]), tensor([[0, 0], [0, 0]])]; // prettier-ignore
    expect(mse(a, b, { weight: tensor([2, 10]) }).item()).to.equal((2 * 5 + 10 * 25) / 4);
    expect(l1(a, b, { weight: tensor([[1, 0]]), reduction: "sum" }).item()).to.equal(4);
    const error = failure(() => mse(a, b, { weight: tensor([1, 2, 3]) }));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.contain("mse: weight has shape [3], the errors [2, 2].");
  });

  it("gradients equal central differences", () => {
    const values = [-2.3, -0.7, 0.2, 1.9];
    const target = tensor([0.1, 0.9, 0.4, 0.3]);
    const losses: Loss[] = [mse, l1, huber, smoothL1, bceWithLogits, (p, t) => pseudoHuber(p, t, { c: 0.5 })];
    for (const loss of losses) {
      const prediction = tensor(values).requireGrad();
      loss(prediction, target).backward();
      const slope = values.map((_, i) => {
        const moved = (step: number) => loss(tensor(values.map((v, k) => (k === i ? v + step : v))), target).item();
        return (moved(0.01) - moved(-0.01)) / 0.02;
      });
      (prediction.grad!.toArray() as number[]).forEach((g, i) => expect(g).to.be.closeTo(slope[i], 1e-3));
    }
  });

  it("refuse what makes no sense", () => {
    const [a, b] = [tensor([1, 2]), tensor([0, 0])];
    const messages = [
      () => huber(a, b, { delta: 0 }),
      () => smoothL1(a, b, { beta: -1 }),
      () => pseudoHuber(a, b, { c: 0 }),
      () => l1(a, b, { reduction: "max" as "sum" }),
      () => crossEntropy(tensor([[1, 2]]), tensor([0], { dtype: "int32" }), { labelSmoothing: 2 }),
    ].map((call) => {
      expect(failure(call)).to.be.instanceOf(ArgumentError);
      return failure(call).message;
    });
    expect(messages).to.deep.equal([
      "huber: delta is 0, expected a number > 0.",
      "smoothL1: beta is -1, expected a number >= 0.",
      "pseudoHuber: c is 0, expected a number > 0.",
      'l1: reduction is max. Choose "mean", "sum" or "none".',
      "crossEntropy: labelSmoothing is 2, expected a number from 0 to 1.",
    ]);
    expect(failure(() => l1(a, tensor([[1], [2]])))).to.be.instanceOf(ShapeError);
    expect(failure(() => crossEntropy(tensor([[1, 2]]), tensor([0])))).to.be.instanceOf(DTypeError);
    expect(failure(() => crossEntropy(tensor([[1, 2]]), tensor([0, 1], { dtype: "int32" })))).to.be.instanceOf(
      ShapeError,
    );
  });
});
