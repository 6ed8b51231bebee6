// How users give the sizes, steps and margins of windows over images.

import { ArgumentError, showValue } from "../../errors/index.ts";
import { expectIntegers } from "../../ops/checks.ts";

/** One number for both directions, or [y, x]. */
export type Pair = number | readonly [y: number, x: number];
/** One number for all sides, [y, x], or [top, bottom, left, right]. */
export type Padding = Pair | readonly [top: number, bottom: number, left: number, right: number];

/** [y, x] of a number or a pair. */
export function both(value: Pair): readonly [number, number] {
  return typeof value === "number" ? [value, value] : value;
}

/** [y, x] of integers of at least `least`; others throw ArgumentError, in which `name` is what the option is called. */
export function pair(op: string, name: string, value: Pair, least: number): readonly [number, number] {
  const sizes = both(value);
  expectIntegers(op, name, sizes, 2, least);
  return sizes;
}

/** [top, bottom, left, right] of any form of padding; throws ArgumentError for what is none. */
export function sides(op: string, value: Padding): readonly number[] {
  const given: unknown = value;
  if (typeof given !== "number" && !(Array.isArray(given) && (given.length === 2 || given.length === 4)))
    throw new ArgumentError({
      op,
      problem: `padding is ${showValue(given)}.`,
      advice:
        typeof given === "string"
          ? 'Give a number, [y, x] or [top, bottom, left, right]; "valid" is 0, and "same" is (kernel - 1) / 2.'
          : "Give a number, [y, x] or [top, bottom, left, right].",
    });
  const [y, x, ...others] = typeof value === "number" ? [value, value] : value;
  const all = others.length > 0 ? [y, x, ...others] : [y, y, x, x];
  expectIntegers(op, "padding", all, 4, 0);
  return all;
}
