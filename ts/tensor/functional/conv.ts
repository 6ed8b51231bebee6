// Convolution and its transpose.

import { ArgumentError, ShapeError, showShape } from "../../errors/index.ts";
import { expectIntegers } from "../../ops/checks.ts";
import { ops } from "../../ops/index.ts";
import { concat } from "../creation.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";
import type { Padding, Pair } from "./window.ts";
import { pair, sides } from "./window.ts";

/** How the window of a convolution moves. */
export interface Conv2dOptions {
  /** Default 1. */
  readonly stride?: Pair;
  /** Zeros around the image, default 0. */
  readonly padding?: Padding;
  /** Default 1. */
  readonly dilation?: Pair;
  /**
   * Splits the channels into groups that do not see each other, default 1. Each group is a convolution of its own: a
   * few of them cost little, one for each channel is slow.
   */
  readonly groups?: number;
}

/**
 * Cross-correlation (`torch.nn.functional.conv2d`): x [N, H, W, I], weight [KH, KW, I / groups, O], bias [O]
 * -> [N, H', W', O] with H' = floor((H + top + bottom - dilation (KH - 1) - 1) / stride) + 1.
 */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: Conv2dOptions = {}): Tensor {
  const { groups = 1 } = options;
  if (groups !== 1) {
    const { groups: _, ...window } = options;
    return inGroups("conv2d", groups, { x, weight, bias }, (part) => conv2d(part.x, part.weight, part.bias, window));
  }
  return apply(ops.conv2d, [x, weight, bias], convWindow("conv2d", options));
}

/** How the window moves, for each direction and side; throws ArgumentError for what is no way to. */
export function convWindow(
  op: string,
  { stride = 1, padding = 0, dilation = 1 }: Conv2dOptions,
): Record<"stride" | "padding" | "dilation", readonly number[]> {
  return {
    stride: pair(op, "stride", stride, 1),
    padding: sides(op, padding),
    dilation: pair(op, "dilation", dilation, 1),
  };
}

/** The operands of a convolution. */
interface Operands {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
}

/** Convolves each group of channels by itself; weights are split along their last axis. */
function inGroups(
  op: string,
  groups: number,
  { x, weight, bias }: Operands,
  convolve: (part: Operands) => Tensor,
): Tensor {
  expectIntegers(op, "groups", [groups], 1, 1);
  const channels = [x.shape[3], weight.shape[3], ...(bias ? [bias.size] : [])];
  if (x.rank !== 4 || weight.rank !== 4 || channels.some((n) => n % groups !== 0))
    throw new ShapeError({
      op,
      problem: `${groups} groups do not divide the channels: x ${showShape(x.shape)}, weight ${showShape(weight.shape)}.`,
      advice: "Input and output channels, the last axes of x and weight, are multiples of groups.",
    });
  const part = (tensor: Tensor, g: number): Tensor => {
    const width = tensor.shape[tensor.rank - 1] / groups;
    return tensor.slice(...tensor.shape.slice(1).map(() => null), [g * width, (g + 1) * width]);
  };
  return scope(() =>
    concat(
      Array.from({ length: groups }, (_, g) =>
        convolve({ x: part(x, g), weight: part(weight, g), bias: bias && part(bias, g) }),
      ),
      3,
    ),
  );
}

/** How the window of the convolution moves whose transpose this is. */
export interface ConvTranspose2dOptions extends Conv2dOptions {
  /** Rows and columns added at the bottom and right, smaller than the stride; default 0. */
  readonly outputPadding?: Pair;
}

/** The same of a transposed convolution, whose output padding must be below the stride. */
export function convTransposeWindow(
  op: string,
  options: ConvTranspose2dOptions,
): ReturnType<typeof convWindow> & { readonly outputPadding: readonly number[] } {
  const window = convWindow(op, options);
  const outputPadding = pair(op, "outputPadding", options.outputPadding ?? 0, 0);
  if (outputPadding.some((n, axis) => n >= window.stride[axis]))
    throw new ArgumentError({
      op,
      problem: `outputPadding is [${outputPadding.join(", ")}] with a stride of [${window.stride.join(", ")}].`,
      advice: "outputPadding must be smaller than the stride.",
    });
  return { ...window, outputPadding };
}

/**
 * Transposed convolution (`torch.nn.functional.conv_transpose2d`): x [N, H, W, I], weight
 * [KH, KW, O / groups, I], bias [O] -> [N, H', W', O] with H' = (H - 1) stride - top - bottom + dilation (KH - 1) + outputPadding + 1.
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  options: ConvTranspose2dOptions = {},
): Tensor {
  expectTensor("convTranspose2d", "x", x);
  expectTensor("convTranspose2d", "weight", weight);
  if ((options.groups ?? 1) !== 1) {
    const { groups = 1, ...window } = options;
    return inGroups("convTranspose2d", groups, { x, weight, bias }, (part) =>
      convTranspose2d(part.x, part.weight, part.bias, window),
    );
  }
  const { stride, padding, dilation, outputPadding } = convTransposeWindow("convTranspose2d", options);
  if (x.rank !== 4 || weight.rank !== 4)
    throw new ShapeError({
      op: "convTranspose2d",
      problem: `x ${showShape(x.shape)} and weight ${showShape(weight.shape)}, expected [N, H, W, I] and [KH, KW, O, I].`,
    });
  const size = [0, 1].map(
    (axis) =>
      (x.shape[axis + 1] - 1) * stride[axis] -
      padding[2 * axis] -
      padding[2 * axis + 1] +
      dilation[axis] * (weight.shape[axis] - 1) +
      outputPadding[axis] +
      1,
  );
  return apply(ops.convTranspose2d, [x, weight, bias], { stride, padding, dilation, size });
}
