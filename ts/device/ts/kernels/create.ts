// Constants, seeded noise, uniform numbers and integers.

import type { NoiseKey } from "../noise.ts";
import { NoiseStream, highProduct, uniform } from "../noise.ts";
import type { Kernel, View } from "../view.ts";
import { imagesOf } from "../view.ts";

export const fill: Kernel<{ readonly value: number }> = ({ data, offset, rows, cols, pitch }, _, { value }) => {
  for (let row = 0; row < rows; row++) data.fill(value, offset + row * pitch, offset + row * pitch + cols);
};

/** Writes four values to `values` from what `stream` draws next. */
type Quad<T> = (stream: NoiseStream, row: number, quad: number, values: T) => void;

/** Fills y image by image, four elements of an image at a time. */
function fillByQuads<T extends Int32Array | Float32Array>(y: View, key: NoiseKey, values: T, draw: Quad<T>): void {
  const stream = new NoiseStream(key);
  const images = imagesOf(y);
  for (let image = 0; image < images.count; image++)
    for (let row = 0, e = 0; row < images.rows; row++) {
      const start = y.offset + image * images.stride + row * images.pitch;
      for (let col = 0; col < images.cols; col++, e++) {
        if ((e & 3) === 0) draw(stream, image, e >>> 2, values);
        y.data[start + col] = values[e & 3];
      }
    }
}

function drawNormals(stream: NoiseStream, row: number, quad: number, values: Float32Array): void {
  stream.drawNormals(row, quad);
  values.set(stream.normals);
}

export const randn: Kernel<NoiseKey> = (y, _, key) => fillByQuads(y, key, new Float32Array(4), drawNormals);

interface Range {
  readonly low: number;
  readonly high: number;
}

export const rand: Kernel<NoiseKey & Range> = (y, _, { low, high, ...key }) => {
  const start = Math.fround(low);
  const width = Math.fround(Math.fround(high) - start);
  fillByQuads(y, key, new Float32Array(4), (stream, row, quad, values) => {
    stream.drawWords(row, quad);
    for (let k = 0; k < 4; k++) values[k] = start + Math.fround(width * uniform(stream.words[k]));
  });
};

export const randint: Kernel<NoiseKey & Range> = (y, _, { low, high, ...key }) => {
  const count = high - low;
  fillByQuads(y, key, new Int32Array(4), (stream, row, quad, values) => {
    stream.drawWords(row, quad);
    for (let k = 0; k < 4; k++) values[k] = low + highProduct(stream.words[k], count);
  });
};
