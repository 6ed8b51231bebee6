// The noise schedule: its tables, the forward and the reverse step, and the traps that the tutorial's readers fall into.

import { expect } from "chai";
import {
  ArgumentError,
  DTypeError,
  NoiseSchedule,
  ShapeError,
  full,
  ones,
  randn,
  sample,
  tensor,
  train,
  zeros,
} from "langevin";
import type { Tensor } from "langevin";
import { failure, rejection } from "../failure.ts";
import { cpuIsBuilt, onEveryDevice } from "../tensor/devices.ts";

const schedule = new NoiseSchedule({ steps: 24, betaStart: 1e-4, betaEnd: 0.6 });

function flat(x: Tensor): number[] {
  return [x.toArray()].flat(9) as number[];
}

function expectNear(x: Tensor, expected: readonly number[]): void {
  flat(x).forEach((value, i) => {
    expect(value, `element ${i}`).to.be.closeTo(expected[i], 3e-6 * Math.max(1, Math.abs(expected[i])));
  });
  expect(x.size).to.equal(expected.length);
}

describe("tables of NoiseSchedule", () => {
  it("go linearly from betaStart to betaEnd, both included", () => {
    expect([schedule.beta[0], schedule.beta[23]]).to.deep.equal([1e-4, 0.6]);
    expect(schedule.beta[1] - schedule.beta[0]).to.be.closeTo((0.6 - 1e-4) / 23, 1e-15);
    expect(new NoiseSchedule({ steps: 1, betaStart: 0.3, betaEnd: 0.5 }).beta).to.deep.equal(new Float64Array([0.3]));
  });

  it("are computed in float64: alphaBar of 1,000 steps is the product to 12 digits", () => {
    const { alphaBar } = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
    let logarithm = 0;
    for (let t = 0; t < 1000; t++) logarithm += Math.log1p(-(1e-4 + (t * (0.02 - 1e-4)) / 999));
    expect(alphaBar[999] / Math.exp(logarithm)).to.be.closeTo(1, 1e-12);
    expect(alphaBar[0]).to.be.lessThan(1);
    expect(alphaBar[9]).to.be.lessThan(alphaBar[8]);
  });

  it("have the variance of the posterior, (1 - abar[t-1]) / (1 - abar[t]) beta[t]", () => {
    const { beta, alphaBar, sigma } = schedule;
    for (let t = 1; t < 24; t++)
      expect(sigma[t] ** 2).to.be.closeTo((beta[t] * (1 - alphaBar[t - 1])) / (1 - alphaBar[t]), 1e-15);
  });

  it("do not read alphaBar[-1] at t = 0: sigma is exactly 0 there", () => {
    expect(schedule.sigma[0]).to.equal(0);
    expect(new NoiseSchedule({ steps: 1, betaStart: 0.5, betaEnd: 0.5 }).sigma).to.deep.equal(new Float64Array([0]));
  });

  it("hold no NaN and no infinity", () => {
    for (const table of [schedule.meanScale, schedule.epsilonScale, schedule.sigma])
      expect([...table].every(Number.isFinite)).to.equal(true);
  });

  for (const [options, text] of [
    [{ steps: 0, betaStart: 0.1, betaEnd: 0.2 }, "steps is 0, expected an integer >= 1."],
    [{ steps: 1.5, betaStart: 0.1, betaEnd: 0.2 }, "steps is 1.5, expected an integer >= 1."],
    [{ steps: NaN, betaStart: 0.1, betaEnd: 0.2 }, "steps is NaN, expected an integer >= 1."],
    [{ steps: 2, betaStart: 0, betaEnd: 0.2 }, "betaStart is 0, expected 0 < betaStart < 1."],
    [{ steps: 2, betaStart: 0.1, betaEnd: 1 }, "betaEnd is 1, expected 0 < betaEnd < 1."],
    [{ steps: 2, betaStart: NaN, betaEnd: 0.2 }, "betaStart is NaN, expected 0 < betaStart < 1."],
  ] as const)
    it(`are refused where ${text.slice(0, text.indexOf(","))}`, () => {
      expect(failure(() => new NoiseSchedule(options)).message).to.equal(`NoiseSchedule: ${text}`);
    });
});

