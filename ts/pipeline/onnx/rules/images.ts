// Rules of ops on images, which ONNX wants as NCHW.

import { interpolation } from "../../../device/ts/interpolation.ts";
import type { OnnxAttribute } from "../../../io/onnx/model.ts";
import type { OnnxGraph, OnnxValue } from "../graph.ts";
import { channelsFirst } from "../graph.ts";
import type { Rule, Rules } from "../rule.ts";
import { fixed } from "../rule.ts";
import type { Size } from "../size.ts";

const nchw = channelsFirst(4);
/** How PyTorch and ONNX store what is [KH, KW, I, O] here. */
const oihw = [3, 2, 0, 1];

interface Window {
  readonly stride: readonly Size[];
  readonly padding: readonly Size[];
}

/** Stride and padding; ONNX has the latter as [top, left, bottom, right]. */
function windowOf(op: string, { stride, padding }: Window): { readonly strides: number[]; readonly pads: number[] } {
  const [top, bottom, left, right] = fixed(op, "padding", padding);
  return { strides: fixed(op, "stride", stride), pads: [top, left, bottom, right] };
}

/** A node on images, from NCHW to NCHW. */
function onImages(
  graph: OnnxGraph,
  type: string,
  x: OnnxValue,
  others: readonly (OnnxValue | undefined)[],
  attributes: Readonly<Record<string, OnnxAttribute>>,
  shape: readonly Size[],
): OnnxValue {
  return graph.node(type, [graph.arranged(x, nchw), ...others], attributes, { dtype: "float32", shape, order: nchw });
}

/** Pooling by one of ONNX's operators. */
function pooling<A extends Window & { readonly kernel: readonly Size[] }>(
  type: string,
  more: (attributes: A) => Readonly<Record<string, OnnxAttribute>> = () => ({}),
): Rule<A> {
  return (graph, { inputs: [x], attributes, shape }) => {
    const kernel_shape = fixed(type, "kernel", attributes.kernel);
    return onImages(graph, type, x!, [], { kernel_shape, ...windowOf(type, attributes), ...more(attributes) }, shape);
  };
}

/**
 * How Resize calls our modes, for the sizes at which all runtimes take it to mean the same; bicubic is left to products,
 * since onnxruntime may move the channels to the end, where it then refuses it.
 */
function resizeAttributes(
  mode: string,
  alignCorners: boolean,
  from: readonly number[],
  to: readonly number[],
): Readonly<Record<string, OnnxAttribute>> | undefined {
  if (mode === "bilinear")
    return { mode: "linear", coordinate_transformation_mode: alignCorners ? "align_corners" : "half_pixel" };
  // The nearest pixel is found in float32, which may fall on the other side of an edge unless the scale is whole.
  const isWhole = to.every((n, axis) => n % from[axis] === 0);
  if (mode === "nearest" && isWhole)
    return { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" };
  return undefined;
}

/**
 * Resize's roi, which is absent, scales and sizes: scales where they are exact, since sizes, of which ONNX wants all four,
 * would have to be computed where the batch is open.
 */
function targetOf(
  graph: OnnxGraph,
  { shape: [batch, , , channels] }: OnnxValue,
  from: readonly number[],
  to: readonly number[],
): (OnnxValue | undefined)[] {
  const scales = to.map((n, axis) => n / from[axis]);
  const areExact = scales.every((scale, axis) => Math.fround(scale) * from[axis] === to[axis]);
  if (areExact) return [undefined, graph.numbers("float32", [1, 1, ...scales])];
  return [undefined, undefined, graph.sizes([batch, channels, ...to])];
}

/** Resampling along one axis of NCHW as a product with the matrix of its weights, or by index where these are all 1. */
function resampled(graph: OnnxGraph, x: OnnxValue, axis: 2 | 3, taps: ReturnType<typeof interpolation>): OnnxValue {
  const [from, to] = [fixed("resize2d", "size", [x.shape[axis]])[0], taps.first.length];
  const result = { dtype: "float32", shape: x.shape.with(axis, to) } as const;
  if (taps.weights.every((weights) => weights.length === 1 && weights[0] === 1))
    return graph.node("Gather", [x, graph.positions(taps.first)], { axis }, result);
  const matrix = new Float32Array(to * from);
  taps.first.forEach((first, o) => {
    taps.weights[o].forEach((weight, k) => {
      // Rows are outputs where the matrix stands on the left, inputs where it stands on the right.
      matrix[axis === 2 ? o * from + first + k : (first + k) * to + o] = weight;
    });
  });
  const weights = graph.constant("float32", axis === 2 ? [to, from] : [from, to], matrix);
  return graph.node("MatMul", axis === 2 ? [weights, x] : [x, weights], {}, result);
}

/** Rules of convolutions, pooling and resampling. */
export const imageRules: Rules = {
  conv2d: (graph, { inputs: [x, weight, bias], attributes, shape }) => {
    const dilations = fixed("conv2d", "dilation", attributes.dilation);
    const filter = graph.arranged(weight!, oihw);
    return onImages(graph, "Conv", x!, [filter, bias], { dilations, ...windowOf("conv2d", attributes) }, shape);
  },

  convTranspose2d: (graph, { inputs: [x, weight, bias], attributes, shape }) => {
    const op = "convTranspose2d";
    const { strides, pads } = windowOf(op, attributes);
    const dilations = fixed(op, "dilation", attributes.dilation);
    const size = fixed(op, "size", attributes.size);
    const given = fixed(op, "size", x!.shape.slice(1, 3));
    const kernel = fixed(op, "kernel", weight!.shape.slice(0, 2));
    // What is left of the size when the smallest that gives this input is taken away.
    const output_padding = size.map((n, axis) => {
      const extent = dilations[axis] * (kernel[axis] - 1) + 1;
      return n - ((given[axis] - 1) * strides[axis] + extent - pads[axis] - pads[axis + 2]);
    });
    const filter = graph.arranged(weight!, oihw);
    return onImages(graph, "ConvTranspose", x!, [filter, bias], { strides, pads, dilations, output_padding }, shape);
  },

  maxPool2d: pooling("MaxPool"),
  avgPool2d: pooling("AveragePool", ({ countPadding }) => ({ count_include_pad: countPadding ? 1 : 0 })),

  resize2d: (graph, { inputs: [given], attributes: { size, mode, alignCorners }, shape }) => {
    const x = graph.arranged(given!, nchw);
    const [from, to] = [fixed("resize2d", "size", x.shape.slice(1, 3)), fixed("resize2d", "size", size)];
    const attributes = resizeAttributes(mode, alignCorners, from, to);
    if (attributes) return onImages(graph, "Resize", x, targetOf(graph, x, from, to), attributes, shape);
    const taps = [0, 1].map((axis) => interpolation(mode, alignCorners, from[axis], to[axis]));
    const rows = resampled(graph, graph.stored(x), 2, taps[0]);
    return graph.meaning(resampled(graph, rows, 3, taps[1]), nchw);
  },
};
