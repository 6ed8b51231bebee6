// Ops that write in place; only optimizers, averages of weights and `assign` use them.

import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import type { Op, SampleInput, TensorType } from "./types.ts";
import { defineOp } from "./types.ts";

/** target = source. */
export const assign: Op<Record<never, never>> = defineOp({
  name: "assign",
  inputs: ["target", "source"],
  exact: true,
  attributes: {},
  parts: ["element"],
  writes: [0],
  infer([target, source]) {
    expectSameDType("assign", ["target", "source"], target!, source!);
    expectShape("assign", "source", source!, target!.shape, "as the target");
    return target!;
  },
  samples: [
    { name: "image", inputs: [{ shape: [2, 3, 5] }, { shape: [2, 3, 5] }], attributes: {} },
    {
      name: "int32",
      inputs: [
        { shape: [9], dtype: "int32", range: [0, 9] },
        { shape: [9], dtype: "int32", range: [0, 9] },
      ],
      attributes: {},
    },
  ],
});

/** target = target + source. */
export const accumulate: Op<Record<never, never>> = defineOp({
  name: "accumulate",
  inputs: ["target", "source"],
  attributes: {},
  parts: ["element"],
  writes: [0],
  infer([target, source]) {
    expectDType("accumulate", "target", target!, floating);
    expectSameDType("accumulate", ["target", "source"], target!, source!);
    expectShape("accumulate", "source", source!, target!.shape, "as the target");
    return target!;
  },
  samples: [
    { name: "image", inputs: [{ shape: [2, 3, 5] }, { shape: [2, 3, 5] }], attributes: {} },
    { name: "long", inputs: [{ shape: [4099] }, { shape: [4099] }], attributes: {} },
  ],
});

/**
 * One step of an exponential moving average, from the nearer end as `torch.lerp`: average += weight (source - average), and
 * at weight 1 exactly the source.
 */
export const ema: Op<{ readonly weight: "float" }> = defineOp({
  name: "ema",
  inputs: ["average", "source"],
  attributes: { weight: "float" },
  perStep: ["weight"],
  parts: ["element"],
  writes: [0],
  infer([average, source]) {
    expectDType("ema", "average", average!, floating);
    expectSameDType("ema", ["average", "source"], average!, source!);
    expectShape("ema", "source", source!, average!.shape, "as the average");
    return average!;
  },
  samples: [
    { name: "slow", inputs: [{ shape: [2, 3, 5] }, { shape: [2, 3, 5] }], attributes: { weight: 1e-4 } },
    { name: "fast", inputs: [{ shape: [4099] }, { shape: [4099] }], attributes: { weight: 0.75 } },
    { name: "all", inputs: [{ shape: [7] }, { shape: [7] }], attributes: { weight: 1 } },
  ],
});

/** Refuses operands of an optimizer's step that do not lie beside the parameter, element by element. */
function inferUpdate(op: string, names: readonly string[], inputs: readonly (TensorType | undefined)[]): TensorType {
  const parameter = inputs[0]!;
  expectDType(op, "parameter", parameter, floating);
  inputs.forEach((input, i) => {
    if (!input) return;
    const name = names[i].replace("?", "");
    expectSameDType(op, ["parameter", name], parameter, input);
    expectShape(op, name, input, parameter.shape, "as the parameter");
  });
  return parameter;
}

/** A parameter and its gradient of odd size, and state in these ranges (undefined: absent). */
function updateInputs(...state: (readonly [number, number] | undefined)[]): (SampleInput | undefined)[] {
  const shape = [3001];
  return [{ shape }, { shape }, ...state.map((range) => range && { shape, range })];
}

/**
 * One Adam step over a flat buffer, Kingma and Ba 2015 algorithm 1, in PyTorch's order of operations:
 * g += weightDecay p (or, decoupled as AdamW: p -= lr weightDecay p); m = beta1 m + (1 - beta1) g;
 * v = beta2 v + (1 - beta2) g^2; p -= stepSize m / (sqrt(v) / correction + epsilon),
 * with stepSize = lr / (1 - beta1^t) and correction = sqrt(1 - beta2^t) computed by the caller in float64.
 * Where vMax is given (AMSGrad: Reddi, Kale and Kumar 2018), vMax = max(vMax, v) takes v's place in the last line.
 */
export const adam: Op<{
  readonly lr: "float";
  readonly beta1: "float";
  readonly beta2: "float";
  readonly epsilon: "float";
  readonly weightDecay: "float";
  readonly decoupled: "bool";
  readonly stepSize: "float";
  readonly correction: "float";
}> = defineOp({
  name: "adam",
  inputs: ["parameter", "gradient", "m", "v", "vMax?"],
  attributes: {
    lr: "float",
    beta1: "float",
    beta2: "float",
    epsilon: "float",
    weightDecay: "float",
    decoupled: "bool",
    stepSize: "float",
    correction: "float",
  },
  perStep: ["lr", "stepSize", "correction"],
  parts: ["element"],
  writes: [0, 2, 3, 4],
  infer: (inputs) => inferUpdate("adam", adam.inputs, inputs),
  samples: [
    adamSample("first step", { weightDecay: 0, decoupled: false, step: 1 }),
    adamSample("L2", { weightDecay: 0.1, decoupled: false, step: 3 }),
    adamSample("decoupled", { weightDecay: 0.1, decoupled: true, step: 10 }),
    adamSample("AMSGrad", { weightDecay: 0.1, decoupled: false, step: 10 }, [0, 1]),
  ],
});

