// Plans that run part by part, on maps of many parts and of all the ways in which kernels deal out work: they have eager's
// bits.

import { expect } from "chai";
import type { Tensor } from "langevin";
import {
  Adam,
  Conv2d,
  ConvTranspose2d,
  Dropout,
  EMA,
  GroupNorm,
  LayerNorm,
  Linear,
  MaxPool2d,
  Parameter,
  capture,
  manualSeed,
  mse,
  randn,
  scope,
} from "langevin";
import { onEveryDevice } from "../../tensor/devices.ts";
import { bits } from "../bits.ts";

/** A layer and the shape of what it is given. */
type Case = readonly [name: string, make: () => Layer, input: readonly number[]];
interface Layer {
  forward(x: Tensor): Tensor;
  parameters(): Parameter[];
}

const cases: readonly Case[] = [
  ["a 3x3 convolution of small images", () => new Conv2d(5, 16, 3, { padding: 1 }), [37, 8, 8, 5]],
  ["of large images, in bands", () => new Conv2d(3, 9, 3, { padding: 1 }), [2, 61, 45, 3]],
  ["of many channels, in panels", () => new Conv2d(16, 150, 3, { padding: 1 }), [3, 12, 12, 16]],
  ["with a stride, no padding", () => new Conv2d(8, 20, 3, { stride: 2 }), [5, 41, 40, 8]],
  ["with dilation", () => new Conv2d(8, 12, 3, { padding: 2, dilation: 2 }), [3, 30, 31, 8]],
  ["of few outputs", () => new Conv2d(32, 3, 1), [4, 40, 41, 32]],
  ["a transposed convolution", () => new ConvTranspose2d(12, 10, 2, { stride: 2 }), [3, 24, 25, 12]],
  ["with overlapping windows", () => new ConvTranspose2d(8, 6, 3, { stride: 2, padding: 1 }), [2, 33, 32, 8]],
  ["a product of many rows", () => new Linear(24, 40), [3000, 24]],
  ["of few rows and many columns", () => new Linear(64, 700), [25, 64]],
  ["of sequences", () => new Linear(16, 33), [7, 130, 16]],
  ["a group norm of large images", () => new GroupNorm(4, 20), [2, 40, 41, 20]],
  ["a group norm of small images", () => new GroupNorm(4, 8), [40, 8, 8, 8]],
  ["a layer norm", () => new LayerNorm(48), [5, 120, 48]],
  ["a layer norm of several axes", () => new LayerNorm([30, 12]), [9, 14, 30, 12]],
  ["pooling", () => new MaxPool2d(2), [3, 60, 62, 9]],
];

/** Training steps of the layer with all that plans let follow on it. */
function training(make: () => Layer, shape: readonly number[]) {
  manualSeed(3);
  const layer = make();
  const parameters = layer.parameters();
  const scale = new Parameter(randn([1]));
  const adam = new Adam([...parameters, scale], { lr: 0.01 });
  const average = new EMA([...parameters, scale], { decay: 0.9 });
  const drop = new Dropout(0.2);
  const step = (): Tensor[] => {
    const y = layer.forward(randn(shape));
    const perImage = y.shape.map((n, axis) => (axis === 0 || axis === y.shape.length - 1 ? n : 1));
    const embedded = y.add(randn(perImage)).silu();
    const joined = drop.forward(embedded).mul(scale).add(randn(y.shape).mul(0.5));
    const loss = mse(joined, randn(y.shape));
    loss.backward();
    adam.step();
    average.update();
    return [loss, joined.detach()];
  };
  const state = (): string[] => [...parameters, scale, ...Object.values(average.stateDict().tensors)].map(bits);
  return { step, state };
}

onEveryDevice("parts of large maps", () => {
  for (const [name, make, shape] of cases)
    it(`follow on ${name}`, function () {
      this.timeout(60_000);
      const eager = training(make, shape);
      const expected = Array.from({ length: 2 }, () => scope(() => eager.step().map(bits)));
      const planned = training(make, shape);
      const step = capture(planned.step, { poison: true });
      expect(step.plan().toString()).to.match(/^ *\d+ {2}\+ /m);
      for (const values of expected) expect(scope(() => step().map(bits))).to.deep.equal(values);
      expect(planned.state()).to.deep.equal(eager.state());
      step.dispose();
    });
});
