// DDIMInverseScheduler: a picture that is inverted comes back, the better the more steps there are.

import { expect } from "chai";
import { DDIMInverseScheduler, DDIMScheduler, randn } from "langevin";
import { sampled } from "../../../examples/sampler-errors.ts";
import { mixture } from "../../../examples/sampler-studies.ts";

const options = { numTrainTimesteps: 1024, clipSample: false } as const;
const pictures = randn([64, 1, 1, 2], { seed: 9, dtype: "float64", device: "ts" });
const noNoise = () => expect.fail("DDIM and its inversion add no noise");

describe("DDIMInverseScheduler", () => {
  it("goes up the timesteps that DDIM comes down", () => {
    for (const timestepSpacing of ["leading", "trailing"] as const)
      for (const steps of [10, 13, 50]) {
        const given = { timestepSpacing, stepsOffset: timestepSpacing === "leading" ? 1 : 0 };
        const [up, down] = [new DDIMInverseScheduler(given), new DDIMScheduler(given)];
        const expected = [...down.solver({ steps }).timesteps].reverse();
        expect([...up.solver({ steps }).timesteps]).to.deep.equal(expected);
      }
  });

  it("starts at the picture and ends at the noise level where DDIM starts", () => {
    const solver = new DDIMInverseScheduler(options).solver({ steps: 16 });
    expect(solver.levels[0]).to.deep.equal({ signal: 1, noise: 0 });
    const down = new DDIMScheduler(options).solver({ steps: 16 });
    expect(solver.levels[16]).to.deep.equal(down.levels[0]);
    expect(solver.isStochastic).to.equal(false);
  });

  it("and DDIM give the picture back, with half the error for twice the steps", () => {
    const errors = [32, 64, 128, 256].map((steps) => {
      const [inverse, ddim] = [new DDIMInverseScheduler(options), new DDIMScheduler(options)];
      const [up, down] = [inverse, ddim].map((scheduler) => ({ scheduler, solver: scheduler.solver({ steps }) }));
      const noise = sampled(up, mixture, pictures, noNoise);
      return sampled(down, mixture, noise, noNoise).sub(pictures).square().mean().sqrt().item();
    });
    for (let i = 1; i < errors.length; i++) expect(errors[i - 1] / errors[i], errors.join(", ")).to.be.within(1.6, 2.4);
    expect(errors.at(-1)).to.be.below(0.02);
  });

  it("makes of pictures of the mixture what is nearly standard noise", () => {
    const scheduler = new DDIMInverseScheduler({ ...options, timestepSpacing: "trailing" });
    const solver = scheduler.solver({ steps: 128 });
    const centre = randn([2000, 1, 1, 2], { seed: 4, dtype: "float64", device: "ts" });
    // Where DDIM leads noise, so that what the inversion is given are pictures of the mixture.
    const ddim = new DDIMScheduler({ ...options, timestepSpacing: "trailing" });
    const drawn = sampled({ scheduler: ddim, solver: ddim.solver({ steps: 512 }) }, mixture, centre, noNoise);
    const noise = sampled({ scheduler, solver }, mixture, drawn, noNoise);
    expect(noise.mean().item()).to.be.closeTo(0, 0.06);
    expect(noise.std().item()).to.be.closeTo(1, 0.06);
  });
});
