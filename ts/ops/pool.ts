// Max pooling over windows of NHWC images.

import { ArgumentError } from "../errors/index.ts";
import { expectDType, expectIntegers, expectRank, expectSameDType, expectShape, floating } from "./checks.ts";
import { convOutputSize } from "./conv.ts";
import type { Op, TensorType } from "./types.ts";
import { defineOp } from "./types.ts";

/** `kernel` and `stride` [y, x]; `padding` [top, bottom, left, right] of pixels that never win. */
const window = { kernel: "ints", stride: "ints", padding: "ints" } as const;

interface Window {
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly padding: readonly number[];
}

function pooledType(op: string, x: TensorType, { kernel, stride, padding }: Window): TensorType {
  expectIntegers(op, "kernel", kernel, 2, 1);
  expectIntegers(op, "stride", stride, 2, 1);
  expectIntegers(op, "padding", padding, 4, 0);
  expectRank(op, "x", x, 4, "[N, H, W, C]");
  expectDType(op, "x", x, floating);
  if (padding.some((p, side) => 2 * p > kernel[side >> 1]))
    throw new ArgumentError({
      op,
      problem: `padding [${padding.join(", ")}] exceeds half of the kernel ${kernel.join("x")}.`,
    });
  const [n, h, w, c] = x.shape;
  return {
    shape: [n, ...convOutputSize(op, [h, w], kernel, { stride, padding, dilation: [1, 1] }), c],
    dtype: x.dtype,
  };
}

/** Largest value of each window; NaN wins. x [N, H, W, C]. */
export const maxPool2d: Op<typeof window> = defineOp({
  name: "maxPool2d",
  inputs: ["x"],
  exact: true,
  attributes: window,
  infer: ([x], attributes) => pooledType("maxPool2d", x!, attributes),
  keeps: { inputs: [0] },
  gradient: (b, c) => [b.apply(maxPool2dGradient, [c.input(0), c.gradient], c.attributes)],
  samples: [
    poolSample("2x2", [2, 8, 8, 5], [2, 2], [2, 2], [0, 0, 0, 0]),
    poolSample("odd", [1, 7, 5, 3], [2, 2], [2, 2], [0, 0, 0, 0]),
    poolSample("overlapping, padded", [2, 6, 7, 17], [3, 3], [2, 2], [1, 1, 1, 1]),
    poolSample("uneven", [1, 9, 4, 2], [3, 2], [2, 1], [0, 1, 1, 0]),
  ],
});

/** Each window's gradient goes to the first of its largest values in row-major order; overlapping windows add up. */
export const maxPool2dGradient: Op<typeof window> = defineOp({
  name: "maxPool2dGradient",
  inputs: ["x", "dy"],
  attributes: window,
  infer([x, dy], attributes) {
    const pooled = pooledType("maxPool2dGradient", x!, attributes);
    expectSameDType("maxPool2dGradient", ["x", "dy"], x!, dy!);
    expectShape("maxPool2dGradient", "dy", dy!, pooled.shape, "(the pooled shape of x)");
    return x!;
  },
  samples: [
    poolGradientSample("2x2", [2, 8, 8, 5], [2, 4, 4, 5], [2, 2], [2, 2], [0, 0, 0, 0]),
    poolGradientSample("odd", [1, 7, 5, 3], [1, 3, 2, 3], [2, 2], [2, 2], [0, 0, 0, 0]),
    poolGradientSample("overlapping, padded", [2, 6, 7, 17], [2, 3, 4, 17], [3, 3], [2, 2], [1, 1, 1, 1]),
  ],
});

type Four = readonly number[];

function poolSample(name: string, x: Four, kernel: Four, stride: Four, padding: Four) {
  return { name, inputs: [{ shape: x }], attributes: { kernel, stride, padding } };
}

function poolGradientSample(name: string, x: Four, dy: Four, kernel: Four, stride: Four, padding: Four) {
  return { name, inputs: [{ shape: x }, { shape: dy }], attributes: { kernel, stride, padding } };
}
