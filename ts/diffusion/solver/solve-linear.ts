// Small systems of linear equations in float64.

/** The solution w of matrix w = sides, by Gaussian elimination with the largest pivot of each column. */
export function solveLinear(matrix: readonly (readonly number[])[], sides: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, sides[i]]);
  const n = rows.length;
  for (let column = 0; column < n; column++) {
    const largest = rows.reduce(
      (best, row, i) => (i > column && Math.abs(row[column]) > Math.abs(rows[best][column]) ? i : best),
      column,
    );
    [rows[column], rows[largest]] = [rows[largest], rows[column]];
    for (let i = 0; i < n; i++) {
      if (i === column) continue;
      const factor = rows[i][column] / rows[column][column];
      for (let j = column; j <= n; j++) rows[i][j] -= factor * rows[column][j];
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}
