// Sums of products, which is where the time goes: 4x4 tiles over operands packed in panels of four lanes, in double.
//
// Convolutions and matrix products differ only in how panels are packed. A panel holds, for each term k of the sum, four
// lanes (four output rows, or four output columns) side by side, so that the inner loop reads both operands in order.
// Every output is one sum in the order of k, whatever tile it falls into.

import type { ElementArray } from "../executor.ts";
import type { View } from "./view.ts";

/** Rows and columns of a tile: sixteen sums and eight factors are what a compiler of scalar code still handles well. */
export const lanes = 4;

/** Number of panels that hold `n` rows or columns. */
export function panelsOf(n: number): number {
  return Math.ceil(n / lanes);
}

/**
 * tile[i, j] += sum over k of a[k, i] b[k, j]. The terms come in `groups` of `length`: a has them one after the other
 * from `a0`, b has group g at b0 + bGroups[g].
 */
export function multiplyPanels(
  a: Float64Array,
  a0: number,
  b: Float64Array,
  b0: number,
  bGroups: Int32Array,
  groups: number,
  length: number,
  tile: Float64Array,
  tile0: number,
): void {
  let t00 = tile[tile0];
  let t01 = tile[tile0 + 1];
  let t02 = tile[tile0 + 2];
  let t03 = tile[tile0 + 3];
  let t10 = tile[tile0 + 4];
  let t11 = tile[tile0 + 5];
  let t12 = tile[tile0 + 6];
  let t13 = tile[tile0 + 7];
  let t20 = tile[tile0 + 8];
  let t21 = tile[tile0 + 9];
  let t22 = tile[tile0 + 10];
  let t23 = tile[tile0 + 11];
  let t30 = tile[tile0 + 12];
  let t31 = tile[tile0 + 13];
  let t32 = tile[tile0 + 14];
  let t33 = tile[tile0 + 15];
  let i = a0;
  for (let g = 0; g < groups; g++) {
    let j = b0 + bGroups[g];
    for (const end = j + length * lanes; j < end; j += lanes, i += lanes) {
      const b0 = b[j];
      const b1 = b[j + 1];
      const b2 = b[j + 2];
      const b3 = b[j + 3];
      const a0 = a[i];
      t00 += a0 * b0;
      t01 += a0 * b1;
      t02 += a0 * b2;
      t03 += a0 * b3;
      const a1 = a[i + 1];
      t10 += a1 * b0;
      t11 += a1 * b1;
      t12 += a1 * b2;
      t13 += a1 * b3;
      const a2 = a[i + 2];
      t20 += a2 * b0;
      t21 += a2 * b1;
      t22 += a2 * b2;
      t23 += a2 * b3;
      const a3 = a[i + 3];
      t30 += a3 * b0;
      t31 += a3 * b1;
      t32 += a3 * b2;
      t33 += a3 * b3;
    }
  }
  tile[tile0] = t00;
  tile[tile0 + 1] = t01;
  tile[tile0 + 2] = t02;
  tile[tile0 + 3] = t03;
  tile[tile0 + 4] = t10;
  tile[tile0 + 5] = t11;
  tile[tile0 + 6] = t12;
  tile[tile0 + 7] = t13;
  tile[tile0 + 8] = t20;
  tile[tile0 + 9] = t21;
  tile[tile0 + 10] = t22;
  tile[tile0 + 11] = t23;
  tile[tile0 + 12] = t30;
  tile[tile0 + 13] = t31;
  tile[tile0 + 14] = t32;
  tile[tile0 + 15] = t33;
}

/** Fills one lane of a panel with `length` adjacent elements: the lane is a row of the source. */
export function packLane(
  panel: Float64Array,
  panel0: number,
  lane: number,
  source: ElementArray,
  source0: number,
  length: number,
): void {
  for (let k = 0, to = panel0 + lane; k < length; k++, to += lanes) panel[to] = source[source0 + k];
}

/** Fills one lane with zeros: lanes beyond the last row, whose sums nobody stores. */
export function clearLane(panel: Float64Array, panel0: number, lane: number, length: number): void {
  for (let k = 0, to = panel0 + lane; k < length; k++, to += lanes) panel[to] = 0;
}

/**
 * Fills term k of all panels with `width` adjacent elements: lanes are columns of the source. Panels begin
 * `panelSize` elements apart.
 */
export function packTerm(
  panels: Float64Array,
  panelSize: number,
  k: number,
  source: ElementArray,
  source0: number,
  width: number,
): void {
  let to = k * lanes;
  let column = 0;
  for (; column + lanes <= width; column += lanes, to += panelSize) {
    const from = source0 + column;
    panels[to] = source[from];
    panels[to + 1] = source[from + 1];
    panels[to + 2] = source[from + 2];
    panels[to + 3] = source[from + 3];
  }
  if (column < width)
    for (let lane = 0; lane < lanes; lane++)
      panels[to + lane] = column + lane < width ? source[source0 + column + lane] : 0;
}

/** Stores row i of a tile at columns col, ... of the output row that begins at `start`, with the bias added. */
export function storeTileRow(
  tile: Float64Array,
  i: number,
  y: View,
  start: number,
  bias: View | undefined,
  col: number,
  cols: number,
): void {
  const width = Math.min(lanes, cols - col);
  for (let j = 0; j < width; j++) {
    const sum = tile[i * lanes + j];
    y.data[start + col + j] = bias ? sum + bias.data[bias.offset + col + j] : sum;
  }
}

/** Memory that a kernel packs into; it stays allocated for the next one. */
export class Workspace {
  #memory = new Float64Array(0);

  /** At least `length` elements with any content. */
  get(length: number): Float64Array {
    if (this.#memory.length < length) this.#memory = new Float64Array(length);
    return this.#memory;
  }
}
