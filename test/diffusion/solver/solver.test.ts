// Solver: samplers written by hand as calls of a network, and the errors of networks and noise that do not fit.

import { expect } from "chai";
import type { SolverCall, SolverOptions, Tensor } from "langevin";
import { ArgumentError, LinearForm, ShapeError, Solver, concat, ones, randn, scope, zeros } from "langevin";
import { failure } from "../../failure.ts";
import { onEveryDevice } from "../../tensor/devices.ts";

const [x, output, noise, memory] = ["x", "output", "noise", "memory"].map((name) => LinearForm.of(name));

/** Two calls: x - output / 2, then x minus the output of the call before. */
const calls: readonly SolverCall[] = [
  { t: 9, level: { signal: 0, noise: 1 }, x0: x.minus(output), next: { x: x.minus(output.over(2)), memory: output } },
  { t: 4, level: { signal: 0.5, noise: 0.5 }, x0: x.minus(output), next: { x: x.minus(memory) } },
];

function solverOf(changes: Partial<SolverOptions> = {}): Solver {
  return new Solver({ name: "Mine", calls, initialNoise: 1, end: { signal: 1, noise: 0 }, ...changes });
}

function values(tensor: Tensor): number[] {
  return tensor.reshape([tensor.size]).toArray() as number[];
}

