// Text in columns, and numbers that are easy to take in.

/** Columns side by side; those whose numbers are given lean to the right. The first row has all columns. */
export function aligned(rows: readonly string[][], rightColumns: readonly number[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => (row.at(column) ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (rightColumns.includes(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd(),
  );
}

/** `1.5 MiB`. */
export function showBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB"];
  const power = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(1)} ${units[power - 1]}`;
}

/** `2.3 G`. */
export function showCount(count: number): string {
  const units = ["", "k", "M", "G", "T"];
  const power = Math.min(units.length - 1, count < 1000 ? 0 : Math.floor(Math.log10(count) / 3));
  return power === 0 ? String(count) : `${(count / 1000 ** power).toFixed(1)} ${units[power]}`;
}
