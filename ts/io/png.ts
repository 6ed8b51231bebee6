// Pictures: PNG files to and from plain arrays, and the grid that shows many small ones at once.

import { readFile } from "node:fs/promises";
import type { DecodedPng } from "fast-png";
import { convertIndexedToRgb, decode, encode } from "fast-png";
import { ArgumentError, FormatError, ShapeError, showShape, showValue } from "../errors/index.ts";
import { writeFileAtomically } from "./atomic-file.ts";

/** One picture: rows from the top, in each the pixels from the left, in each the channels (grey, RGB or RGBA). */
export interface Picture<A extends Float32Array | Uint8Array = Float32Array | Uint8Array> {
  /** Values in [0, 1] for floats (what lies outside is clamped), bytes as they are stored otherwise. */
  readonly data: A;
  /** In pixels. */
  readonly height: number;
  /** In pixels. */
  readonly width: number;
  /** 1, 3 or 4. */
  readonly channels: number;
}

/** Grey, RGB, RGBA. */
export type Channels = 1 | 3 | 4;

/** Several pictures of one size, [N, H, W, C]. */
export interface Pictures {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
}

/** How a grid is laid out. */
export interface GridOptions {
  /** Pictures in a row; by default the grid is as square as it gets. */
  readonly columns?: number;
  /** Each pixel becomes a square of this many, without smoothing. Default 1. */
  readonly enlarge?: number;
  /** Pixels between pictures, not enlarged. Default 0. */
  readonly gap?: number;
  /** Grey level, 0 to 255, of gaps and empty places. Default 255, white. */
  readonly background?: number;
  /** The values that become black and full intensity; what lies outside is clamped. Default [-1, 1]. */
  readonly range?: readonly [low: number, high: number];
}

const opaque = 255;

/** The bytes of a PNG file with 8 bits a channel. */
export function encodePng(picture: Picture): Uint8Array {
  expectPicture("writePng", picture);
  const { data, height, width, channels } = picture;
  return encode({ data: data instanceof Float32Array ? toBytes(data) : data, height, width, channels, depth: 8 });
}

/** Writes a picture as a PNG file with 8 bits a channel, whole or not at all. Throws ArgumentError for NaN. */
export async function writePng(path: string, picture: Picture): Promise<void> {
  await writeFileAtomically(path, [encodePng(picture)]);
}

/**
 * Reads the bytes of a PNG file of any kind; `file` is its name for error messages. Grey with alpha becomes RGBA; a
 * colour that the file marks as transparent stays that colour.
 */
export function decodePng(
  bytes: Uint8Array,
  { op = "readPng", file = "the given buffer" } = {},
): Picture<Float32Array> {
  let png: DecodedPng;
  try {
    png = decode(bytes, { checkCrc: true });
    if (png.palette !== undefined) return fromPalette(png, png.palette);
  } catch (cause) {
    const problem = `${file} is not a readable PNG file: ${(cause as Error).message.replace(/\.?$/, ".")}`;
    const other = otherFormat(bytes);
    const advice = other && `It looks like ${other}: convert it to PNG first.`;
    throw new FormatError({ op, problem, advice, cause });
  }
  const { height, width, channels } = png;
  const data = Float32Array.from(unpackSamples(png), (sample) => sample / (2 ** png.depth - 1));
  if (channels === 2) return { data: greyAlphaToRgba(data), height, width, channels: 4 };
  return { data, height, width, channels };
}

/** How files of other formats begin. */
const beginnings: readonly (readonly [name: string, beginning: RegExp])[] = [
  ["a JPEG", /^\xff\xd8\xff/],
  ["a GIF", /^GIF8/],
  ["a WebP picture", /^RIFF....WEBP/s],
  ["a BMP", /^BM/],
  ["a TIFF", /^(II\*\0|MM\0\*)/],
  ["an AVIF or HEIC picture", /^....ftyp/s],
  ["an SVG or XML file", /^\s*</],
];

function otherFormat(bytes: Uint8Array): string | undefined {
  const beginning = Buffer.from(bytes.subarray(0, 16)).toString("latin1");
  return beginnings.find(([, pattern]) => pattern.test(beginning))?.[0];
}

