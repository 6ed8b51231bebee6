// The sampler of EDM: its levels say what is in x, whatever churn adds before the network sees it.

import { expect } from "chai";
import type { EdmSamplerOptions, Tensor } from "langevin";
import { edmPreconditioning, edmSampler, randn, scope } from "langevin";

const preconditioning = edmPreconditioning();
const paths: readonly (readonly [string, Partial<EdmSamplerOptions>])[] = [
  ["EDM's path", {}],
  ["a path of preserved variance", { schedule: "vp", scaling: "vp" }],
  ["Euler's method", { method: "euler" }],
];

describe("edmSampler", () => {
  for (const [name, path] of paths)
    it(`along ${name} starts with as much noise as its first level has, and churn adds more`, () => {
      const solver = edmSampler({ preconditioning, steps: 8, churn: 4, ...path });
      expect(solver.isStochastic).to.equal(true);
      expect(solver.levels[0].noise).to.be.closeTo(solver.initialNoise, 1e-12 * solver.initialNoise);
    });

  for (const [name, path] of paths)
    it(`along ${name} leaves a known picture with the noise of each level`, () => {
      // A network that knows the picture, 0, of which D(x) = 0 and F = -sigmaData / sigma cIn x: all of x is noise.
      const network = (x: Tensor, level: Tensor): Tensor => x.mul(-0.5).div(level.mul(4).exp().reshape([1, 1]));
      const solver = edmSampler({ preconditioning, steps: 40, churn: 10, ...path });
      scope(() => {
        const shape = [1, 4000];
        const noise = (call: number): Tensor =>
          randn(shape, { seed: 3, step: call + 1, dtype: "float64", device: "ts" });
        let state = solver.start(noise(-1).mul(solver.initialNoise));
        for (let call = 0; call < solver.calls - 1; call++) {
          state = solver.step(state, call, network, () => noise(call));
          const deviation = state.x.square().mean().sqrt().item();
          expect(deviation / solver.levels[call + 1].noise, `call ${call}`).to.be.closeTo(1, 0.1);
        }
      });
    });
});
