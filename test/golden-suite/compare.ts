// Judging results against golden numbers.

import type { Numbers } from "./data-set.ts";

/** |got - expected| <= atol + rtol |expected|, element by element. */
export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/** A result that is not what the golden data says. */
export class Mismatch extends Error {}

/** Throws unless every element is within the tolerance. NaN equals NaN, infinities equal themselves. */
export function expectClose(what: string, got: Numbers, expected: Numbers, { rtol, atol }: Tolerance): void {
  expectShape(what, got, expected);
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [got.data[i], expected.data[i]];
    const same = Object.is(a, b) || a === b;
    if (!same && !(Math.abs(a - b) <= atol + rtol * Math.abs(b)))
      throw new Mismatch(
        `${what}[${i}] is ${a}, expected ${b} (difference ${Math.abs(a - b)}, rtol ${rtol}, atol ${atol})`,
      );
  }
}

/** Throws unless ||got - expected|| <= limit * ||expected - from||; `from` is zero unless given. */
export function expectRelativeL2(what: string, got: Numbers, expected: Numbers, limit: number, from?: Numbers): void {
  expectShape(what, got, expected);
  let difference = 0;
  let norm = 0;
  expected.data.forEach((b, i) => {
    difference += (got.data[i] - b) ** 2;
    norm += (b - (from?.data[i] ?? 0)) ** 2;
  });
  const relative = Math.sqrt(difference) / Math.sqrt(norm);
  // Not `difference > 0`: NaN must not pass.
  if (difference !== 0 && !(relative <= limit))
    throw new Mismatch(`${what}: relative L2 error ${relative}, at most ${limit} allowed`);
}

function expectShape(what: string, got: Numbers, expected: Numbers): void {
  if (got.shape.join() !== expected.shape.join())
    throw new Mismatch(`${what} has shape [${got.shape.join()}], expected [${expected.shape.join()}]`);
}
