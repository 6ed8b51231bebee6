// The operations of golden/ops/conv: PyTorch has NCHW, this library NHWC.

import type { Tensor } from "langevin";
import { adaptiveAvgPool2d, avgPool2d, conv2d, convTranspose2d, maxPool2d, pad, resize2d } from "langevin";
import type { Rule, Rules } from "./rule.ts";
import { toNCHW, toNHWC } from "../layouts.ts";

const fromOIHW = (w: Tensor): Tensor => w.permute([2, 3, 1, 0]);
/** PyTorch's transposed convolution has [in, out, kh, kw], ours [kh, kw, out, in]. */
const fromIOHW = (w: Tensor): Tensor => w.permute([2, 3, 1, 0]);

const convolution: Rule = ({ inputs: { x, weight, bias }, params }) => {
  const { stride, padding, dilation = 1, groups = 1 } = params;
  return toNCHW(conv2d(toNHWC(x), fromOIHW(weight), bias, { stride, padding, dilation, groups }));
};

const padThenConvolution: Rule = ({ inputs: { x, weight, bias }, params: p }) => {
  if (p.pad_value !== 0 || p.padding !== 0) return undefined;
  const padding = [p.pad_top, p.pad_bottom, p.pad_left, p.pad_right] as const;
  return toNCHW(conv2d(toNHWC(x), fromOIHW(weight), bias, { stride: p.stride, padding }));
};

const transposedConvolution: Rule = ({ inputs: { x, weight, bias }, params }) => {
  const { stride, padding, output_padding: outputPadding } = params;
  return toNCHW(convTranspose2d(toNHWC(x), fromIOHW(weight), bias, { stride, padding, outputPadding }));
};

export const convRules: Rules = {
  conv2d: convolution,
  pad: ({ inputs: { x }, params: { top, bottom, left, right, value } }) =>
    toNCHW(pad(toNHWC(x), [top, bottom, left, right], { value })),
  pad_then_conv2d: padThenConvolution,
  conv_transpose2d: transposedConvolution,
  max_pool2d: ({ inputs: { x }, params: { kernel, stride, padding = 0 } }) =>
    toNCHW(maxPool2d(toNHWC(x), kernel, { stride, padding })),
  avg_pool2d: ({ inputs: { x }, params: { kernel, stride } }) => toNCHW(avgPool2d(toNHWC(x), kernel, { stride })),
  upsample_nearest: ({ inputs: { x }, params: { scale } }) => toNCHW(resize2d(toNHWC(x), { scale })),
  upsample_bilinear: ({ inputs: { x }, params: { scale, align_corners: alignCorners } }) =>
    toNCHW(resize2d(toNHWC(x), { scale, mode: "bilinear", alignCorners })),
  adaptive_avg_pool2d: ({ inputs: { x }, params }) => toNCHW(adaptiveAvgPool2d(toNHWC(x), params.output_size)),
};
