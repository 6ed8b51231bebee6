// The golden suite's own judgement: what it must not let pass.

import { expect } from "chai";
import { expectClose, expectRelativeL2 } from "./golden-suite/compare.ts";
import type { Numbers } from "./golden-suite/data-set.ts";

const numbers = (...data: number[]): Numbers => ({
  data: Float64Array.from(data),
  shape: [data.length],
  dtype: "float32",
});

describe("golden comparisons", () => {
  const tolerance = { rtol: 0.01, atol: 0 };

  it("take what is close enough", () => {
    expectClose("x", numbers(1, NaN, Infinity), numbers(1.005, NaN, Infinity), tolerance);
    expectRelativeL2("x", numbers(1, 2), numbers(1.005, 2), 0.01);
    expectRelativeL2("x", numbers(0, 0), numbers(0, 0), 0.01);
  });

  it("refuse what is further away, not a number, or of another shape", () => {
    for (const wrong of [numbers(1.1, 2), numbers(NaN, 2), numbers(Infinity, 2), numbers(1)]) {
      expect(() => expectClose("x", wrong, numbers(1, 2), tolerance)).to.throw(/^x/);
      expect(() => expectRelativeL2("x", wrong, numbers(1, 2), 0.01)).to.throw(/^x/);
    }
    expect(() => expectRelativeL2("x", numbers(1), numbers(0), 0.01)).to.throw(/^x/);
  });
});
