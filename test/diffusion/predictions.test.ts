// Conversions between predictions: in float64 against their definitions, and as tensors on every device.

import { expect } from "chai";
import fc from "fast-check";
import type { PredictionType, Tensor } from "langevin";
import {
  ArgumentError,
  DTypeError,
  GaussianPath,
  NoiseSchedule,
  ShapeError,
  convertPrediction,
  mse,
  noGrad,
  ones,
  predictionWeights,
  randn,
  tensor,
  zeros,
} from "langevin";
import { capture } from "../../ts/tensor/capture.ts";
import { Counter, perStep } from "../../ts/tensor/recording.ts";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

const types: readonly PredictionType[] = ["epsilon", "sample", "v_prediction", "flow_prediction", "edm"];
const type = fc.constantFrom(...types);
const number = fc.double({ min: -3, max: 3, noNaN: true });
const factor = fc.double({ min: 0.05, max: 1, noNaN: true });
const sigmaData = fc.constantFrom(undefined, 0.5, 1, 2);

const flat = (x: Tensor): number[] => [x.toArray()].flat(9) as number[];

describe("conversions between predictions", () => {
  it("agree with the definitions: from what one network should predict follows what another one should", () => {
    fc.assert(
      fc.property(
        type,
        type,
        number,
        number,
        factor,
        factor,
        sigmaData,
        (from, to, x0, epsilon, signal, noise, data) => {
          const level = { signal, noise };
          const value = (kind: PredictionType): number => {
            const weights = predictionWeights(kind, level, { sigmaData: data });
            return weights.x0 * x0 + weights.epsilon * epsilon;
          };
          const { x, prediction } = convertPrediction(from, to, level, { sigmaData: data });
          expect(x * (signal * x0 + noise * epsilon) + prediction * value(from)).to.be.closeTo(value(to), 1e-11);
        },
      ),
    );
  });

  it("are inverse to each other", () => {
    fc.assert(
      fc.property(type, type, factor, factor, sigmaData, (from, to, signal, noise, data) => {
        const there = convertPrediction(from, to, { signal, noise }, { sigmaData: data });
        const back = convertPrediction(to, from, { signal, noise }, { sigmaData: data });
        expect(back.prediction * there.prediction).to.be.closeTo(1, 1e-11);
        expect(back.x + back.prediction * there.x).to.be.closeTo(0, 1e-11 * (1 + Math.abs(back.x)));
      }),
    );
  });

  it("are the textbook formulas", () => {
    const alphaBar = 0.3;
    const level = { signal: Math.sqrt(alphaBar), noise: Math.sqrt(1 - alphaBar) };
    const near = (from: PredictionType, to: PredictionType, x: number, prediction: number): void => {
      const got = convertPrediction(from, to, level);
      expect(got.x, `${from} to ${to}`).to.be.closeTo(x, 1e-15);
      expect(got.prediction, `${from} to ${to}`).to.be.closeTo(prediction, 1e-15);
    };
    near("epsilon", "sample", 1 / level.signal, -level.noise / level.signal);
    near("sample", "epsilon", 1 / level.noise, -level.signal / level.noise);
    near("v_prediction", "sample", level.signal, -level.noise);
    near("v_prediction", "epsilon", level.noise, level.signal);
    const sigma = 1.7;
    const edm = convertPrediction("edm", "sample", { signal: 1, noise: sigma });
    expect(edm.x).to.be.closeTo(0.25 / (sigma ** 2 + 0.25), 1e-15); // cSkip
    expect(edm.prediction).to.be.closeTo((sigma * 0.5) / Math.sqrt(sigma ** 2 + 0.25), 1e-15); // cOut
    const flow = convertPrediction("flow_prediction", "sample", { signal: 0.6, noise: 0.4 });
    expect(flow.x).to.be.closeTo(1, 1e-15);
    expect(flow.prediction).to.be.closeTo(-0.4, 1e-15);
    const ve = convertPrediction("v_prediction", "sample", { signal: 1, noise: sigma });
    expect(ve.x).to.be.closeTo(1 / (sigma ** 2 + 1), 1e-15);
    expect(ve.prediction).to.be.closeTo(-sigma / Math.sqrt(sigma ** 2 + 1), 1e-15);
  });

  it("of v and F with one sigmaData differ in sign", () => {
    const conversion = convertPrediction("edm", "v_prediction", { signal: 1, noise: 3 }, { sigmaData: 0.5 });
    expect(conversion.x).to.be.closeTo(0, 1e-16);
    expect(conversion.prediction).to.be.closeTo(-1, 1e-15);
  });

  it("are the identity from a type to itself, and v works at both ends", () => {
    for (const kind of types)
      for (const level of [
        { signal: 0, noise: 1 },
        { signal: 1, noise: 0 },
      ])
        // prettier-ignore
        expect(convertPrediction(kind, kind, level)).to.deep.equal({ x: 0, prediction: 1 });
    expect(convertPrediction("v_prediction", "sample", { signal: 0, noise: 1 })).to.deep.equal({
      x: 0,
      prediction: -1,
    });
  });

  it("are refused where nothing determines them", () => {
    const noSignal = failure(() => convertPrediction("epsilon", "sample", { signal: 0, noise: 1 }));
    expect(noSignal).to.be.instanceOf(ArgumentError);
    expect(noSignal.message).to.equal(
      'convertPrediction: x_t and epsilon do not determine sample where signal is 0 and noise is 1. x_t is noise alone there: a model for such a schedule predicts "v_prediction" or "sample".',
    );
    const noNoise = failure(() => convertPrediction("sample", "epsilon", { signal: 1, noise: 0 }));
    expect(noNoise.message).to.equal(
      "convertPrediction: x_t and sample do not determine epsilon where signal is 1 and noise is 0.",
    );
    const unknown = failure(() => predictionWeights("score" as PredictionType, { signal: 1, noise: 1 }));
    expect(unknown).to.be.instanceOf(ArgumentError);
    expect(unknown.message).to.match(/^predictionWeights: the prediction type is "score"\. Expected "epsilon"/);
  });
});