function adamSample(
  name: string,
  options: { weightDecay: number; decoupled: boolean; step: number },
  vMax?: readonly [number, number],
) {
  const { weightDecay, decoupled, step } = options;
  const [lr, beta1, beta2, epsilon] = [0.01, 0.9, 0.999, 1e-8];
  return {
    name,
    inputs: updateInputs([-1, 1], [0, 1], vMax),
    attributes: {
      lr,
      beta1,
      beta2,
      epsilon,
      weightDecay,
      decoupled,
      stepSize: lr / (1 - beta1 ** step),
      correction: Math.sqrt(1 - beta2 ** step),
    },
  };
}

/**
 * One step of gradient descent over a flat buffer, in PyTorch's order of operations: g += weightDecay p; where there is
 * a velocity, velocity = momentum velocity + (1 - dampening) g, and g becomes the velocity or, after Nesterov,
 * g + momentum velocity; p -= lr g. PyTorch's first velocity is g itself: at that step the velocity is zero and the
 * caller passes no dampening.
 */
export const sgd: Op<{
  readonly lr: "float";
  readonly momentum: "float";
  readonly dampening: "float";
  readonly nesterov: "bool";
  readonly weightDecay: "float";
}> = defineOp({
  name: "sgd",
  inputs: ["parameter", "gradient", "velocity?"],
  attributes: { lr: "float", momentum: "float", dampening: "float", nesterov: "bool", weightDecay: "float" },
  perStep: ["lr", "dampening"],
  parts: ["element"],
  writes: [0, 2],
  infer: (inputs) => inferUpdate("sgd", sgd.inputs, inputs),
  samples: [
    {
      name: "plain",
      inputs: updateInputs(undefined),
      attributes: { lr: 0.1, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0 },
    },
    {
      name: "momentum, dampened, L2",
      inputs: updateInputs([-1, 1]),
      attributes: { lr: 0.1, momentum: 0.9, dampening: 0.3, nesterov: false, weightDecay: 0.1 },
    },
    {
      name: "Nesterov",
      inputs: updateInputs([-1, 1]),
      attributes: { lr: 0.1, momentum: 0.9, dampening: 0, nesterov: true, weightDecay: 0.1 },
    },
  ],
});

/**
 * One RMSprop step over a flat buffer (Hinton 2012, centered: Graves 2013), in PyTorch's order of operations:
 * g += weightDecay p; square = alpha square + (1 - alpha) g^2; where there is a mean (centered),
 * mean = alpha mean + (1 - alpha) g and the variance is square - mean^2, held at 0 or above, else it is square;
 * g /= sqrt(variance) + epsilon; where there is a velocity, velocity = momentum velocity + g and g becomes the velocity;
 * p -= lr g.
 */
export const rmsprop: Op<{
  readonly lr: "float";
  readonly alpha: "float";
  readonly epsilon: "float";
  readonly weightDecay: "float";
  readonly momentum: "float";
}> = defineOp({
  name: "rmsprop",
  inputs: ["parameter", "gradient", "square", "mean?", "velocity?"],
  attributes: { lr: "float", alpha: "float", epsilon: "float", weightDecay: "float", momentum: "float" },
  perStep: ["lr"],
  parts: ["element"],
  writes: [0, 2, 3, 4],
  infer: (inputs) => inferUpdate("rmsprop", rmsprop.inputs, inputs),
  samples: [
    {
      name: "plain",
      inputs: updateInputs([0, 1], undefined, undefined),
      attributes: { lr: 0.01, alpha: 0.99, epsilon: 1e-8, weightDecay: 0, momentum: 0 },
    },
    // A mean whose square stays well below the mean of the squares, as in training.
    {
      name: "centered, L2",
      inputs: updateInputs([0.5, 1], [-0.5, 0.5], undefined),
      attributes: { lr: 0.01, alpha: 0.9, epsilon: 1e-8, weightDecay: 0.1, momentum: 0 },
    },
    {
      name: "momentum",
      inputs: updateInputs([0, 1], undefined, [-1, 1]),
      attributes: { lr: 0.01, alpha: 0.99, epsilon: 1e-8, weightDecay: 0.1, momentum: 0.9 },
    },
    {
      name: "centered with momentum",
      inputs: updateInputs([0.5, 1], [-0.5, 0.5], [-1, 1]),
      attributes: { lr: 0.01, alpha: 0.9, epsilon: 1e-8, weightDecay: 0, momentum: 0.9 },
    },
  ],
});
