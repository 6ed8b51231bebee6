// Convolution in NHWC as three ops that are closed under differentiation: fprop (conv2d), dgrad (convTranspose2d) and
// wgrad (conv2dWeightGradient). Activation, filter and output keep their names throughout.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { sum } from "./arithmetic.ts";
import { expectDType, expectIntegers, expectRank, expectSameDType, expectShape, floating } from "./checks.ts";
import type { Op, TensorType } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

/**
 * How the window moves: `stride` [y, x], `padding` [top, bottom, left, right] in zeros around x, `dilation` [y, x].
 * Output pixel (oy, ox) reads x at (oy * stride - top + ky * dilation, ...).
 */
const window = { stride: "ints", padding: "ints", dilation: "ints" } as const;

interface Window {
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
}

function expectWindow(op: string, { stride, padding, dilation }: Window): void {
  expectIntegers(op, "stride", stride, 2, 1);
  expectIntegers(op, "padding", padding, 4, 0);
  expectIntegers(op, "dilation", dilation, 2, 1);
}

/** Height and width of conv2d's output: floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1. */
export function convOutputSize(
  op: string,
  size: readonly number[],
  kernel: readonly number[],
  { stride, padding, dilation }: Window,
): [number, number] {
  const along = (axis: 0 | 1): number => {
    const padded = size[axis] + padding[2 * axis] + padding[2 * axis + 1];
    const extent = dilation[axis] * (kernel[axis] - 1) + 1;
    if (extent > padded)
      throw new ShapeError({
        op,
        problem: `a ${kernel.join("x")} kernel (dilation ${dilation.join(", ")}) does not fit into an image of ${size.join("x")} with padding [${padding.join(", ")}].`,
      });
    return Math.floor((padded - extent) / stride[axis]) + 1;
  };
  return [along(0), along(1)];
}

function expectImages(op: string, name: string, type: TensorType): void {
  expectRank(op, name, type, 4, "[N, H, W, C]");
  expectDType(op, name, type, floating);
}

function expectChannels(op: string, expected: number, got: number, filter: string): void {
  if (expected !== got)
    throw new ShapeError({ op, problem: `expected ${expected} input channels, got ${got} (${filter}).` });
}

function expectBias(op: string, x: TensorType, bias: TensorType | undefined, channels: number): void {
  if (!bias) return;
  expectSameDType(op, ["x", "bias"], x, bias);
  expectShape(op, "bias", bias, [channels], "(one for each output channel)");
}

/**
 * Cross-correlation (PyTorch's conv2d): y[n, oy, ox, o] = bias[o] + sum over ky, kx, i of
 * x[n, oy * stride - top + ky * dilation, ..., i] * weight[ky, kx, i, o]. x [N, H, W, I], weight [KH, KW, I, O], bias [O].
 */
export const conv2d: Op<typeof window> = defineOp({
  name: "conv2d",
  epilogue: true,
  inputs: ["x", "weight", "bias?"],
  terms: ([, weight]) => sizeOf(weight!.shape.slice(0, 3)),
  factors: [0, 1],
  multiplyAdds: ([, weight], _, y) => sizeOf(y.shape) * sizeOf(weight!.shape.slice(0, 3)),
  attributes: window,
  infer([x, weight, bias], attributes) {
    expectWindow("conv2d", attributes);
    expectImages("conv2d", "x", x!);
    expectRank("conv2d", "weight", weight!, 4, "[KH, KW, I, O]");
    expectSameDType("conv2d", ["x", "weight"], x!, weight!);
    const [kh, kw, i, o] = weight!.shape;
    expectChannels("conv2d", i, x!.shape[3], `x ${showShape(x!.shape)}, weight ${showShape(weight!.shape)}`);
    expectBias("conv2d", x!, bias, o);
    const [h, w] = convOutputSize("conv2d", [x!.shape[1], x!.shape[2]], [kh, kw], attributes);
    return { shape: [x!.shape[0], h, w, o], dtype: x!.dtype };
  },
  keeps: { inputs: [0, 1] },
  gradient(b, c) {
    const [x, weight] = [c.inputTypes[0]!, c.inputTypes[1]!];
    return [
      c.needs(0)
        ? b.apply(convTranspose2d, [c.gradient, c.input(1)], { ...c.attributes, size: x.shape.slice(1, 3) })
        : undefined,
      c.needs(1)
        ? b.apply(conv2dWeightGradient, [c.input(0), c.gradient], { ...c.attributes, kernel: weight.shape.slice(0, 2) })
        : undefined,
      c.inputTypes[2] && c.needs(2) ? b.apply(sum, [c.gradient], { axes: [0, 1, 2], keepDims: false }) : undefined,
    ];
  },
  samples: [
    convSample("3x3", [2, 8, 8, 5], [3, 3, 5, 7], { padding: [1, 1, 1, 1] }),
    convSample("3x3, 16 to 32 channels", [3, 4, 4, 16], [3, 3, 16, 32], { padding: [1, 1, 1, 1] }),
    convSample("1x1", [2, 5, 3, 16], [1, 1, 16, 1], {}),
    convSample("no bias", [1, 6, 5, 3], [3, 3, 3, 17], { padding: [1, 1, 1, 1], bias: false }),
    convSample("stride 2, odd", [2, 7, 9, 4], [3, 3, 4, 6], { stride: [2, 2], padding: [1, 1, 1, 1] }),
    convSample("padded right and below", [1, 6, 8, 3], [3, 3, 3, 4], { stride: [2, 2], padding: [0, 1, 0, 1] }),
    convSample("5x3, uneven strides", [2, 9, 8, 2], [5, 3, 2, 3], { stride: [1, 3], padding: [2, 1, 0, 2] }),
    convSample("dilated", [1, 9, 9, 3], [3, 3, 3, 4], { dilation: [2, 3], padding: [2, 2, 3, 3] }),
    convSample("one pixel", [2, 1, 1, 4], [3, 3, 4, 4], { padding: [1, 1, 1, 1] }),
    convSample("rgb", [1, 13, 11, 1], [3, 3, 1, 16], { padding: [1, 1, 1, 1] }),
  ],
});

