// Noise levels in training: their distributions and weights, and the loss of a denoiser, also in a plan.

import { expect } from "chai";
import type { SigmaTraining, Tensor } from "langevin";
import {
  ArgumentError,
  ShapeError,
  capture,
  denoise,
  denoisingLoss,
  edmPreconditioning,
  edmTraining,
  randn,
  tensor,
  veTraining,
  vpPreconditioning,
  vpTraining,
} from "langevin";
import { Counter, stepIndex } from "../../ts/tensor/recording.ts";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

const numbers = (x: Tensor): number[] => x.toArray() as number[];
const network = (x: Tensor, level: Tensor): Tensor => x.mul(0.5).add(level.reshape([-1, 1]));

onEveryDevice("training of denoisers", () => {
  it("draws ln sigma from a normal distribution in EDM", () => {
    const logs = numbers(edmTraining({ mean: -1, deviation: 0.5 }).draw(4000, { seed: 3 })).map(Math.log);
    const mean = logs.reduce((sum, log) => sum + log, 0) / 4000;
    const deviation = Math.sqrt(logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / 4000);
    expect(mean).to.be.closeTo(-1, 0.03);
    expect(deviation).to.be.closeTo(0.5, 0.03);
  });

  it("draws sigmas between those of the SDEs, up to both ends", () => {
    for (const [training, least, greatest] of [
      [veTraining(), 0.02, 100],
      [vpTraining(), vpPreconditioning().sigmaMin, vpPreconditioning().sigmaMax],
    ] as const) {
      const [first, last] = numbers(training.sigma(tensor([0, 1]))).sort((a, b) => a - b);
      expect(first).to.be.closeTo(least, 1e-4 * least + 1e-7);
      expect(last).to.be.closeTo(greatest, 1e-4 * greatest);
      for (const sigma of numbers(training.draw(50, { seed: 1 }))) expect(sigma).to.be.within(first, last);
    }
  });

  it("draws the same for a seed and step, and shares no bits with the noise of a training step", () => {
    const training = edmTraining();
    const draw = (step: number): number[] => numbers(training.draw(4, { seed: 9, step }));
    expect(draw(2)).to.deep.equal(draw(2));
    expect(draw(2)).not.to.deep.equal(draw(3));
    expect(draw(2)).not.to.deep.equal(numbers(training.sigma(randn([4], { seed: 9, step: 2 }))));
  });

  const cases: [string, SigmaTraining, (sigma: number) => number][] = [
    ["EDM", edmTraining({ sigmaData: 0.25 }), (sigma) => (sigma ** 2 + 0.0625) / (sigma * 0.25) ** 2],
    ["VP", vpTraining(), (sigma) => 1 / sigma ** 2],
    ["VE", veTraining(), (sigma) => 1 / sigma ** 2],
  ];
  for (const [name, training, weight] of cases)
    it(`weights squared errors as ${name}`, () => {
      const preconditioning = edmPreconditioning();
      const [x0, noise, sigma] = [randn([2, 3], { seed: 1 }), randn([2, 3], { seed: 2 }), tensor([0.5, 2])];
      const x = x0.add(noise.mul(sigma.reshape([2, 1])));
      const denoised = denoise(preconditioning, network, x, sigma);
      const errors = denoised.sub(x0).square().toArray() as number[][];
      const expected = errors.map((row, i) => row.map((error) => weight([0.5, 2][i]) * error));
      const options = { preconditioning, training, sigma, noise };
      const got = denoisingLoss(network, x0, { ...options, reduction: "none" }).toArray() as number[][];
      got.forEach((row, i) =>
        row.forEach((loss, j) => expect(loss).to.be.closeTo(expected[i][j], 1e-5 * expected[i][j])),
      );
      const mean = expected.flat().reduce((sum, loss) => sum + loss, 0) / 6;
      expect(denoisingLoss(network, x0, options).item()).to.be.closeTo(mean, 1e-5 * mean);
    });

  it("has the same bits in a plan, whose steps have their own noise levels", () => {
    const [preconditioning, training] = [edmPreconditioning(), edmTraining()];
    const x0 = randn([2, 3], { seed: 1 });
    const make = () => {
      const iteration = new Counter();
      return (): Tensor => {
        const step = stepIndex(() => iteration.value);
        const sigma = training.draw(2, { seed: 4, step });
        const noise = randn([2, 3], { seed: 4, step });
        iteration.add();
        return denoisingLoss(network, x0, { preconditioning, training, sigma, noise });
      };
    };
    const three = (step: () => Tensor): number[] => [0, 1, 2].map(() => step().item());
    const eager = three(make());
    expect(new Set(eager).size).to.equal(3);
    expect(three(capture(make()))).to.deep.equal(eager);
  });

  it("refuses options out of range, and shapes that do not fit", () => {
    const error = failure(() => veTraining({ sigmaMin: 0 }));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal("veTraining: sigmaMin is 0, expected a positive number.");
    const [preconditioning, training] = [edmPreconditioning(), edmTraining()];
    const x0 = randn([2, 3]);
    const loss = (sigma: Tensor, noise: Tensor) => () =>
      denoisingLoss(network, x0, { preconditioning, training, sigma, noise });
    expect(failure(loss(tensor([1]), x0))).to.be.instanceOf(ShapeError);
    expect(failure(loss(tensor([1]), x0)).message).to.match(/^denoisingLoss: sigma has shape \[1\], expected \[2\]/);
    expect(failure(loss(tensor([1, 1]), randn([3, 2]))).message).to.match(/^denoisingLoss: noise has shape \[3, 2\]/);
  });
});
