// Strict mode: every operation's result is read back and searched for NaN.

import { ArgumentError, NumericsError, showShape, showValue } from "../errors/index.ts";
import type { AnyOp, Shape } from "../ops/index.ts";
import type { Value } from "./value.ts";

let strict = false;

/** Whether results are being searched for NaN. */
export function strictMode(): boolean {
  return strict;
}

/**
 * Switches on or off a search for NaN in the result of every operation, in backward too (`jax_debug_nans`; PyTorch's
 * `detect_anomaly` looks at backward alone). The first operation that makes one throws NumericsError at its line. Each
 * operation then waits for its result, which costs much of the speed: for finding mistakes.
 */
export function setStrictMode(on: boolean): void {
  if (typeof on !== "boolean")
    throw new ArgumentError({ op: "setStrictMode", problem: `was given ${showValue(on)}, expected true or false.` });
  strict = on;
}

const arithmeticAdvice =
  "look for a division by 0, the logarithm or root of a negative number, or infinities that meet.";
const indexAdvice = "look for an index out of range; indexes go from 0 to n - 1 and do not count from the end.";

/** Whether an op takes elements as they are from where an index says: outside there is nothing but NaN. */
const picks = ({ exact, inputs }: AnyOp): boolean => exact === true && inputs.includes("index");

/** Throws if `result`, just computed or overwritten by `op`, contains NaN. */
export function expectNoNaN(op: AnyOp, inputs: readonly (Value<unknown> | undefined)[], result: Value<unknown>): void {
  const at = firstNaN(result);
  if (at < 0) return;
  const tainted = inputs.findIndex((input) => input && input !== result && firstNaN(input) >= 0);
  throw new NumericsError({
    op: op.name,
    problem: `element [${positionOf(at, result.shape).join(", ")}] of the result (shape ${showShape(result.shape)}) is NaN.`,
    advice:
      tainted < 0
        ? `No operand has a NaN: ${picks(op) ? indexAdvice : arithmeticAdvice}`
        : `Operand ${tainted + 1} of ${inputs.length} has one already: look at where it comes from.`,
  });
}

/** Position of the first NaN in row-major order, or -1. */
function firstNaN(value: Value<unknown>): number {
  if (value.dtype === "int32" || value.disposed) return -1;
  return value.elements("strict mode").findIndex((x) => Number.isNaN(x));
}

function positionOf(index: number, shape: Shape): number[] {
  let rest = index;
  return shape
    .map((_, i) => shape[shape.length - 1 - i])
    .map((size) => {
      const place = rest % size;
      rest = Math.floor(rest / size);
      return place;
    })
    .reverse();
}
