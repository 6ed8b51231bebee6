// The search of results for numbers that are not finite.

import { showShape } from "../../errors/index.ts";
import type { View } from "./view.ts";

/** Says where the first NaN or infinity in row-major order lies; undefined where every number is finite. */
export function describeNonFinite({ data, offset, shape, pitch, rows, cols }: View): string | undefined {
  for (let row = 0; row < rows; row++)
    for (let col = 0, at = offset + row * pitch; col < cols; col++, at++)
      if (!Number.isFinite(data[at])) {
        const position = positionOf(row * cols + col, shape);
        return `element ${showShape(position)} of the result (shape ${showShape(shape)}) is ${data[at]}`;
      }
  return undefined;
}

function positionOf(element: number, shape: readonly number[]): number[] {
  const position = new Array<number>(shape.length);
  for (let axis = shape.length - 1, rest = element; axis >= 0; axis--) {
    position[axis] = rest % shape[axis];
    rest = Math.floor(rest / shape[axis]);
  }
  return position;
}
