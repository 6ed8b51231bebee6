// Matrix products: both operands are packed into panels once, then multiplied tile by tile.

import type { Shape } from "../../../ops/index.ts";
import type { Kernel, View } from "../view.ts";
import { Workspace, clearLane, lanes, multiplyPanels, packLane, packTerm, panelsOf, storeTileRow } from "../product.ts";

const workspaceA = new Workspace();
const workspaceB = new Workspace();
const oneGroup = new Int32Array(1);
const empty: Float64Array = new Float64Array(0);

/** Packs a matrix into panels of `terms` terms; its rows are the terms of the sums, or else the lanes. */
function packMatrix(x: View, rowsAreTerms: boolean, workspace: Workspace): Float64Array {
  const [count, terms] = rowsAreTerms ? [x.cols, x.rows] : [x.rows, x.cols];
  const panelSize = terms * lanes;
  const panels = workspace.get(panelsOf(count) * panelSize);
  if (rowsAreTerms)
    for (let k = 0; k < terms; k++) packTerm(panels, panelSize, k, x.data, x.offset + k * x.pitch, count);
  else
    for (let row = 0; row < panelsOf(count) * lanes; row++) {
      const panel0 = Math.floor(row / lanes) * panelSize;
      if (row < count) packLane(panels, panel0, row % lanes, x.data, x.offset + row * x.pitch, terms);
      else clearLane(panels, panel0, row % lanes, terms);
    }
  return panels;
}

/** All matrices of a batch under each other. */
function asMatrix(x: View): View {
  return { ...x, shape: [x.rows, x.cols] };
}

/** Matrix `index` of a batch, as a view of its own. */
function matrixAt(x: View, index: number): View {
  const rows = x.shape[x.shape.length - 2];
  return { ...x, offset: x.offset + index * rows * x.pitch, rows };
}

/** For each matrix of `batch` in row-major order, the number of the matrix of `x` that is broadcast to it. */
function matricesOf(x: View, batch: Shape): number[] {
  const own = x.shape.slice(0, -2);
  let numbers = [0];
  batch.forEach((size, axis) => {
    const n = own[axis - (batch.length - own.length)] ?? 1;
    numbers = numbers.flatMap((at) => Array.from({ length: size }, (_, i) => at * n + (n === 1 ? 0 : i)));
  });
  return numbers;
}

export const matmul: Kernel<{ readonly transposeA: boolean; readonly transposeB: boolean }> = (
  y,
  [a, b, bias],
  { transposeA, transposeB },
) => {
  if (b!.rows === b!.shape[b!.shape.length - 2] && !transposeA && y.shape.length > 2) {
    matmul(asMatrix(y), [asMatrix(a!), asMatrix(b!), bias], { transposeA, transposeB });
    return;
  }
  const batch = y.shape.slice(0, -2);
  const [numbersA, numbersB] = [matricesOf(a!, batch), matricesOf(b!, batch)];
  const terms = a!.shape[a!.shape.length - (transposeA ? 2 : 1)];
  const tile = new Float64Array(lanes * lanes);
  let panelsA = empty;
  let panelsB = empty;
  numbersA.forEach((numberA, i) => {
    if (i === 0 || numberA !== numbersA[i - 1]) panelsA = packMatrix(matrixAt(a!, numberA), transposeA, workspaceA);
    if (i === 0 || numbersB[i] !== numbersB[i - 1])
      panelsB = packMatrix(matrixAt(b!, numbersB[i]), !transposeB, workspaceB);
    const target = matrixAt(y, i);
    for (let row = 0; row < target.rows; row += lanes)
      for (let col = 0; col < y.cols; col += lanes) {
        tile.fill(0);
        multiplyPanels(panelsA, row * terms, panelsB, col * terms, oneGroup, 1, terms, tile, 0);
        for (let lane = 0; lane < lanes && row + lane < target.rows; lane++)
          storeTileRow(tile, lane, y, target.offset + (row + lane) * y.pitch, bias, col, y.cols);
      }
  });
};
