// How users give the sizes, steps and margins of windows over images.

/** One number for both directions, or [y, x]. */
export type Pair = number | readonly [y: number, x: number];
/** One number for all sides, [y, x], or [top, bottom, left, right]. */
export type Padding = Pair | readonly [top: number, bottom: number, left: number, right: number];

/** [y, x] of a number or a pair. */
export function pair(value: Pair): readonly [number, number] {
  return typeof value === "number" ? [value, value] : value;
}

/** [top, bottom, left, right] of any form of padding. */
export function sides(value: Padding): readonly number[] {
  if (typeof value === "number") return [value, value, value, value];
  return value.length === 2 ? [value[0], value[0], value[1], value[1]] : value;
}