describe("a schedule that leaves signal in x_T", () => {
  const residual = new NoiseSchedule({ steps: 24, betaStart: 1e-4, betaEnd: 0.02 });
  const text =
    "after 24 steps alphaBar is still 0.784, more than 0.05: x_T is not noise. Raise betaEnd or steps (24 steps go with betaEnd 0.6), or pass allowResidualSignal: true.";
  const model = { forward: (x: Tensor) => x.mul(0) };
  const data = { size: 1, batch: () => ({ x0: zeros([1, 2, 2, 1], { device: "ts" }) }) };
  const step = () => ({ loss: ones([], { device: "ts" }) });

  it("may be made", () => {
    expect(residual.alphaBar[23]).to.be.closeTo(0.785, 0.001);
  });

  it("is refused by sample unless allowResidualSignal is given", async () => {
    const options = { model, schedule: residual, count: 1, size: [2, 2, 1] as const, device: "ts" as const };
    const error = await rejection(sample(options));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(`sample: ${text}`);
    expect((await sample({ ...options, allowResidualSignal: true })).shape).to.deep.equal([1, 2, 2, 1]);
  });

  it("is refused by train unless allowResidualSignal is given", async () => {
    const options = { iterations: 1, schedule: residual, data, step, device: "ts" as const };
    const error = await rejection(train(options).next());
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(`train: ${text}`);
    expect((await train({ ...options, allowResidualSignal: true }).next()).value).to.deep.equal({
      iteration: 1,
      loss: 1,
    });
  });

  it("is not what 24 steps with betaEnd 0.6, or 1,000 with 0.02, make", () => {
    schedule.expectNoiseAtEnd("sample");
    new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 }).expectNoiseAtEnd("sample");
  });
});

onEveryDevice("addNoise", () => {
  it("mixes image and noise by alphaBar: a batch of t gives each image its own", () => {
    const x0 = tensor([[1, -1], [0.5, 2], [3, 0]]); // prettier-ignore
    const noise = tensor([[0.1, 0.2], [-1, 1], [2, -2]]); // prettier-ignore
    const steps = [0, 23, 7];
    const xt = schedule.addNoise(x0, tensor(steps, { dtype: "int32" }), noise);
    const [images, noises] = [flat(x0), flat(noise)];
    expectNear(
      xt,
      images.map((value, i) => {
        const a = schedule.alphaBar[steps[Math.floor(i / 2)]];
        return Math.sqrt(a) * value + Math.sqrt(1 - a) * noises[i];
      }),
    );
  });

  it("takes one number for all images", () => {
    const [x0, noise] = [randn([3, 2, 2, 1], { seed: 1 }), randn([3, 2, 2, 1], { seed: 2 })];
    expect(schedule.addNoise(x0, 5, noise).toArray()).to.deep.equal(
      schedule.addNoise(x0, full([3], 5, { dtype: "int32" }), noise).toArray(),
    );
  });

  it("gives an image the same bits alone as in a batch", () => {
    const [x0, noise] = [randn([5, 3, 3, 3], { seed: 1 }), randn([5, 3, 3, 3], { seed: 2 })];
    const batch = schedule.addNoise(x0, tensor([3, 1, 4, 1, 5], { dtype: "int32" }), noise);
    const alone = schedule.addNoise(x0.slice([2, 3]), 4, noise.slice([2, 3]));
    expect(flat(alone)).to.deep.equal(flat(batch.slice(2)));
  });
});

