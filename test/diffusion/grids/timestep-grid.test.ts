// Grids of timesteps: numpy's rounding, what the solvers leave out, and the errors.

import { expect } from "chai";
import fc from "fast-check";
import { ArgumentError, consistencyGrid, pndmTimesteps, timestepGrid } from "langevin";
import { failure } from "../../failure.ts";

const spacing = fc.constantFrom("leading" as const, "linspace" as const, "trailing" as const);

describe("timestepGrid", () => {
  const train = { trainSteps: 1000 };

  it("of 10 steps is that of Lin et al. 2024, table 2", () => {
    expect([...timestepGrid({ ...train, steps: 10, spacing: "linspace" })]).to.deep.equal(
      [999, 888, 777, 666, 555, 444, 333, 222, 111, 0], // prettier-ignore
    );
    expect([...timestepGrid({ ...train, steps: 10, spacing: "leading" })]).to.deep.equal(
      [900, 800, 700, 600, 500, 400, 300, 200, 100, 0], // prettier-ignore
    );
    expect([...timestepGrid({ ...train, steps: 10, spacing: "trailing" })]).to.deep.equal(
      [999, 899, 799, 699, 599, 499, 399, 299, 199, 99], // prettier-ignore
    );
  });

  it("rounds halves to even: 937.5 and 812.5 of 16 trailing steps", () => {
    const grid = timestepGrid({ ...train, steps: 16, spacing: "trailing" });
    expect([...grid.slice(0, 5)]).to.deep.equal([999, 937, 874, 811, 749]);
  });

  it("adds the offset to leading timesteps alone", () => {
    expect([...timestepGrid({ ...train, steps: 2, spacing: "leading", offset: 1 })]).to.deep.equal([501, 1]);
    expect([...timestepGrid({ ...train, steps: 2, spacing: "trailing", offset: 1 })]).to.deep.equal([999, 499]);
  });

  it("leaves out the last point for solvers, keeps fractions, and stays below a bound", () => {
    const linspace = { ...train, spacing: "linspace" } as const;
    expect([...timestepGrid({ ...linspace, steps: 3, beforeZero: true })]).to.deep.equal([999, 666, 333]);
    expect([...timestepGrid({ ...linspace, steps: 3, fractional: true })]).to.deep.equal([999, 499.5, 0]);
    expect([...timestepGrid({ ...linspace, steps: 3, below: 901 })]).to.deep.equal([900, 450, 0]);
    const leading = timestepGrid({ ...train, steps: 4, spacing: "leading", beforeZero: true });
    expect([...leading]).to.deep.equal([800, 600, 400, 200]);
  });

  it("has as many timesteps as asked for, which descend within training, for every number of steps", () => {
    fc.assert(
      fc.property(spacing, fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 1000 }), (kind, a, b) => {
        const [steps, trainSteps] = [Math.min(a, b), Math.max(a, b)];
        const grid = timestepGrid({ steps, trainSteps, spacing: kind });
        expect(grid.length).to.equal(steps);
        grid.forEach((t, i) => {
          expect(Number.isInteger(t) && t >= 0 && t < (i === 0 ? trainSteps : grid[i - 1]), `${kind} ${t}`).to.equal(
            true,
          );
        });
      }),
    );
  });

  it("has 61 trailing timesteps of 1,000, where numpy.arange gives diffusers a 62nd at -1", () => {
    const grid = timestepGrid({ ...train, steps: 61, spacing: "trailing" });
    expect([grid.length, grid[60]]).to.deep.equal([61, 15]);
  });

  for (const [text, options] of [
    ["steps is 0, expected an integer from 1 to 1000.", { steps: 0, spacing: "leading" }],
    ["steps is 1001, expected an integer from 1 to 1000.", { steps: 1001, spacing: "leading" }],
    ["steps is 1.5, expected an integer from 1 to 1000.", { steps: 1.5, spacing: "linspace" }],
    ["the first timestep is 1000, beyond the last of training, 999: offset is 1.", { steps: 1000, spacing: "leading", offset: 1 }], // prettier-ignore
    ['"leading" spacing has no room for 1000 steps of a solver in 1000 timesteps: all would be 0.', { steps: 1000, spacing: "leading", beforeZero: true }], // prettier-ignore
    ['the spacing is "even".', { steps: 3, spacing: "even" as "leading" }],
  ] as const)
    it(`refuses: ${text}`, () => {
      const error = failure(() => timestepGrid({ ...train, ...options }));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message.startsWith(`timestepGrid: ${text}`), error.message).to.equal(true);
    });
});

describe("consistencyGrid", () => {
  it("takes timesteps of distillation only", () => {
    expect([...consistencyGrid({ steps: 4, trainSteps: 1000 })]).to.deep.equal([999, 759, 499, 259]);
    expect([...consistencyGrid({ steps: 1, trainSteps: 1000, originalSteps: 100 })]).to.deep.equal([999]);
    expect([...consistencyGrid({ steps: 2, trainSteps: 1000, strength: 0.5 })]).to.deep.equal([499, 259]);
  });

  it("refuses more steps than there are", () => {
    expect(failure(() => consistencyGrid({ steps: 26, trainSteps: 1000, strength: 0.5 })).message).to.equal(
      "consistencyGrid: steps is 26, expected an integer from 1 to 25. The model was distilled at 50 timesteps, of which a strength of 0.5 leaves 25.",
    );
    expect(failure(() => consistencyGrid({ steps: 1, trainSteps: 20 }))).to.be.instanceOf(ArgumentError);
  });
});

describe("pndmTimesteps", () => {
  const grid = Float64Array.of(800, 600, 400, 200, 0);

  it("starts with Runge-Kutta steps between four timesteps", () => {
    expect([...pndmTimesteps(grid, 200, { skipRungeKutta: false })]).to.deep.equal(
      [800, 700, 700, 600, 600, 500, 500, 400, 400, 300, 300, 200, 200, 0], // prettier-ignore
    );
  });

  it("without them makes the second timestep twice", () => {
    expect([...pndmTimesteps(grid, 200, { skipRungeKutta: true })]).to.deep.equal([800, 600, 600, 400, 200, 0]);
    expect([...pndmTimesteps(grid.slice(4), 1000, { skipRungeKutta: true })]).to.deep.equal([0]);
  });

  it("needs four timesteps with them", () => {
    expect(failure(() => pndmTimesteps(grid.slice(2), 333, { skipRungeKutta: false })).message).to.match(
      /^pndmTimesteps: PNDM starts with Runge-Kutta steps between four timesteps, and there are 3\./,
    );
  });
});
