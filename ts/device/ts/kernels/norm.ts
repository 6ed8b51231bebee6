// Group and layer normalisation and their gradients. Both normalise cells of elements, which lie in pieces of adjacent ones.

import type { Kernel, View } from "../view.ts";

/** How an operand falls into cells: `abreast` of them lie side by side in `pieces` rows of `width` columns each. */
interface Cells {
  readonly count: number;
  readonly abreast: number;
  readonly pieces: number;
  readonly width: number;
  /** Whether each piece has weights of its own (the trailing axes), or all have the same (the pixels of a group). */
  readonly ownWeights: boolean;
  /** Whether the mean is subtracted. */
  readonly center: boolean;
  readonly epsilon: number;
}

interface Grouping {
  readonly groups: number;
  readonly epsilon: number;
}

/** A cell is a group of channels of an image. */
function groupCells(x: View, { groups, epsilon }: Grouping): Cells {
  const images = x.shape[0];
  const pieces = x.rows / Math.max(1, images);
  const shape = { count: images * groups, abreast: groups, pieces, width: x.cols / groups };
  return { ...shape, ownWeights: false, center: true, epsilon };
}

interface Trailing {
  readonly axes: number;
  readonly epsilon: number;
  readonly center: boolean;
}

/** A cell is what the last axes span. */
function layerCells(x: View, { axes, epsilon, center }: Trailing): Cells {
  const rank = x.shape.length;
  const pieces = x.shape.slice(rank - axes, rank - 1).reduce((product, n) => product * n, 1);
  const shape = { count: x.rows / Math.max(1, pieces), abreast: 1, pieces, width: x.cols };
  return { ...shape, ownWeights: true, center, epsilon };
}

/** Where a cell begins in an operand of x's shape. */
function startOf(view: View, cells: Cells, cell: number): number {
  const side = cell % cells.abreast;
  return view.offset + ((cell - side) / cells.abreast) * cells.pieces * view.pitch + side * cells.width;
}

/** Where the weights of a piece of a cell begin. */
function weightsOf(view: View, cells: Cells, cell: number, piece: number): number {
  return view.offset + (cells.ownWeights ? piece * view.pitch : (cell % cells.abreast) * cells.width);
}

interface Moments {
  readonly mean: number;
  /** 1 / sqrt(variance + epsilon). */
  readonly scale: number;
}

function momentsOf(x: View, cells: Cells, cell: number): Moments {
  const { pieces, width } = cells;
  const start = startOf(x, cells, cell);
  const count = pieces * width;
  let mean = 0;
  if (cells.center) {
    for (let piece = 0; piece < pieces; piece++)
      for (let c = 0, at = start + piece * x.pitch; c < width; c++) mean += x.data[at + c];
    mean /= count;
  }
  let squares = 0;
  for (let piece = 0; piece < pieces; piece++)
    for (let c = 0, at = start + piece * x.pitch; c < width; c++) squares += (x.data[at + c] - mean) ** 2;
  return { mean, scale: 1 / Math.sqrt(squares / count + cells.epsilon) };
}

/** A weight's element, or 1 where there is none. */
const orOne = (weight: View | undefined, position: number): number => (weight ? weight.data[position] : 1);

function normalise(cells: Cells, y: View, x: View, weight: View | undefined, bias: View | undefined): void {
  for (let cell = 0; cell < cells.count; cell++) {
    const { mean, scale } = momentsOf(x, cells, cell);
    const [from, to] = [startOf(x, cells, cell), startOf(y, cells, cell)];
    for (let piece = 0; piece < cells.pieces; piece++) {
      const w = weight ? weightsOf(weight, cells, cell, piece) : 0;
      const b = bias ? weightsOf(bias, cells, cell, piece) : 0;
      for (let c = 0; c < cells.width; c++) {
        const z = (x.data[from + piece * x.pitch + c] - mean) * scale;
        y.data[to + piece * y.pitch + c] = z * orOne(weight, w + c) + (bias ? bias.data[b + c] : 0);
      }
    }
  }
}

/**
 * dx = scale (g - mean(g) - z mean(g z)) with g = dy weight and z the normalised x, then the sums over cells of dy z and of
 * dy: all one after the other in `flat`.
 */
function gradients(cells: Cells, flat: View, x: View, dy: View, weight: View | undefined): void {
  const { pieces, width } = cells;
  const count = pieces * width;
  const half = (flat.cols - x.rows * x.cols) / 2;
  const sums = new Float64Array(2 * half);
  const z = new Float64Array(count);
  const g = new Float64Array(count);
  for (let cell = 0; cell < cells.count; cell++) {
    const { mean, scale } = momentsOf(x, cells, cell);
    const [fromX, fromDy] = [x, dy].map((view) => startOf(view, cells, cell));
    let [sumG, sumGz] = [0, 0];
    for (let piece = 0, i = 0; piece < pieces; piece++) {
      const w = weight ? weightsOf(weight, cells, cell, piece) : 0;
      const to = cells.ownWeights ? piece * width : (cell % cells.abreast) * width;
      for (let c = 0; c < width; c++, i++) {
        const gradient = dy.data[fromDy + piece * dy.pitch + c];
        z[i] = (x.data[fromX + piece * x.pitch + c] - mean) * scale;
        g[i] = gradient * orOne(weight, w + c);
        sumG += g[i];
        sumGz += g[i] * z[i];
        sums[to + c] += gradient * z[i];
        sums[half + to + c] += gradient;
      }
    }
    const meanG = cells.center ? sumG / count : 0;
    const first = flat.offset + startOf({ ...x, offset: 0, pitch: x.cols }, cells, cell);
    for (let piece = 0, i = 0; piece < pieces; piece++)
      for (let c = 0; c < width; c++, i++)
        flat.data[first + piece * x.cols + c] = scale * (g[i] - meanG - (z[i] * sumGz) / count);
  }
  flat.data.set(sums, flat.offset + x.rows * x.cols);
}

export const groupNorm: Kernel<Grouping> = (y, [x, weight, bias], attributes) =>
  normalise(groupCells(x!, attributes), y, x!, weight, bias);

export const groupNormGradient: Kernel<Grouping> = (flat, [x, dy, weight], attributes) =>
  gradients(groupCells(x!, attributes), flat, x!, dy!, weight);

export const layerNorm: Kernel<Trailing> = (y, [x, weight, bias], attributes) =>
  normalise(layerCells(x!, attributes), y, x!, weight, bias);

export const layerNormGradient: Kernel<Trailing> = (flat, [x, dy, weight], attributes) =>
  gradients(layerCells(x!, attributes), flat, x!, dy!, weight);
