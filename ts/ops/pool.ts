// Max and average pooling over windows of NHWC images.

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

/** Refuses padding of which a window might see nothing else. */
export function expectNarrow(op: string, padding: readonly number[], kernel: readonly number[]): void {
  if (padding.some((p, side) => 2 * p > kernel[side >> 1]))
    throw new ArgumentError({
      op,
      problem: `padding [${padding.join(", ")}] exceeds half of the kernel ${kernel.join("x")}.`,
    });
}

function pooledType(op: string, x: TensorType, { kernel, stride, padding }: Window): TensorType {
  expectIntegers(op, "kernel", kernel, 2, 1);
  expectIntegers(op, "stride", stride, 2, 1);
  expectIntegers(op, "padding", padding, 4, 0);
  expectRank(op, "x", x, 4, "[N, H, W, C]");
  expectDType(op, "x", x, floating);
  expectNarrow(op, padding, kernel);
  const [n, h, w, c] = x.shape;
  return {
    shape: [n, ...convOutputSize(op, [h, w], kernel, { stride, padding, dilation: [1, 1] }), c],
    dtype: x.dtype,
  };
}

const averageSamples = [
  averageSample("2x2", [2, 8, 8, 5], [2, 2], [2, 2], [0, 0, 0, 0], true),
  averageSample("odd", [1, 7, 5, 3], [2, 2], [2, 2], [0, 0, 0, 0], true),
  averageSample("overlapping, padding counted", [2, 6, 7, 17], [3, 3], [2, 2], [1, 1, 1, 1], true),
  averageSample("overlapping, padding not counted", [2, 6, 7, 17], [3, 3], [2, 2], [1, 1, 1, 1], false),
  averageSample("uneven", [1, 9, 4, 2], [3, 2], [2, 1], [0, 1, 1, 0], false),
  averageSample("with gaps", [1, 9, 8, 3], [2, 2], [3, 4], [0, 0, 0, 0], true),
  averageSample("several bands", [1, 40, 41, 16], [3, 3], [1, 1], [1, 1, 1, 1], true),
];

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

const averageWindow = { ...window, countPadding: "bool" } as const;

/**
 * Mean of each window: its sum divided by the size of the kernel or, without `countPadding`, by the number of its pixels
 * that lie in the image. x [N, H, W, C].
 */
export const avgPool2d: Op<typeof averageWindow> = defineOp({
  name: "avgPool2d",
  inputs: ["x"],
  attributes: averageWindow,
  infer: ([x], attributes) => pooledType("avgPool2d", x!, attributes),
  gradient: (b, c) => [
    b.apply(avgPool2dGradient, [c.gradient], { ...c.attributes, size: c.inputTypes[0]!.shape.slice(1, 3) }),
  ],
  samples: averageSamples.map(({ name, x, attributes }) => ({ name, inputs: [{ shape: x }], attributes })),
});

/** Every pixel of an image of `size` [H, W] gets the shares of the windows that cover it: dy over the number of terms. */
export const avgPool2dGradient: Op<typeof averageWindow & { readonly size: "ints" }> = defineOp({
  name: "avgPool2dGradient",
  inputs: ["dy"],
  attributes: { ...averageWindow, size: "ints" },
  infer([dy], { size, ...attributes }) {
    expectIntegers("avgPool2dGradient", "size", size, 2, 0);
    expectRank("avgPool2dGradient", "dy", dy!, 4, "[N, H, W, C]");
    const x = { shape: [dy!.shape[0], ...size, dy!.shape[3]], dtype: dy!.dtype };
    const pooled = pooledType("avgPool2dGradient", x, attributes);
    expectShape("avgPool2dGradient", "dy", dy!, pooled.shape, "(the pooled shape)");
    return x;
  },
  gradient(b, c) {
    const { size: _, ...attributes } = c.attributes;
    return [b.apply(avgPool2d, [c.gradient], attributes)];
  },
  samples: averageSamples.map(({ name, x, attributes }) => ({
    name,
    inputs: [{ shape: pooledType("avgPool2dGradient", { shape: x, dtype: "float32" }, attributes).shape }],
    attributes: { ...attributes, size: x.slice(1, 3) },
  })),
});

type Four = readonly number[];

function poolSample(name: string, x: Four, kernel: Four, stride: Four, padding: Four) {
  return { name, inputs: [{ shape: x }], attributes: { kernel, stride, padding } };
}

function poolGradientSample(name: string, x: Four, dy: Four, kernel: Four, stride: Four, padding: Four) {
  return { name, inputs: [{ shape: x }, { shape: dy }], attributes: { kernel, stride, padding } };
}

function averageSample(name: string, x: Four, kernel: Four, stride: Four, padding: Four, countPadding: boolean) {
  return { name, x, attributes: { kernel, stride, padding, countPadding } };
}