/** Reads a PNG file of any kind into values in [0, 1]. */
export async function readPng(path: string): Promise<Picture<Float32Array>> {
  return loadPng("readPng", path);
}

/** Reads a PNG file on behalf of `op`. */
export async function loadPng(op: string, path: string): Promise<Picture<Float32Array>> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new ArgumentError({ op, problem: `${path} cannot be read (${(cause as Error).message}).`, cause });
  });
  return decodePng(bytes, { op, file: path });
}

/** The same picture in grey, RGB or RGBA; see `fromImage`. */
export function withChannels(op: string, picture: Picture<Float32Array>, channels: Channels): Picture<Float32Array> {
  if (![1, 3, 4].includes(channels))
    throw new ArgumentError({
      op,
      problem: `channels is ${String(channels)}, expected 1 (grey), 3 (RGB) or 4 (RGBA).`,
    });
  const from = picture.channels;
  if (from === channels) return picture;
  const data = new Float32Array((picture.data.length / from) * channels);
  for (let source = 0, target = 0; target < data.length; source += from, target += channels) {
    const pixel = picture.data.subarray(source, source + from);
    const [red, green, blue] = from === 1 ? [pixel[0], pixel[0], pixel[0]] : pixel;
    if (channels === 1) data[target] = 0.299 * red + 0.587 * green + 0.114 * blue;
    else data.set([red, green, blue, 1].slice(0, channels), target);
  }
  return { ...picture, data, channels };
}

/** Lays pictures out in rows, from the top left, as one picture. */
export function gridImage(pictures: Pictures, options: GridOptions = {}, op = "grid"): Picture<Uint8Array> {
  const [count, height, width, channels] = expectPictures(op, pictures);
  const { columns = Math.ceil(Math.sqrt(count)), enlarge = 1, gap = 0, background = 255, range = [-1, 1] } = options;
  expectInteger(op, "columns", columns, 1);
  expectInteger(op, "enlarge", enlarge, 1);
  expectInteger(op, "gap", gap, 0);
  expectInteger(op, "background", background, 0, 255);
  expectRange(op, range);
  const [low, high] = range;

  const rows = Math.ceil(count / columns);
  const [cellHeight, cellWidth] = [height * enlarge + gap, width * enlarge + gap];
  const [gridHeight, gridWidth] = [rows * cellHeight - gap, Math.min(columns, count) * cellWidth - gap];
  const grid = blank(gridHeight, gridWidth, channels, background);
  for (let n = 0; n < count; n++) {
    const [top, left] = [Math.floor(n / columns) * cellHeight, (n % columns) * cellWidth];
    for (let y = 0; y < height * enlarge; y++)
      for (let x = 0; x < width * enlarge; x++) {
        const source = ((n * height + Math.floor(y / enlarge)) * width + Math.floor(x / enlarge)) * channels;
        const target = ((top + y) * gridWidth + left + x) * channels;
        for (let c = 0; c < channels; c++) {
          const value = pictures.data[source + c];
          if (Number.isNaN(value)) throw nanAt(op, source + c, [count, height, width, channels]);
          grid[target + c] = toByte((value - low) / (high - low));
        }
      }
  }
  return { data: grid, height: gridHeight, width: gridWidth, channels };
}

function blank(height: number, width: number, channels: number, grey: number): Uint8Array {
  const data = new Uint8Array(height * width * channels).fill(grey);
  if (channels === 4) for (let i = 3; i < data.length; i += 4) data[i] = opaque;
  return data;
}

function toUnit(value: number): number {
  return Math.min(Math.max(value, 0), 1);
}

function toByte(value: number): number {
  return Math.round(toUnit(value) * 255);
}

function toBytes(data: Float32Array): Uint8Array {
  const nan = data.findIndex((value) => Number.isNaN(value));
  if (nan >= 0) throw nanAt("writePng", nan, [data.length]);
  return Uint8Array.from(data, toByte);
}

