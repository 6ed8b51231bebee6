// Ops that write in place; only optimizers, averages of weights and `assign` use them.

import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import type { Op } from "./types.ts";
import { defineOp } from "./types.ts";

/** target = source. */
export const assign: Op<Record<never, never>> = defineOp({
  name: "assign",
  inputs: ["target", "source"],
  exact: true,
  attributes: {},
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
 * One Adam step over a flat buffer, Kingma and Ba 2015 algorithm 1, in PyTorch's order of operations:
 * g += weightDecay p (or, decoupled as AdamW: p -= lr weightDecay p); m = beta1 m + (1 - beta1) g;
 * v = beta2 v + (1 - beta2) g^2; p -= stepSize m / (sqrt(v) / correction + epsilon),
 * with stepSize = lr / (1 - beta1^t) and correction = sqrt(1 - beta2^t) computed by the caller in float64.
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
  inputs: ["parameter", "gradient", "m", "v"],
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
  writes: [0, 2, 3],
  infer([parameter, ...others]) {
    expectDType("adam", "parameter", parameter!, floating);
    ["gradient", "m", "v"].forEach((name, i) => {
      expectSameDType("adam", ["parameter", name], parameter!, others[i]!);
      expectShape("adam", name, others[i]!, parameter!.shape, "as the parameter");
    });
    return parameter!;
  },
  samples: [
    adamSample("first step", { weightDecay: 0, decoupled: false, step: 1 }),
    adamSample("L2", { weightDecay: 0.1, decoupled: false, step: 3 }),
    adamSample("decoupled", { weightDecay: 0.1, decoupled: true, step: 10 }),
  ],
});

function adamSample(name: string, options: { weightDecay: number; decoupled: boolean; step: number }) {
  const { weightDecay, decoupled, step } = options;
  const [lr, beta1, beta2, epsilon] = [0.01, 0.9, 0.999, 1e-8];
  const shape = [3001];
  return {
    name,
    inputs: [{ shape }, { shape }, { shape }, { shape, range: [0, 1] as const }],
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