onEveryDevice("Solver", () => {
  const picture = () => ones([2, 1, 1, 2]);

  it("does what its calls say, registers included, and keeps those that a call does not name", () => {
    const seen: number[][] = [];
    const network = (now: Tensor, t: Tensor): Tensor => {
      seen.push([...(t.toArray() as number[]), ...values(now).slice(0, 1)]);
      return now.mul(4);
    };
    const solver = solverOf();
    let state = solver.start(picture());
    expect(values(state.registers.memory)).to.deep.equal([0, 0, 0, 0]);
    state = solver.step(state, 0, network);
    expect([...values(state.x), ...values(state.registers.memory)]).to.deep.equal([-1, -1, -1, -1, 4, 4, 4, 4]);
    const { state: last, x0 } = solver.predict(state, 1, network);
    expect(values(last.x)).to.deep.equal([-5, -5, -5, -5]);
    expect(values(last.registers.memory)).to.deep.equal([4, 4, 4, 4]);
    expect(values(x0)).to.deep.equal([3, 3, 3, 3]);
    expect(seen).to.deep.equal([
      [9, 9, 1],
      [4, 4, -1],
    ]);
  });

  it("gives the network whole timesteps as int32, and fractions in the dtype of x", () => {
    const dtypeOf = (solver: Solver): string => {
      let dtype = "";
      solver.step(solver.start(picture()), 0, (now, t) => {
        dtype = t.dtype;
        return now;
      });
      return dtype;
    };
    expect(dtypeOf(solverOf())).to.equal("int32");
    expect(dtypeOf(solverOf({ calls: [{ ...calls[0], t: 0.5 }, calls[1]] }))).to.equal("float32");
  });

  it("scales what the network sees, and adds noise to x before it", () => {
    const call: SolverCall = { ...calls[0], inputScale: 0.5, churn: 2, next: { x } };
    const solver = solverOf({ calls: [call] });
    expect(solver.isStochastic).to.equal(true);
    expect([...solver.inputScales]).to.deep.equal([0.5]);
    let given: number[] = [];
    const network = (now: Tensor): Tensor => {
      given = values(now);
      return now;
    };
    const state = solver.step(solver.start(picture()), 0, network, () => picture().mul(3));
    expect(given).to.deep.equal([3.5, 3.5, 3.5, 3.5]);
    expect(values(state.x)).to.deep.equal([7, 7, 7, 7]);
  });

  it("limits x0 by clipping, and per image by thresholds", () => {
    const jump: SolverCall = { ...calls[0], x0: output, next: { x: LinearForm.of("x0") } };
    const one = { calls: [jump] };
    const big = () => concat([picture().slice([0, 1]).mul(4), picture().slice([0, 1]).mul(0.5)], 0);
    const end = (solver: Solver): number[] => values(solver.step(solver.start(picture()), 0, big).x);
    expect(end(solverOf(one))).to.deep.equal([4, 4, 0.5, 0.5]);
    expect(end(solverOf({ ...one, limit: { kind: "clip", range: 2 } }))).to.deep.equal([2, 2, 0.5, 0.5]);
    const threshold = { kind: "threshold", ratio: 1, most: 2 } as const;
    expect(end(solverOf({ ...one, limit: threshold }))).to.deep.equal([1, 1, 0.5, 0.5]);
  });

  it("asks for noise only where a call has it", () => {
    const none = () => expect.fail("noise was asked for");
    const solver = solverOf();
    expect(solver.isStochastic).to.equal(false);
    solver.step(solver.start(picture()), 0, (now) => now, none);
  });

  it("refuses networks and noise of other shapes, calls that it does not have, and missing noise", () => {
    const noisy = solverOf({ calls: [{ ...calls[0], next: { x: x.plus(noise) } }] });
    const step = (solver: Solver, call: number, network: () => Tensor, source?: () => Tensor) => () =>
      scope(() => void solver.step(solver.start(picture()), call, network, source));
    const wrong = () => zeros([2, 1, 1, 3]);
    for (const [message, type, run] of [
      [
        "Mine: the network returned shape [2, 1, 1, 3] for x of shape [2, 1, 1, 2], expected [2, 1, 1, 2].",
        ShapeError,
        step(solverOf(), 0, wrong),
      ],
      [
        "Mine: the network returned shape [2, 1, 1, 4] for x of shape [2, 1, 1, 2], expected [2, 1, 1, 2]. A network whose second half of the channels is about the variance goes with DDPMScheduler and its varianceType learned_range; for schedulers without a varianceType it returns the first half alone.",
        ShapeError,
        step(solverOf(), 0, () => zeros([2, 1, 1, 4])),
      ],
      [
        "Mine: the network returned shape [2, 1, 1, 2] for x of shape [2, 1, 1, 2], expected [2, 1, 1, 4]. A network with learned variance returns twice the channels.",
        ShapeError,
        step(solverOf({ learnsVariance: true }), 0, picture),
      ],
      [
        "Mine: the network returned undefined for x of shape [2, 1, 1, 2], expected [2, 1, 1, 2].",
        ShapeError,
        step(solverOf(), 0, (() => undefined) as never),
      ],
      ["Mine: noise has shape [2, 1, 1, 3], expected [2, 1, 1, 2] as x.", ShapeError, step(noisy, 0, picture, wrong)],
      [
        "Mine: it adds noise, and no source of noise was given. Pass a function",
        ArgumentError,
        step(noisy, 0, picture),
      ],
      ["Mine: call is 2, expected an integer from 0 to 1.", ArgumentError, step(solverOf(), 2, picture)],
      ["Mine: call is 0.5, expected an integer from 0 to 1.", ArgumentError, step(solverOf(), 0.5, picture)],
    ] as const) {
      const error = failure(run);
      expect(error, message).to.be.instanceOf(type);
      // Of those that end with a full stop it is all.
      expect(message.endsWith(".") ? error.message : error.message.slice(0, message.length)).to.equal(message);
    }
  });

  it("refuses coefficients that are not finite, and says which step has them and why", () => {
    const singular = { ...calls[0], next: { x: x.over(0) } };
    const message = (options: Partial<SolverOptions>): string => failure(() => solverOf(options)).message;
    expect(message({ calls: [calls[1], singular] })).to.equal(
      "Mine: step 2 of 2, at t = 9, is singular: it would multiply a picture by Infinity. x is noise alone there, and an order or a prediction does not go with that.",
    );
    const level = { signal: 1, noise: 0.5 };
    expect(message({ calls: [{ ...singular, level }] })).to.match(
      /It ends at sigma 0, which only steps of first order/,
    );
    expect(message({ calls: [{ ...singular, level: { signal: NaN, noise: 1 } }] })).to.match(/Its noise level is none/);
    const end = { signal: 1, noise: 0.1 };
    expect(message({ calls: [{ ...singular, level }], end })).to.match(/do two steps have the same\?$/);
    expect(message({ calls: [{ ...calls[0], x0: x.over(0) }] })).to.match(/step 1 of 1/);
  });

  it("leaves the state that it was given as it was", () => {
    const solver = solverOf();
    const state = solver.start(randn([2, 1, 1, 2], { seed: 1 }));
    const before = values(state.x);
    solver.step(state, 0, (now) => now.mul(3));
    expect(values(state.x)).to.deep.equal(before);
  });
});