onEveryDevice("reverseStep", () => {
  const shape = [3, 2, 2, 1];
  const x = () => randn(shape, { seed: 1 });
  const epsilon = () => randn(shape, { seed: 2 });

  function mean(values: readonly number[], noise: readonly number[], t: number): number[] {
    const { alpha, alphaBar, beta } = schedule;
    return values.map((v, i) => (v - (beta[t] / Math.sqrt(1 - alphaBar[t])) * noise[i]) / Math.sqrt(alpha[t]));
  }

  it("is mean plus sigma z, with each image's own t", () => {
    const steps = [23, 1, 9];
    const z = randn(shape, { seed: 3 });
    const [xs, es, zs] = [x(), epsilon(), z].map(flat);
    expectNear(
      schedule.reverseStep(x(), tensor(steps, { dtype: "int32" }), epsilon(), { z }),
      xs.map((_, i) => {
        const t = steps[Math.floor(i / 4)];
        return mean(xs, es, t)[i] + schedule.sigma[t] * zs[i];
      }),
    );
  });

  for (const bad of [NaN, Infinity, -Infinity])
    it(`at t = 0 is the mean, whatever z is: ${bad}`, () => {
      const result = schedule.reverseStep(x(), 0, epsilon(), { z: full(shape, bad) });
      expectNear(result, mean(flat(x()), flat(epsilon()), 0));
    });

  it("at t = 0 is the mean also with drawn noise, bit for bit", () => {
    const drawn = schedule.reverseStep(x(), 0, epsilon(), { seed: 5 });
    expect(flat(drawn)).to.deep.equal(flat(schedule.reverseStep(x(), 0, epsilon(), { z: full(shape, NaN) })));
  });

  it("in a batch adds noise to the images with t > 0 alone", () => {
    const z = full(shape, NaN);
    const result = flat(schedule.reverseStep(x(), tensor([1, 0, 23], { dtype: "int32" }), epsilon(), { z }));
    expect(result.map((value) => Number.isNaN(value))).to.deep.equal(
      Array.from({ length: 12 }, (_, i) => i < 4 || i >= 8),
    );
  });

  it("draws the noise that randn draws at the same place", () => {
    const z = randn(shape, { seed: 9, draw: 3, image: 10, step: 4 });
    const given = schedule.reverseStep(x(), 12, epsilon(), { z });
    const drawn = schedule.reverseStep(x(), 12, epsilon(), { seed: 9, image: 10, step: 4 });
    expect(flat(drawn)).to.deep.equal(flat(given));
  });

  it("draws other noise for another seed, image or step", () => {
    const at = (place: { seed: number; image?: number; step?: number }) =>
      String(flat(schedule.reverseStep(x(), 12, epsilon(), place)));
    const results = [{ seed: 1 }, { seed: 2 }, { seed: 1, image: 3 }, { seed: 1, step: 1 }].map(at);
    expect(new Set(results).size).to.equal(4);
    expect(at({ seed: 1, image: 0, step: 0 })).to.equal(results[0]);
  });
});

onEveryDevice("timesteps", () => {
  const x = () => ones([2, 3]);

  for (const t of [-1, 24, 1.5, NaN])
    it(`refuse the number ${t}`, () => {
      for (const [op, call] of [
        ["addNoise", () => schedule.addNoise(x(), t, x())],
        ["reverseStep", () => schedule.reverseStep(x(), t, x(), { seed: 1 })],
      ] as const) {
        const error = failure(call);
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.equal(`${op}: t is ${t}, expected an integer from 0 to 23.`);
      }
    });

  it("out of range in a tensor make their images NaN, and those alone", () => {
    const t = tensor([-1, 23, 24], { dtype: "int32" });
    const batch = ones([3, 2]);
    for (const result of [
      schedule.addNoise(batch, t, batch),
      schedule.reverseStep(batch, t, batch, { seed: 1 }),
      schedule.reverseStep(batch, t, batch, { z: batch }),
    ])
      expect(flat(result).map((value) => Number.isNaN(value))).to.deep.equal([true, true, false, false, true, true]);
  });

  it("refuse a tensor of another length or dtype", () => {
    const error = failure(() => schedule.addNoise(x(), zeros([3], { dtype: "int32" }), x()));
    expect(error).to.be.instanceOf(ShapeError);
    expect(error.message).to.equal("addNoise: t has shape [3], expected [2] (one timestep for each image).");
    expect(failure(() => schedule.addNoise(x(), zeros([2]), x()))).to.be.instanceOf(DTypeError);
    expect(failure(() => schedule.addNoise(ones([]), 1, ones([])))).to.be.instanceOf(ShapeError);
    expect(failure(() => schedule.addNoise(x(), 1, ones([2, 4])))).to.be.instanceOf(ShapeError);
    expect(failure(() => schedule.reverseStep(x(), 1, ones([3, 3]), { seed: 0 }))).to.be.instanceOf(ShapeError);
  });
});

describe("noise of reverse steps on ts and cpu", () => {
  it("is bit-equal: a step from 0 with epsilon 0 is sigma z", function () {
    if (!cpuIsBuilt) return this.skip();
    const run = (device: "ts" | "cpu"): number[] => {
      const x = zeros([3, 5, 5, 3], { device });
      return flat(schedule.reverseStep(x, 17, x, { seed: 3, image: 5, step: 2 }));
    };
    expect(run("cpu")).to.deep.equal(run("ts"));
  });
});
