// The fixed position embedding of DiT: sines and cosines of a patch's column and row.

/**
 * Positions of the patches of a grid of rows x columns, row by row, as [rows columns, width] numbers: the first half of the
 * width tells the column, the second the row, each as width / 4 sines and then as many cosines, at the frequencies
 * 10000^(-i / (width / 4)) (Vaswani et al. 2017, section 3.5; DiT's `get_2d_sincos_pos_embed`). width is divisible by 4.
 */
export function sinCosPositions(width: number, rows: number, columns: number): Float64Array {
  const quarter = width / 4;
  const frequencies = Float64Array.from({ length: quarter }, (_, i) => 10_000 ** (-i / quarter));
  const table = new Float64Array(rows * columns * width);
  const write = (at: number, position: number): void => {
    frequencies.forEach((frequency, i) => {
      table[at + i] = Math.sin(position * frequency);
      table[at + quarter + i] = Math.cos(position * frequency);
    });
  };
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const at = (row * columns + column) * width;
      write(at, column);
      write(at + 2 * quarter, row);
    }
  return table;
}
