// A table of pictures as one picture, with words beside its rows and above its columns.

import type { Picture } from "langevin";
import { inkOf, lineHeight, textWidth } from "./pixel-font.ts";

/** What is in the table. */
export interface LabelledGrid {
  /** The words beside each row. */
  readonly rows: readonly string[];
  /** The words above each column, if any. */
  readonly columns?: readonly string[];
  /** The grey pictures in each row, all of one size. */
  readonly cells: readonly (readonly Picture<Uint8Array>[])[];
  /** Pixels between cells, and around the table; default 12. */
  readonly gap?: number;
  /** Each pixel of the font becomes a square of this many; default 2. */
  readonly fontScale?: number;
}

const [white, black] = [255, 0];

/** Lays the table out: black words on white. */
export function labelledGrid({
  rows,
  columns = [],
  cells,
  gap = 12,
  fontScale = 2,
}: LabelledGrid): Picture<Uint8Array> {
  const { width: cellWidth, height: cellHeight } = cells[0][0];
  const left = gap + Math.max(...rows.map(textWidth)) * fontScale + gap;
  const top = gap + (columns.length > 0 ? lineHeight * fontScale : 0);
  const width = left + cells[0].length * (cellWidth + gap);
  const height = top + rows.length * (cellHeight + gap);
  const canvas = { data: new Uint8Array(width * height).fill(white), width, height, channels: 1 };
  const [across, down] = [(column: number) => left + column * (cellWidth + gap), (row: number) => top + row * (cellHeight + gap)]; // prettier-ignore

  columns.forEach((text, column) => {
    const middle = across(column) + cellWidth / 2;
    write(canvas, text, { row: gap / 2, column: middle - (textWidth(text) * fontScale) / 2, scale: fontScale });
  });
  rows.forEach((text, row) => {
    const middle = down(row) + cellHeight / 2;
    write(canvas, text, { row: middle - (lineHeight * fontScale) / 2, column: gap, scale: fontScale });
    cells[row].forEach((cell, column) => paste(canvas, cell, { row: down(row), column: across(column) }));
  });
  return canvas;
}

/** Copies a grey picture to a place on another. */
function paste(canvas: Picture<Uint8Array>, picture: Picture<Uint8Array>, at: { row: number; column: number }): void {
  for (let row = 0; row < picture.height; row++) {
    const line = picture.data.subarray(row * picture.width, (row + 1) * picture.width);
    canvas.data.set(line, (at.row + row) * canvas.width + at.column);
  }
}

/** Writes a text with its top left corner at a place. */
function write(canvas: Picture<Uint8Array>, text: string, at: { row: number; column: number; scale: number }): void {
  for (const [row, column] of inkOf(text)) {
    const [top, left] = [Math.round(at.row) + row * at.scale, Math.round(at.column) + column * at.scale];
    for (let y = top; y < top + at.scale; y++) canvas.data.fill(black, y * canvas.width + left, y * canvas.width + left + at.scale); // prettier-ignore
  }
}
