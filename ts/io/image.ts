// Images between tensors and PNG: several as one picture, as the bytes of a file, and back.

import { ArgumentError, ShapeError, showShape, showValue } from "../errors/index.ts";
import type { DeviceName } from "../device/executor.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { tensor } from "../tensor/tensor.ts";
import { expectTensor } from "../tensor/value.ts";
import type { Channels, GridOptions, Picture } from "./png.ts";
import {
  aPicture,
  decodePng,
  encodePng,
  expectRange,
  gridImage,
  isPicture,
  loadPng,
  withChannels,
  withFloats,
} from "./png.ts";

/**
 * Lays images [N, H, W, C] (or one [H, W, C]) with values in `range`, default [-1, 1], out as one picture
 * (`torchvision.utils.make_grid`). C is 1, 3 or 4. Throws ShapeError for other shapes, ArgumentError for NaN.
 */
export async function grid(images: Tensor, options: GridOptions = {}): Promise<Picture<Uint8Array>> {
  return gridOf("grid", images, options);
}

/**
 * The bytes of a PNG file that shows images [N, H, W, C], or one [H, W, C], as `grid` lays them out: what
 * `writePng(path, await grid(images, options))` writes.
 */
export async function toPng(images: Tensor, options: GridOptions = {}): Promise<Uint8Array> {
  return encodePng(await gridOf("toPng", images, options));
}

/** How an image becomes a tensor. */
export interface FromImageOptions {
  /**
   * 1 for grey, 3 for RGB, 4 for RGBA; default: what the file has. Grey is 0.299 R + 0.587 G + 0.114 B, transparency is
   * dropped, and what gets it is opaque (as Pillow's `Image.convert` does it).
   */
  readonly channels?: Channels;
  /** The values of black and full intensity. Default [-1, 1], as `grid` and `toPng` take them. */
  readonly range?: readonly [low: number, high: number];
  /** Default: the default device. */
  readonly device?: DeviceName;
}

/**
 * Reads a PNG file of any kind, given by its path or as bytes, as a tensor [H, W, C] (`torchvision.io.read_image`, but
 * with the channels last); or takes a picture that is in memory, as `readPng` and `grid` give it. Throws FormatError for
 * what is no PNG.
 */
export async function fromImage(
  source: string | Uint8Array | Picture,
  options: FromImageOptions = {},
): Promise<Tensor> {
  const { channels, range = [-1, 1], device } = options;
  expectRange("fromImage", range);
  const found = await pictureOf("fromImage", source);
  const picture = channels === undefined ? found : withChannels("fromImage", found, channels);
  const [low, high] = range;
  const data = picture.data.map((value) => low + value * (high - low));
  return tensor(data, { shape: [picture.height, picture.width, picture.channels], device });
}

async function pictureOf(op: string, source: string | Uint8Array | Picture): Promise<Picture<Float32Array>> {
  if (typeof source === "string") return loadPng(op, source);
  if (source instanceof Uint8Array) return decodePng(source, { op });
  if (isPicture(source)) return withFloats(op, source);
  throw new ArgumentError({
    op,
    problem: `the image is ${showValue(source)}.`,
    advice: `Expected a path, the bytes of a PNG file (a Uint8Array), or ${aPicture}.`,
  });
}

async function gridOf(op: string, images: Tensor, options: GridOptions): Promise<Picture<Uint8Array>> {
  expectTensor(op, "images", images);
  if (images.rank !== 3 && images.rank !== 4)
    throw new ShapeError({
      op,
      problem: `images have shape ${showShape(images.shape)}, expected [N, H, W, C] or [H, W, C].`,
    });
  const shape = images.rank === 3 ? [1, ...images.shape] : images.shape;
  return gridImage({ data: await images.read(op), shape }, options, op);
}
