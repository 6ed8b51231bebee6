// Matrix product: both operands are packed into panels once, then multiplied tile by tile.

import type { Kernel, View } from "../view.ts";
import { Workspace, clearLane, lanes, multiplyPanels, packLane, packTerm, panelsOf, storeTileRow } from "../product.ts";

const workspaceA = new Workspace();
const workspaceB = new Workspace();
const oneGroup = new Int32Array(1);

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

export const matmul: Kernel<{ readonly transposeA: boolean; readonly transposeB: boolean }> = (
  y,
  [a, b, bias],
  { transposeA, transposeB },
) => {
  const terms = transposeA ? a!.rows : a!.cols;
  const panelsA = packMatrix(a!, transposeA, workspaceA);
  const panelsB = packMatrix(b!, !transposeB, workspaceB);
  const tile = new Float64Array(lanes * lanes);
  for (let row = 0; row < y.rows; row += lanes)
    for (let col = 0; col < y.cols; col += lanes) {
      tile.fill(0);
      multiplyPanels(panelsA, row * terms, panelsB, col * terms, oneGroup, 1, terms, tile, 0);
      for (let i = 0; i < lanes && row + i < y.rows; i++)
        storeTileRow(tile, i, y, y.offset + (row + i) * y.pitch, bias, col, y.cols);
    }
};
