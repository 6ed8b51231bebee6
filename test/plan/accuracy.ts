// How far a plan may be from the truth that rounds otherwise than eager does.

import { expect } from "chai";

const largest = (values: readonly number[]): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

function distance(a: readonly number[], b: readonly number[]): number {
  expect(a.length, "number of values").to.equal(b.length);
  return largest(a.map((x, i) => x - b[i]));
}

/** Refuses what errs more than twice as much as eager does, and more than storing the largest value in float32 does anyway. */
export function expectAsExactAsEager(got: readonly number[], eager: readonly number[], exact: readonly number[]): void {
  expect(got.every(Number.isFinite), "all finite").to.equal(true);
  expect(distance(got, exact)).to.be.at.most(2 * distance(eager, exact) + largest(exact) * 2 ** -24);
}
