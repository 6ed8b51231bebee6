// Preconditioned networks: unit variances, agreement with conversions of predictions, and the errors.

import { expect } from "chai";
import type { Preconditioning, Tensor } from "langevin";
import {
  ArgumentError,
  DTypeError,
  GaussianPath,
  ShapeError,
  convertPrediction,
  denoise,
  edmPreconditioning,
  iddpmPreconditioning,
  ones,
  preconditioningTable,
  randn,
  tensor,
  vePreconditioning,
  vpPreconditioning,
} from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

const flat = (x: Tensor): number[] => [x.toArray()].flat(9) as number[];
const sigmas = [0.01, 0.3, 2, 50];

const all: Readonly<Record<string, Preconditioning>> = {
  edm: edmPreconditioning(),
  vp: vpPreconditioning(),
  ve: vePreconditioning(),
  iddpm: iddpmPreconditioning(),
};

describe("preconditioning", () => {
  it("of EDM gives the network inputs and targets of variance 1 (Karras et al. 2022, appendix B.6)", () => {
    const { skip, out, input } = preconditioningTable(edmPreconditioning({ sigmaData: 0.7 }), sigmas);
    sigmas.forEach((sigma, i) => {
      expect(input[i] ** 2 * (sigma ** 2 + 0.7 ** 2)).to.be.closeTo(1, 1e-14);
      const target = (0.7 ** 2 * (1 - skip[i]) ** 2 + (skip[i] * sigma) ** 2) / out[i] ** 2;
      expect(target).to.be.closeTo(1, 1e-12);
    });
  });

  it("of EDM is the conversion of F to x0", () => {
    const { skip, out, noise } = preconditioningTable(all.edm, sigmas);
    sigmas.forEach((sigma, i) => {
      const { x, prediction } = convertPrediction("edm", "sample", { signal: 1, noise: sigma });
      expect(skip[i]).to.be.closeTo(x, 1e-15);
      expect(out[i]).to.be.closeTo(prediction, 1e-14);
      expect(noise[i]).to.be.closeTo(Math.log(sigma) / 4, 1e-15);
    });
  });

  it("of VP and iDDPM is the conversion of epsilon to x0; the noise level is the time", () => {
    for (const name of ["vp", "iddpm"]) {
      const { skip, out, input } = preconditioningTable(all[name], sigmas);
      sigmas.forEach((sigma, i) => {
        const { x, prediction } = convertPrediction("epsilon", "sample", { signal: 1, noise: sigma });
        expect([skip[i], out[i]]).to.deep.equal([x, prediction]);
        expect(input[i]).to.be.closeTo(1 / Math.hypot(1, sigma), 1e-15);
      });
    }
    const { sigmaMax } = all.vp;
    expect(preconditioningTable(all.vp, [sigmaMax]).noise[0]).to.be.closeTo(999, 1e-10);
    expect(preconditioningTable(all.iddpm, [all.iddpm.sigmaMin, all.iddpm.sigmaMax]).noise).to.deep.equal(
      Float64Array.of(0, 999),
    );
  });

  it("refuses options that make no noise level", () => {
    expect(failure(() => edmPreconditioning({ sigmaData: 0 })).message).to.equal(
      "edmPreconditioning: sigmaData is 0, expected a positive number.",
    );
    expect(failure(() => vpPreconditioning({ betaD: NaN }))).to.be.instanceOf(ArgumentError);
    expect(failure(() => vePreconditioning({ sigmaMax: Infinity }))).to.be.instanceOf(ArgumentError);
    expect(failure(() => iddpmPreconditioning({ steps: 0 }))).to.be.instanceOf(ArgumentError);
    expect(failure(() => iddpmPreconditioning({ steps: 2.5 })).message).to.equal(
      "iddpmPreconditioning: steps is 2.5, expected an integer.",
    );
  });
});

onEveryDevice("denoise", () => {
  const shape = [4, 2, 2, 1];

  for (const [name, preconditioning] of Object.entries(all))
    it(`finds x0 with a network that knows it: ${name}`, () => {
      const [x0, noise] = [randn(shape, { seed: 1 }), randn(shape, { seed: 2 })];
      const levels = [0.05, 0.3, 2, 20];
      const path = GaussianPath.varianceExploding(levels);
      const t = tensor([0, 1, 2, 3], { dtype: "int32" });
      const x = path.addNoise(x0, t, noise);
      const target = {
        edm: path.target("edm", x0, t, noise),
        vp: noise,
        ve: noise.neg(),
        iddpm: noise,
      }[name]!;
      const denoised = flat(denoise(preconditioning, () => target, x, tensor(levels)));
      flat(x0).forEach((value, i) => expect(denoised[i]).to.be.closeTo(value, 1e-5));
    });

  it("rounds to the levels of iDDPM, and elsewhere not at all", () => {
    const { sigmaMin, sigmaMax } = all.iddpm;
    const sigma = tensor([sigmaMin * 1.01, sigmaMax * 2]);
    const rounded = flat(all.iddpm.round(sigma));
    expect(rounded).to.deep.equal([Math.fround(sigmaMin), Math.fround(sigmaMax)]);
    expect(flat(all.edm.round(sigma))).to.deep.equal(flat(sigma));
  });

  it("refuses shapes and dtypes by name", () => {
    const [x, identity] = [ones([2, 3]), (u: Tensor): Tensor => u];
    const shapes = failure(() => denoise(all.edm, identity, x, ones([3])));
    expect(shapes).to.be.instanceOf(ShapeError);
    expect(shapes.message).to.equal(
      "denoise: sigma has shape [3] for x [2, 3]. Expected one sigma for each image: [N] for x [N, ...].",
    );
    expect(failure(() => denoise(all.edm, identity, x, ones([2], { dtype: "int32" })))).to.be.instanceOf(DTypeError);
    expect(failure(() => denoise(all.edm, () => ones([2, 6]), x, ones([2]))).message).to.match(
      /^denoise: the network returned shape \[2, 6\] for x \[2, 3\]\./,
    );
  });
});
