// The reverse process with fixed and learned variances: identities between its steps, the bound and its gradients, errors.

import { expect } from "chai";
import type { PredictionType, Tensor, VarianceType } from "langevin";
import {
  ArgumentError,
  GaussianDiffusion,
  NoiseSchedule,
  Parameter,
  ShapeError,
  concat,
  randn,
  scope,
  tensor,
  zeros,
} from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice, useDevice } from "../tensor/devices.ts";

const schedule = new NoiseSchedule({ steps: 20, betaStart: 1e-3, betaEnd: 0.4 });
const shape = [3, 2, 2, 1];
const noise = (step: number): Tensor => randn(shape, { seed: 5, step });
const numbers = (x: Tensor): number[] => Array.from(x.reshape([x.size]).toArray() as number[]);
const int32 = (values: number[]): Tensor => tensor(values, { dtype: "int32" });

function expectNear(got: Tensor, expected: Tensor, within = 1e-5): void {
  expect(got.shape).to.deep.equal(expected.shape);
  const values = numbers(expected);
  numbers(got).forEach((value, i) => expect(value).to.be.closeTo(values[i], within));
}

onEveryDevice("GaussianDiffusion", () => {
  describe("the variance", () => {
    const logOf = (variance: VarianceType, said: number, t: number): number => {
      const x = zeros([1, 1, 1, 1]);
      const output = variance.startsWith("learned") ? tensor([0, said], { shape: [1, 1, 1, 2] }) : x;
      return numbers(new GaussianDiffusion({ schedule, variance }).reverse(output, x, t).logVariance)[0];
    };
    const log = (variance: number): number => Math.log(variance);

    it("is that of the posterior, beta, or what the network says", () => {
      const [small, large] = [schedule.sigma[7] ** 2, schedule.beta[7]];
      expect(logOf("fixed_small", 0, 7)).to.be.closeTo(log(small), 1e-5);
      expect(logOf("fixed_large", 0, 7)).to.be.closeTo(log(large), 1e-5);
      expect(logOf("learned", -3.25, 7)).to.equal(-3.25);
      expect(logOf("learned_range", -1, 7)).to.be.closeTo(log(small), 1e-5);
      expect(logOf("learned_range", 1, 7)).to.be.closeTo(log(large), 1e-5);
      expect(logOf("learned_range", 0.5, 7)).to.be.closeTo(0.25 * log(small) + 0.75 * log(large), 1e-5);
    });

    it("at t = 0 is the posterior's of t = 1, which is 0 there", () => {
      const first = log(schedule.sigma[1] ** 2);
      for (const variance of ["fixed_small", "fixed_large"] as const)
        expect(logOf(variance, 0, 0)).to.be.closeTo(first, 1e-5);
      expect(logOf("learned_range", 1, 0)).to.be.closeTo(log(schedule.beta[0]), 1e-5);
      const once = new GaussianDiffusion({ schedule: new NoiseSchedule({ betas: [0.5] }), variance: "fixed_small" });
      const { logVariance } = once.posterior(zeros([1, 1]), zeros([1, 1]), 0);
      expect(logVariance.item()).to.be.closeTo(Math.log(0.5), 1e-6);
    });
  });

  it("takes the schedule's own reverse steps with the small variance", () => {
    const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_small" });
    const [x, epsilon, z] = [noise(0), noise(1), noise(2)];
    for (const t of [19, 8, 1, 0])
      expectNear(
        diffusion.ancestralStep(epsilon, x, t, z, { clip: false }).x,
        schedule.reverseStep(x, t, epsilon, { z }),
      );
  });

  it("takes the same steps by DDIM with eta 1, and by DDIM with eta 0 comes to x0", () => {
    const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_small" });
    const [x, epsilon, z] = [noise(0), noise(1), noise(2)];
    for (const t of [19, 8, 1, 0]) {
      const stochastic = diffusion.ddimStep(epsilon, x, t, { eta: 1, z });
      expectNear(stochastic.x, diffusion.ancestralStep(epsilon, x, t, z).x);
    }
    const x0 = noise(3).clamp({ min: -1, max: 1 });
    let now = schedule.addNoise(x0, 19, epsilon);
    for (let t = 19; t >= 0; t--) {
      const step = diffusion.ddimStep(epsilon, now, t);
      expectNear(step.x0, x0, 2e-4);
      now = step.x;
    }
    expectNear(now, x0, 2e-4);
  });

  it("takes finite steps of DDIM with eta 1 from noise alone, where no epsilon is left in a step", () => {
    for (const steps of [10, 100, 250, 500]) {
      const rescaled = new NoiseSchedule({ steps, betaStart: 1e-4, betaEnd: 0.02, rescaleZeroTerminalSnr: true });
      const diffusion = new GaussianDiffusion({
        schedule: rescaled,
        prediction: "v_prediction",
        variance: "fixed_small",
      });
      const x = noise(0);
      const step = diffusion.ddimStep(x, x, steps - 1, { eta: 1, z: noise(1) });
      const signal = Math.sqrt(rescaled.alphaBar[steps - 2]);
      expectNear(step.x, step.x0.mul(signal).add(noise(1).mul(Math.sqrt(1 - signal ** 2))));
    }
  });

  it("reverses the same way whatever is predicted", () => {
    const [x0, epsilon] = [noise(0), noise(1)];
    const t = int32([19, 4, 0]);
    const x = schedule.addNoise(x0, t, epsilon);
    const expected = new GaussianDiffusion({ schedule, variance: "fixed_small" }).posterior(x0, x, t).mean;
    for (const prediction of ["epsilon", "sample", "v_prediction"] as PredictionType[]) {
      const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_small", prediction });
      const output = schedule.target(prediction, x0, t, epsilon);
      expectNear(diffusion.reverse(output, x, t, { clip: false }).mean, expected, 1e-4);
    }
  });

  it("clips the predicted x0 unless told not to", () => {
    const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_small", prediction: "sample" });
    const [output, x] = [tensor([3, -0.5], { shape: [1, 2] }), zeros([1, 2])];
    expect(diffusion.reverse(output, x, 3).x0.toArray()).to.deep.equal([[1, -0.5]]);
    expect(diffusion.reverse(output, x, 3, { clip: false }).x0.toArray()).to.deep.equal([[3, -0.5]]);
  });

  describe("the bound", () => {
    it("is 0 for the true Gaussian, and at t = 0 the bits of a level", () => {
      const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_small", prediction: "sample" });
      const x0 = noise(0).mul(0.2);
      const t = int32([19, 4, 0]);
      const x = schedule.addNoise(x0, t, noise(1));
      const [last, inner, first] = numbers(diffusion.boundTerm(x0, { x0, x, t }));
      expect([last, inner]).to.deep.equal([0, 0]);
      // The probability of a level of 2 / 255 around the mean, where sigma is many levels.
      const density = 2 / 255 / Math.sqrt(2 * Math.PI) / schedule.sigma[1];
      expect(first).to.be.closeTo(-Math.log2(density), 0.05);
    });

    it("has a prior term, which is small where x_T is noise", () => {
      const diffusion = new GaussianDiffusion({ schedule });
      const last = schedule.alphaBar[19];
      const expected = (-Math.log1p(-last) - last + 0.25 * last) / 2 / Math.LN2;
      const x0 = zeros(shape).add(0.5);
      for (const bits of numbers(diffusion.priorTerm(x0))) expect(bits).to.be.closeTo(expected, 1e-6);
    });

    it("teaches the variance, and the squared error the prediction", () => {
      const [x0, epsilon] = [noise(0), noise(1)];
      const t = int32([19, 4, 0]);
      const x = schedule.addNoise(x0, t, epsilon);
      const [prediction, variance] = [new Parameter(noise(2)), new Parameter(noise(3))];
      const gradients = (of: "bound" | "mse" | "loss", boundWeight?: number): number[][] => {
        for (const parameter of [prediction, variance]) parameter.clearGrad();
        scope(() => {
          const output = concat([prediction, variance], -1);
          const { [of]: loss } = new GaussianDiffusion({ schedule, boundWeight }).losses(output, {
            x0,
            x,
            t,
            noise: epsilon,
          });
          expect(loss!.shape).to.deep.equal([3]);
          loss!.sum().backward();
        });
        return [prediction, variance].map(({ grad }) => (grad ? numbers(grad) : []));
      };
      const isZero = (list: number[]): boolean => list.every((value) => value === 0);
      const [bound, error, both, half] = [
        gradients("bound"),
        gradients("mse"),
        gradients("loss"),
        gradients("loss", 0.5),
      ];
      expect([isZero(bound[0]), isZero(bound[1])]).to.deep.equal([true, false]);
      expect([isZero(error[0]), isZero(error[1])]).to.deep.equal([false, true]);
      both[0].forEach((value, i) => expect(value).to.be.closeTo(error[0][i], 1e-6));
      both[1].forEach((value, i) => expect(value).to.be.closeTo(bound[1][i], 1e-4 * Math.abs(value)));
      half[1].forEach((value, i) => expect(value).to.be.closeTo(bound[1][i] / 2, 1e-4 * Math.abs(value)));
    });

    it("is left out of the loss where the variance is fixed", () => {
      const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_large" });
      const [x0, epsilon] = [noise(0), noise(1)];
      const pictures = { x0, x: schedule.addNoise(x0, 4, epsilon), t: 4, noise: epsilon };
      const { loss, mse, bound } = diffusion.losses(noise(2), pictures);
      expect([loss.toArray(), bound]).to.deep.equal([mse.toArray(), undefined]);
    });
  });
});