const schedule = new NoiseSchedule({ steps: 50, betaStart: 1e-3, betaEnd: 0.2 });
const sigmas = [0.3, 0.01, 0.9];
const paths: Readonly<Record<string, GaussianPath>> = {
  variancePreserving: schedule.path,
  varianceExploding: GaussianPath.varianceExploding(sigmas),
  normalised: GaussianPath.normalised(sigmas),
  flow: GaussianPath.flow(sigmas),
};

describe("Gaussian paths", () => {
  it("have the factors of their papers", () => {
    expect([paths.flow.signal[0], paths.flow.noise[0]]).to.deep.equal([0.7, 0.3]);
    expect([paths.varianceExploding.signal[2], paths.varianceExploding.noise[2]]).to.deep.equal([1, 0.9]);
    const { signal, noise, steps } = paths.normalised;
    expect(steps).to.equal(3);
    for (let t = 0; t < 3; t++) {
      expect(signal[t] ** 2 + noise[t] ** 2).to.be.closeTo(1, 1e-15);
      expect(noise[t] / signal[t]).to.be.closeTo(sigmas[t], 1e-15);
    }
  });

  it("through noiseToSignal are the path of the schedule", () => {
    const { signal, noise } = GaussianPath.normalised(schedule.noiseToSignal());
    signal.forEach((value, t) => expect(value).to.be.closeTo(schedule.path.signal[t], 1e-14));
    noise.forEach((value, t) => expect(value).to.be.closeTo(schedule.path.noise[t], 1e-14));
  });

  it("refuse factors that are not finite or of different number", () => {
    expect(failure(() => new GaussianPath([1, 2], [1])).message).to.equal(
      "GaussianPath: signal has 2 steps and noise has 1.",
    );
    expect(failure(() => new GaussianPath([1, 2], [1, -1])).message).to.equal("GaussianPath: noise is -1 at t = 1.");
    expect(failure(() => GaussianPath.flow([2])).message).to.equal("GaussianPath: signal is -1 at t = 0.");
    expect(failure(() => GaussianPath.varianceExploding([NaN]))).to.be.instanceOf(ArgumentError);
  });
});

