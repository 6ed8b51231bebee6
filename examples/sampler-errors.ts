// How far a sampler's pictures are from the exact ones, for data of which all is known.

import type { NoiseLevel, Scheduler, Solver, Tensor } from "langevin";
import { noGrad, scope, tensor } from "langevin";
import type { GaussianMixture } from "./gaussian-mixture.ts";

/** A scheduler, and its sampler for a run. */
export interface Sampler {
  readonly scheduler: Scheduler;
  readonly solver: Solver;
}

/** Mean and standard deviation of one channel. */
export interface Moments {
  readonly mean: number;
  readonly deviation: number;
}

/** Noise of variance 1 for a call. */
type Noise = (call: number) => Tensor;

/**
 * x at the end of a run from x [N, ..., channels] at its beginning. The network knows the noise level of each call exactly, where
 * a trained one is told a timestep, which some schedulers round.
 */
export function sampled({ scheduler, solver }: Sampler, mixture: GaussianMixture, x: Tensor, noise: Noise): Tensor {
  const predict = predictionOf(scheduler, mixture);
  const levelAt = (call: number): NoiseLevel => {
    const scale = solver.inputScales[call];
    const { signal, noise: deviation } = solver.levels[call];
    return { signal: signal * scale, noise: deviation * scale };
  };
  return noGrad(() =>
    scope(() => {
      let state = solver.start(x);
      for (let call = 0; call < solver.calls; call++) {
        const before = state;
        state = scope(() =>
          solver.step(
            before,
            call,
            (input) => predict(input, levelAt(call)),
            () => noise(call),
          ),
        );
      }
      return state.x;
    }),
  );
}

/** What a network that knows the mixture gives a scheduler for x at a noise level. */
function predictionOf(scheduler: Scheduler, mixture: GaussianMixture): (x: Tensor, level: NoiseLevel) => Tensor {
  const { predictionType = "flow_prediction", sigmaData } = scheduler.options as {
    readonly predictionType?: "epsilon" | "sample" | "v_prediction" | "flow_prediction";
    readonly sigmaData?: number;
  };
  // diffusers' EDM schedulers call F "epsilon".
  const type = sigmaData !== undefined && predictionType === "epsilon" ? "edm" : predictionType;
  return (x, level) => mixture.predict(x, level, type, { sigmaData });
}

/** x = signal x0 + noise epsilon as a point of the circle signal² + noise² = 1, on which all paths from data to noise are one. */
function onCircle(x: Tensor, { signal, noise }: NoiseLevel): Tensor {
  return x.div(Math.hypot(signal, noise));
}

/**
 * Where a sampler without noise should end. On the circle x = cos(phi) x0 + sin(phi) epsilon the probability-flow ODE is
 * dx/dphi = v (Salimans & Ho 2022, appendix D), which is smooth at both ends; the classical Runge-Kutta method solves it in
 * small steps.
 */
export function exactEnd(solver: Solver, mixture: GaussianMixture, x: Tensor, steps = 600): Tensor {
  const [first, last] = [solver.levels[0], solver.levels[solver.calls]];
  const angle = ({ signal, noise }: NoiseLevel): number => Math.atan2(noise, signal);
  const h = (angle(last) - angle(first)) / steps;
  const velocity = (at: Tensor, phi: number): Tensor =>
    mixture.predict(at, { signal: Math.cos(phi), noise: Math.sin(phi) }, "v_prediction");
  return noGrad(() =>
    scope(() => {
      let now = onCircle(x, first);
      for (let i = 0; i < steps; i++) {
        const [start, phi] = [now, angle(first) + i * h];
        now = scope(() => {
          const k1 = velocity(start, phi);
          const k2 = velocity(start.add(k1.mul(h / 2)), phi + h / 2);
          const k3 = velocity(start.add(k2.mul(h / 2)), phi + h / 2);
          const k4 = velocity(start.add(k3.mul(h)), phi + h);
          return start.add(
            k1
              .add(k2.mul(2))
              .add(k3.mul(2))
              .add(k4)
              .mul(h / 6),
          );
        });
      }
      return now.mul(Math.hypot(last.signal, last.noise));
    }),
  );
}

/** Exact ends by where runs begin and end: many samplers share them. */
const knownEnds = new WeakMap<GaussianMixture, Map<string, Tensor>>();

/** Root mean square of the distance from the exact solution, over 64 starting points in float64. */
export function pathError(sampler: Sampler, mixture: GaussianMixture, z: Tensor): number {
  const { solver } = sampler;
  const x = z.mul(solver.initialNoise);
  const known = knownEnds.get(mixture) ?? new Map<string, Tensor>();
  knownEnds.set(mixture, known);
  const key = JSON.stringify([solver.initialNoise, solver.levels[0], solver.levels[solver.calls]]);
  const exact = known.get(key) ?? exactEnd(solver, mixture, x);
  known.set(key, exact);
  const refuse: Noise = () => {
    throw new Error(`${solver.name} asked for noise, so that it follows no path.`);
  };
  return Math.sqrt(sampled(sampler, mixture, x, refuse).sub(exact).square().mean().item());
}

/**
 * Moments of what a sampler makes of Gaussian data of one channel, without sampling error. Predictions are affine in x then,
 * and so is each step: x at the end is a + b z + sum_k c_k noise_k. One run of 2 + calls images, the first with zeros and each
 * other one with a 1 for one of z and the noises, shows them all.
 */
export function gaussianMoments(sampler: Sampler, gaussian: GaussianMixture): Moments {
  const { solver } = sampler;
  const images = solver.calls + 2;
  const oneHot = (place: number): Tensor =>
    tensor(
      Array.from({ length: images }, (_, image) => (image === place ? 1 : 0)),
      { shape: [images, 1, 1, 1], dtype: "float64", device: "ts" },
    );
  const { mean: startMean, deviation } = exactMoments(gaussian, solver.levels[0]);
  const start = oneHot(1).mul(deviation).add(startMean);
  const end = sampled(sampler, gaussian, start, (call) => oneHot(call + 2));
  const [mean, ...others] = end.reshape([images]).toArray() as number[];
  return { mean, deviation: Math.hypot(...others.map((value) => value - mean)) };
}

/** Moments of x = signal x0 + noise epsilon for Gaussian data of one channel. */
function exactMoments(gaussian: GaussianMixture, { signal, noise }: NoiseLevel): Moments {
  return { mean: signal * gaussian.mean[0], deviation: Math.hypot(signal * gaussian.components[0].deviation, noise) };
}

/** How far mean and standard deviation of a sampler's pictures are from those of Gaussian data: its weak error. */
export function momentError(sampler: Sampler, gaussian: GaussianMixture): number {
  const got = gaussianMoments(sampler, gaussian);
  const exact = exactMoments(gaussian, sampler.solver.levels[sampler.solver.calls]);
  return Math.hypot(got.mean - exact.mean, got.deviation - exact.deviation);
}