/** One number for each sample, where depths below 8 pack several into a byte (each row begins a new one). */
function unpackSamples({ data, depth, width, height }: DecodedPng): ArrayLike<number> {
  if (depth >= 8) return data;
  const rowBytes = Math.ceil((width * depth) / 8);
  return Array.from({ length: height * width }, (_, i) => {
    const [y, bit] = [Math.floor(i / width), (i % width) * depth];
    return (data[y * rowBytes + (bit >> 3)] >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
  });
}

function fromPalette(png: DecodedPng, palette: readonly (readonly number[])[]): Picture<Float32Array> {
  const data = Float32Array.from(convertIndexedToRgb(png), (byte) => byte / 255);
  return { data, height: png.height, width: png.width, channels: palette[0].length };
}

function greyAlphaToRgba(data: Float32Array): Float32Array {
  return Float32Array.from({ length: data.length * 2 }, (_, i) => data[2 * (i >> 2) + ((i & 3) === 3 ? 1 : 0)]);
}

/** Whether a value from outside looks like a picture; `expectPicture` says whether its sizes fit. */
export function isPicture(value: unknown): value is Picture {
  const { data } = (value ?? {}) as Partial<Picture>;
  return data instanceof Float32Array || data instanceof Uint8Array;
}

/** What a picture is, for error messages. */
export const aPicture = "{ data, height, width, channels } with bytes or floats, as grid and readPng give it";

/** The same picture with values in [0, 1], as they are read from files. */
export function withFloats(op: string, picture: Picture): Picture<Float32Array> {
  expectPicture(op, picture);
  const { data } = picture;
  const unit = data instanceof Float32Array ? data.map(toUnit) : Float32Array.from(data, (byte) => byte / 255);
  return { ...picture, data: unit };
}

function expectPicture(op: string, picture: Picture): void {
  if (!isPicture(picture))
    throw new ArgumentError({ op, problem: `the picture is ${showValue(picture)}, expected ${aPicture}.` });
  const { data, height, width, channels } = picture;
  const shape = [height, width, channels];
  if (!shape.every((n) => Number.isSafeInteger(n) && n > 0) || height * width * channels !== data.length)
    throw new ShapeError({ op, problem: `${data.length} values do not fill a picture of ${showShape(shape)}.` });
  expectChannels(op, channels);
}

function expectPictures(op: string, { data, shape }: Pictures): [number, number, number, number] {
  const [count, height, width, channels] = shape;
  if (shape.length !== 4 || !shape.every((n) => Number.isSafeInteger(n) && n > 0))
    throw new ShapeError({
      op,
      problem: `the pictures have shape ${showShape(shape)}, expected [N, H, W, C] with no size of 0.`,
    });
  if (count * height * width * channels !== data.length)
    throw new ShapeError({ op, problem: `${data.length} values do not fill ${showShape(shape)}.` });
  expectChannels(op, channels);
  return [count, height, width, channels];
}

function expectChannels(op: string, channels: number): void {
  if (channels !== 1 && channels !== 3 && channels !== 4)
    throw new ShapeError({
      op,
      problem: `a picture has ${channels} channels, expected 1 (grey), 3 (RGB) or 4 (RGBA).`,
    });
}

/** Refuses a range of values that is none. */
export function expectRange(op: string, range: readonly [low: number, high: number]): void {
  const [low, high] = range;
  if (range.length !== 2 || !(low < high) || !Number.isFinite(high - low))
    throw new ArgumentError({ op, problem: `range is [${range.join(", ")}], expected [low, high], low < high.` });
}

function expectInteger(op: string, name: string, value: number, low: number, high = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    const bounds = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`;
    throw new ArgumentError({ op, problem: `${name} is ${value}, expected an integer ${bounds}.` });
  }
}

function nanAt(op: string, position: number, shape: readonly number[]): ArgumentError {
  const index = shape.map((_, axis) => {
    const stride = shape.slice(axis + 1).reduce((product, n) => product * n, 1);
    return Math.floor(position / stride) % shape[axis];
  });
  return new ArgumentError({ op, problem: `the value at ${showShape(index)} is NaN, which has no colour.` });
}