onEveryDevice("predictions of a path", () => {
  const shape = [3, 2, 2, 1];
  const t = (): Tensor => tensor([2, 0, 1], { dtype: "int32" });

  for (const [name, path] of Object.entries(paths))
    it(`convert into each other and into their targets: ${name}`, () => {
      const [x0, noise] = [randn(shape, { seed: 1 }), randn(shape, { seed: 2 })];
      const x = path.addNoise(x0, t(), noise);
      for (const from of types)
        for (const to of types) {
          const given = path.target(from, x0, t(), noise);
          const got = flat(path.convert(given, x, t(), { from, to }));
          // sigma 0.01 divides by 0.01.
          flat(path.target(to, x0, t(), noise)).forEach((value, i) => {
            expect(got[i], `${from} to ${to}`).to.be.closeTo(value, 3e-5 * Math.max(1, Math.abs(value)));
          });
        }
    });

  it("velocity is sqrt(alphaBar) noise - sqrt(1 - alphaBar) x0", () => {
    const [x0, noise] = [tensor([[1], [2]]), tensor([[-0.5], [3]])];
    const v = flat(schedule.velocity(x0, tensor([4, 49], { dtype: "int32" }), noise));
    [4, 49].forEach((step, i) => {
      const a = schedule.alphaBar[step];
      expect(v[i]).to.be.closeTo(Math.sqrt(a) * [-0.5, 3][i] - Math.sqrt(1 - a) * [1, 2][i], 1e-6);
    });
    expect(flat(schedule.target("v_prediction", x0, 7, noise))).to.deep.equal(flat(schedule.velocity(x0, 7, noise)));
  });

  it("have gradients: a loss in x0 trains a network that predicts epsilon", () => {
    const x = randn(shape, { seed: 3 });
    const epsilon = randn(shape, { seed: 4 }).requireGrad();
    mse(schedule.convert(epsilon, x, 20, { from: "epsilon", to: "sample" }), zeros(shape)).backward();
    const a = schedule.alphaBar[20];
    const [xs, es] = [flat(x), flat(epsilon)];
    flat(epsilon.grad!).forEach((g, i) => {
      const x0 = (xs[i] - Math.sqrt(1 - a) * es[i]) / Math.sqrt(a);
      expect(g).to.be.closeTo((2 / xs.length) * x0 * -Math.sqrt((1 - a) / a), 1e-5);
    });
  });

  it("in a plan follow the step, bit for bit as eagerly", async () => {
    const [x, v] = [randn(shape, { seed: 5 }), randn(shape, { seed: 6 })];
    const step = new Counter();
    const convert = (): Tensor => {
      const result = noGrad(
        () =>
        schedule.convert(v, x, perStep(() => step.value), { from: "v_prediction", to: "sample" }), // prettier-ignore
      );
      step.add();
      return result;
    };
    const plan = capture(convert);
    for (let i = 0; i < 3; i++) {
      const got = flat(plan());
      expect(got).to.deep.equal(flat(schedule.convert(v, x, i, { from: "v_prediction", to: "sample" })));
    }
    plan.dispose();
  });

  it("are refused by name: shapes, dtypes, steps, and a schedule that ends in noise alone", () => {
    const x = ones([2, 3]);
    const options = { from: "epsilon", to: "sample" } as const;
    const shapes = failure(() => schedule.convert(ones([2, 4]), x, 1, options));
    expect(shapes).to.be.instanceOf(ShapeError);
    expect(shapes.message).to.equal("convert: prediction has shape [2, 4], expected [2, 3] as x.");
    const steps = failure(() => schedule.target("sample", x, zeros([3], { dtype: "int32" }), x));
    expect(steps.message).to.equal("target: t has shape [3], expected [2] (one timestep for each image).");
    expect(failure(() => schedule.convert(x, x, zeros([2]), options))).to.be.instanceOf(DTypeError);
    expect(failure(() => schedule.convert(x, x.to("int32"), 1, options))).to.be.instanceOf(DTypeError);
    expect(failure(() => schedule.convert(x, x, 50, options)).message).to.equal(
      "convert: t is 50, expected an integer from 0 to 49.",
    );
    const zero = new NoiseSchedule({ betas: [0.1, 0.2, 0.4], rescaleZeroTerminalSnr: true });
    expect(failure(() => zero.convert(x, x, 0, options))).to.be.instanceOf(ArgumentError);
    expect(flat(zero.convert(x, x, 2, { from: "v_prediction", to: "sample" }))).to.deep.equal(flat(x.neg()));
  });
});
