// How far a float32 result may be from the float64 one: a few roundings, more for long sums.

import type { Case, Value } from "./draw.ts";
import { magnitudeOf } from "./draw.ts";

/** Half the distance between 1 and the next float32: what one rounding may do. */
const unit = 2 ** -24;

/** How many terms each sum has. */
export function termsOf(c: Case, output: Value): number {
  const types = c.inputs.map((value) => value?.type);
  if (c.op.terms) return c.op.terms(types, c.attributes);
  const largest = Math.max(1, ...c.inputs.map((value) => value?.elements.length ?? 0));
  return Math.max(1, largest / Math.max(1, output.elements.length));
}

/**
 * Refuses the first element of `got` that is further from `expected` than rounding explains. Where both were rounded, `times`
 * says how often as much.
 */
export function expectClose(c: Case, got: Value, expected: Value, times = 1): void {
  if (got.elements.length !== expected.elements.length)
    throw new Error(`${got.elements.length} elements, expected ${expected.elements.length}`);
  const isExact = c.op.exact === true || got.type.dtype === "int32";
  const magnitude = magnitudeOf(expected);
  const absolute = isExact ? 0 : times * 4 * unit * Math.sqrt(termsOf(c, expected)) * magnitude;
  const relative = isExact ? 0 : times * 8 * unit;
  for (let i = 0; i < got.elements.length; i++) {
    const [a, b] = [got.elements[i], expected.elements[i]];
    if (Object.is(a, b) || a === b || Math.abs(a - b) <= absolute + relative * Math.abs(b)) continue;
    throw new Error(`element ${i} is ${a}, expected ${b} within ${absolute + relative * Math.abs(b)}`);
  }
}

/** The first element at which two values differ in any bit, or undefined. */
export function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): string | undefined {
  if (a.length !== b.length) return `${a.length} elements and ${b.length}`;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return `element ${i} is ${a[i]} and ${b[i]}`;
  return undefined;
}