function convSample(
  name: string,
  x: readonly number[],
  weight: readonly number[],
  options: Partial<Window> & { bias?: boolean },
) {
  const { stride = [1, 1], padding = [0, 0, 0, 0], dilation = [1, 1], bias = true } = options;
  return {
    name,
    inputs: [{ shape: x }, { shape: weight }, bias ? { shape: [weight[3]] } : undefined],
    attributes: { stride, padding, dilation },
  };
}

/**
 * The transpose of conv2d with respect to x (PyTorch's conv_transpose2d): x [N, H, W, O], weight [KH, KW, I, O], bias [I],
 * y [N, size[0], size[1], I]. `size` says which of the sizes that conv2d maps to [H, W] is meant (PyTorch's output_padding).
 * The weight has conv2d's layout: as a layer, I are the output channels and O the input channels.
 */
export const convTranspose2d: Op<typeof window & { readonly size: "ints" }> = defineOp({
  name: "convTranspose2d",
  epilogue: true,
  inputs: ["x", "weight", "bias?"],
  terms: ([, weight]) => sizeOf([0, 1, 3].map((axis) => weight!.shape[axis])),
  factors: [0, 1],
  multiplyAdds: ([x, weight]) => sizeOf(x!.shape) * sizeOf(weight!.shape.slice(0, 3)),
  attributes: { ...window, size: "ints" },
  infer([x, weight, bias], { size, ...attributes }) {
    const op = "convTranspose2d";
    expectWindow(op, attributes);
    expectIntegers(op, "size", size, 2, 1);
    expectImages(op, "x", x!);
    expectRank(op, "weight", weight!, 4, "[KH, KW, O, I]");
    expectSameDType(op, ["x", "weight"], x!, weight!);
    const [kh, kw, i, o] = weight!.shape;
    expectChannels(op, o, x!.shape[3], `x ${showShape(x!.shape)}, weight ${showShape(weight!.shape)}`);
    expectBias(op, x!, bias, i);
    const [h, w] = convOutputSize(op, size, [kh, kw], attributes);
    if (h !== x!.shape[1] || w !== x!.shape[2])
      throw new ArgumentError({
        op,
        problem: `output size ${size.join("x")} belongs to an input of ${h}x${w}, got ${x!.shape[1]}x${x!.shape[2]}.`,
        advice: "outputPadding must be smaller than the stride.",
      });
    return { shape: [x!.shape[0], size[0], size[1], i], dtype: x!.dtype };
  },
  keeps: { inputs: [0, 1] },
  gradient(b, c) {
    const { stride, padding, dilation } = c.attributes;
    const attributes = { stride, padding, dilation };
    const kernel = c.inputTypes[1]!.shape.slice(0, 2);
    return [
      c.needs(0) ? b.apply(conv2d, [c.gradient, c.input(1)], attributes) : undefined,
      c.needs(1) ? b.apply(conv2dWeightGradient, [c.gradient, c.input(0)], { ...attributes, kernel }) : undefined,
      c.inputTypes[2] && c.needs(2) ? b.apply(sum, [c.gradient], { axes: [0, 1, 2], keepDims: false }) : undefined,
    ];
  },
  samples: [
    transposeSample("k2 s2", [2, 3, 4, 8], [2, 2, 5, 8], [6, 8], { stride: [2, 2] }),
    transposeSample("k2 s2, 64 to 32", [3, 2, 2, 64], [2, 2, 32, 64], [4, 4], { stride: [2, 2] }),
    transposeSample("k3 s1", [2, 5, 4, 6], [3, 3, 7, 6], [5, 4], { padding: [1, 1, 1, 1] }),
    transposeSample("k4 s2 p1", [1, 3, 4, 5], [4, 4, 3, 5], [6, 8], { stride: [2, 2], padding: [1, 1, 1, 1] }),
    transposeSample("k3 s2 p1, output padding", [1, 4, 3, 5], [3, 3, 18, 5], [8, 6], {
      stride: [2, 2],
      padding: [1, 1, 1, 1],
    }),
    transposeSample("dilated, uneven", [1, 4, 3, 2], [3, 2, 3, 2], [9, 9], {
      stride: [2, 3],
      padding: [1, 1, 0, 1],
      dilation: [2, 3],
      bias: false,
    }),
  ],
});

