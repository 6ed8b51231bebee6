// Pixels of larger images from channels, and back.

import { ShapeError, showShape } from "../../errors/index.ts";
import { expectIntegers } from "../../ops/checks.ts";
import { sizeOf } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/**
 * Makes squares of `factor` x `factor` pixels of channels (Shi et al. 2016, `torch.nn.functional.pixel_shuffle`):
 * x [..., H, W, C factor^2] -> y [..., H factor, W factor, C]. As in PyTorch, y[h factor + i, w factor + j, c] is
 * x[h, w, (c factor + i) factor + j]. Throws ShapeError where factor^2 does not divide the channels.
 */
export function pixelShuffle(x: Tensor, factor: number): Tensor {
  const [images, h, w, channels] = imagesOf("pixelShuffle", x, factor);
  const c = channels / factor ** 2;
  if (!Number.isInteger(c))
    throw new ShapeError({
      op: "pixelShuffle",
      problem: `x has shape ${showShape(x.shape)}, whose ${channels} channels ${factor}^2 does not divide.`,
    });
  return scope(() =>
    x
      .reshape([images, h, w, c, factor, factor])
      .permute([0, 1, 4, 2, 5, 3])
      .reshape([...x.shape.slice(0, -3), h * factor, w * factor, c]),
  );
}

/**
 * Makes channels of squares of `factor` x `factor` pixels (`torch.nn.functional.pixel_unshuffle`), which undoes
 * `pixelShuffle`: [..., H factor, W factor, C] -> [..., H, W, C factor^2]. Throws ShapeError where the factor does not
 * divide height and width.
 */
export function pixelUnshuffle(x: Tensor, factor: number): Tensor {
  const [images, height, width, c] = imagesOf("pixelUnshuffle", x, factor);
  const [h, w] = [height / factor, width / factor];
  if (!Number.isInteger(h) || !Number.isInteger(w))
    throw new ShapeError({
      op: "pixelUnshuffle",
      problem: `x has shape ${showShape(x.shape)}, whose ${height}x${width} pixels ${factor} does not divide.`,
    });
  return scope(() =>
    x
      .reshape([images, h, factor, w, factor, c])
      .permute([0, 1, 3, 5, 2, 4])
      .reshape([...x.shape.slice(0, -3), h, w, c * factor ** 2]),
  );
}

/** Number of images, height, width and channels; refuses what has none, and factors that are none. */
function imagesOf(op: string, x: Tensor, factor: number): [number, number, number, number] {
  expectTensor(op, "x", x);
  expectIntegers(op, "factor", [factor], 1, 1);
  if (x.rank < 3)
    throw new ShapeError({ op, problem: `x has shape ${showShape(x.shape)}, expected images [..., H, W, C].` });
  const [h, w, c] = x.shape.slice(-3);
  return [sizeOf(x.shape.slice(0, -3)), h, w, c];
}
