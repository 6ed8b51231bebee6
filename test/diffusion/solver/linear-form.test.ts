// LinearForm: sums of named tensors behave as what they are written as.

import { expect } from "chai";
import fc from "fast-check";
import { LinearForm } from "langevin";

const names = ["x", "output", "noise"];

/** A form and what it is for given values of its sources. */
function evaluate(form: LinearForm, values: Readonly<Record<string, number>>): number {
  return form.sources.reduce((sum, source) => sum + form.coefficient(source) * values[source], 0);
}

const arbitraryForm = fc
  .tuple(...names.map(() => fc.integer({ min: -8, max: 8 })))
  .map((factors) =>
    factors.reduce((sum, factor, i) => sum.plus(LinearForm.of(names[i]).times(factor)), LinearForm.zero),
  );
const arbitraryValues = fc
  .tuple(...names.map(() => fc.integer({ min: -8, max: 8 })))
  .map((values) => Object.fromEntries(values.map((value, i) => [names[i], value])));

describe("LinearForm", () => {
  it("adds, subtracts, multiplies and divides like numbers", () => {
    fc.assert(
      fc.property(arbitraryForm, arbitraryForm, arbitraryValues, fc.integer({ min: -8, max: 8 }), (a, b, values, k) => {
        const [va, vb] = [evaluate(a, values), evaluate(b, values)];
        expect(evaluate(a.plus(b), values)).to.equal(va + vb);
        expect(evaluate(a.minus(b), values)).to.equal(va - vb);
        expect(evaluate(a.times(k), values)).to.equal(va * k || 0);
        expect(evaluate(a.over(4), values)).to.equal(va / 4);
      }),
    );
  });

  it("does not change", () => {
    const x = LinearForm.of("x");
    x.plus(LinearForm.of("y")).times(3);
    expect([x.sources, x.coefficient("x"), x.coefficient("y")]).to.deep.equal([["x"], 1, 0]);
  });

  it("times 0 is nothing at all, whatever the coefficients", () => {
    expect(LinearForm.of("x").over(0).times(0).sources).to.deep.equal([]);
    expect(LinearForm.zero.sources).to.deep.equal([]);
  });
});