function transposeSample(
  name: string,
  x: readonly number[],
  weight: readonly number[],
  size: readonly number[],
  options: Partial<Window> & { bias?: boolean },
) {
  const { stride = [1, 1], padding = [0, 0, 0, 0], dilation = [1, 1], bias = true } = options;
  return {
    name,
    inputs: [{ shape: x }, { shape: weight }, bias ? { shape: [weight[2]] } : undefined],
    attributes: { stride, padding, dilation, size },
  };
}

/**
 * Gradient of conv2d with respect to its weight: dw[ky, kx, i, o] = sum over n, oy, ox of
 * x[n, oy * stride - top + ky * dilation, ..., i] * dy[n, oy, ox, o]. `kernel` is [KH, KW].
 */
export const conv2dWeightGradient: Op<typeof window & { readonly kernel: "ints" }> = defineOp({
  name: "conv2dWeightGradient",
  inputs: ["x", "dy"],
  terms: ([, dy]) => sizeOf(dy!.shape.slice(0, 3)),
  factors: [0, 1],
  multiplyAdds: ([, dy], _, dw) => sizeOf(dy!.shape.slice(0, 3)) * sizeOf(dw.shape),
  attributes: { ...window, kernel: "ints" },
  infer([x, dy], { kernel, ...attributes }) {
    const op = "conv2dWeightGradient";
    expectWindow(op, attributes);
    expectIntegers(op, "kernel", kernel, 2, 1);
    expectImages(op, "x", x!);
    expectImages(op, "dy", dy!);
    expectSameDType(op, ["x", "dy"], x!, dy!);
    const size = convOutputSize(op, [x!.shape[1], x!.shape[2]], kernel, attributes);
    expectShape(op, "dy", dy!, [x!.shape[0], ...size, dy!.shape[3]], "(conv2d's output for this x)");
    return { shape: [...kernel, x!.shape[3], dy!.shape[3]], dtype: x!.dtype };
  },
  keeps: { inputs: [0, 1] },
  gradient(b, c) {
    const { stride, padding, dilation } = c.attributes;
    const attributes = { stride, padding, dilation };
    const size = c.inputTypes[0]!.shape.slice(1, 3);
    return [
      c.needs(0) ? b.apply(convTranspose2d, [c.input(1), c.gradient], { ...attributes, size }) : undefined,
      c.needs(1) ? b.apply(conv2d, [c.input(0), c.gradient], attributes) : undefined,
    ];
  },
  samples: [
    weightSample("3x3", [2, 8, 8, 5], [2, 8, 8, 7], [3, 3], { padding: [1, 1, 1, 1] }),
    weightSample("3x3, many pixels", [20, 8, 8, 16], [20, 8, 8, 16], [3, 3], { padding: [1, 1, 1, 1] }),
    weightSample("2x2 map", [7, 2, 2, 33], [7, 2, 2, 34], [3, 3], { padding: [1, 1, 1, 1] }),
    weightSample("stride 2, odd", [2, 7, 9, 4], [2, 4, 5, 6], [3, 3], { stride: [2, 2], padding: [1, 1, 1, 1] }),
    weightSample("1x1", [3, 4, 4, 16], [3, 4, 4, 1], [1, 1], {}),
    weightSample("dilated, uneven", [1, 9, 8, 2], [1, 5, 3, 3], [3, 2], {
      stride: [2, 2],
      padding: [2, 2, 0, 1],
      dilation: [2, 3],
    }),
  ],
});

function weightSample(
  name: string,
  x: readonly number[],
  dy: readonly number[],
  kernel: readonly number[],
  options: Partial<Window>,
) {
  const { stride = [1, 1], padding = [0, 0, 0, 0], dilation = [1, 1] } = options;
  return { name, inputs: [{ shape: x }, { shape: dy }], attributes: { stride, padding, dilation, kernel } };
}
