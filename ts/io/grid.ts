// Tensors of images as one picture.

import { ShapeError, showShape } from "../errors/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { GridOptions, Picture } from "./png.ts";
import { gridImage } from "./png.ts";

/** Lays images [N, H, W, C] (or one [H, W, C]) with values in `range`, default [-1, 1], out as one picture. */
export async function grid(images: Tensor, options: GridOptions = {}): Promise<Picture<Uint8Array>> {
  if (images.rank !== 3 && images.rank !== 4)
    throw new ShapeError({
      op: "grid",
      problem: `images have shape ${showShape(images.shape)}, expected [N, H, W, C].`,
    });
  const shape = images.rank === 3 ? [1, ...images.shape] : images.shape;
  return gridImage({ data: await images.data(), shape }, options);
}