describe("GaussianDiffusion refuses", () => {
  useDevice("ts");
  const x = zeros(shape);

  it("outputs without, or with, a variance", () => {
    const learned = failure(() => new GaussianDiffusion({ schedule }).reverse(x, x, 3));
    expect(learned).to.be.instanceOf(ShapeError);
    expect(learned.message).to.equal(
      "GaussianDiffusion.reverse: the network returned shape [3, 2, 2, 1] for x [3, 2, 2, 1], expected [3, 2, 2, 2]. " +
        'With variance "learned_range" the second half of its channels says the variance.',
    );
    const fixed = new GaussianDiffusion({ schedule, variance: "fixed_small" });
    expect(failure(() => fixed.reverse(concat([x, x], -1), x, 3)).message).to.match(
      /expected \[3, 2, 2, 1\]\. With variance "fixed_small" it returns the prediction alone\.$/,
    );
  });

  it("timesteps out of range, noise of another shape, and DDIM without its noise", () => {
    const diffusion = new GaussianDiffusion({ schedule, variance: "fixed_small" });
    expect(failure(() => diffusion.reverse(x, x, 20)).message).to.match(/t is 20, expected an integer from 0 to 19/);
    expect(failure(() => diffusion.ancestralStep(x, x, 1, zeros([3, 2]))).message).to.match(/^GaussianDiffusion\.ancestralStep: z has shape/); // prettier-ignore
    expect(failure(() => diffusion.ddimStep(x, x, 1, { eta: 0.5 })).message).to.equal(
      "GaussianDiffusion.ddimStep: eta is 0.5 and no noise z was given.",
    );
    expect(failure(() => diffusion.ddimStep(x, x, 1, { eta: 2 })).message).to.match(
      /eta is 2, expected a number from 0 to 1/,
    );
  });

  it("unknown variances", () => {
    const error = failure(() => new GaussianDiffusion({ schedule, variance: "huge" as VarianceType }));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(
      'GaussianDiffusion: variance is "huge". Expected "fixed_small", "fixed_large", "learned", "learned_range".',
    );
  });
});
