// A Gaussian path from data to noise, x_t = signal_t x0 + noise_t epsilon: DDPM, EDM and flow matching are three of them.

import { ArgumentError } from "../errors/index.ts";
import type { StepNumber } from "../tensor/recording.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PredictionOptions, PredictionType } from "./predictions.ts";
import { convertPrediction, predictionWeights } from "./predictions.ts";
import { StepTable } from "./step-table.ts";

/** Which prediction is given, and which one is wanted. */
export interface ConvertOptions extends PredictionOptions {
  /** What the network predicted. */
  readonly from: PredictionType;
  /** What is wanted of it. */
  readonly to: PredictionType;
}

/**
 * The steps t = 0, 1, ... of x_t = signal_t x0 + noise_t epsilon, each step a row of float64 coefficients. Where a method
 * takes t, it is int32 [N] with one step for each image, or one number for all, which `perStep` may make; a step in a
 * tensor that the path does not have gives NaN.
 */
export class GaussianPath {
  /** signal_t, the factor of x0. */
  readonly signal: Float64Array;
  /** noise_t, the factor of the noise. */
  readonly noise: Float64Array;
  private readonly tables = new Map<string, StepTable>();

  constructor(signal: ArrayLike<number>, noise: ArrayLike<number>) {
    if (signal.length !== noise.length || signal.length === 0)
      throw new ArgumentError({
        op: "GaussianPath",
        problem: `signal has ${signal.length} steps and noise has ${noise.length}.`,
      });
    for (const [name, factors] of Object.entries({ signal, noise })) {
      const step = Array.from(factors).findIndex((factor) => !(factor >= 0 && factor < Infinity));
      if (step >= 0)
        throw new ArgumentError({ op: "GaussianPath", problem: `${name} is ${factors[step]} at t = ${step}.` });
    }
    this.signal = Float64Array.from(signal);
    this.noise = Float64Array.from(noise);
  }

  /** The variance-preserving path of DDPM: sqrt(alphaBar) x0 + sqrt(1 - alphaBar) epsilon (Ho et al. 2020, eq. 4). */
  static variancePreserving(alphaBar: ArrayLike<number>): GaussianPath {
    const table = Float64Array.from(alphaBar);
    return new GaussianPath(
      table.map((a) => Math.sqrt(a)),
      table.map((a) => Math.sqrt(1 - a)),
    );
  }

  /** The variance-exploding path of EDM: x0 + sigma epsilon. */
  static varianceExploding(sigmas: ArrayLike<number>): GaussianPath {
    return new GaussianPath(new Float64Array(sigmas.length).fill(1), sigmas);
  }

  /** The variance-preserving path at noise-to-signal ratios sigma: (x0 + sigma epsilon) / sqrt(1 + sigma²), as in DPM-Solver. */
  static normalised(sigmas: ArrayLike<number>): GaussianPath {
    const table = Float64Array.from(sigmas);
    return new GaussianPath(
      table.map((sigma) => 1 / Math.hypot(1, sigma)),
      table.map((sigma) => sigma / Math.hypot(1, sigma)),
    );
  }

  /** The straight path of flow matching: (1 - sigma) x0 + sigma epsilon (diffusers: scale_noise). */
  static flow(sigmas: ArrayLike<number>): GaussianPath {
    return new GaussianPath(
      Float64Array.from(sigmas, (sigma) => 1 - sigma),
      sigmas,
    );
  }

  /** Number of steps. */
  get steps(): number {
    return this.signal.length;
  }

  /** x_t = signal_t x0 + noise_t noise (diffusers: add_noise). x0 and noise [N, ...]. */
  addNoise(x0: Tensor, t: Tensor | StepNumber, noise: Tensor): Tensor {
    const table = this.table("addNoise", () => [this.signal, this.noise]);
    return table.mix("addNoise", { a: x0, b: noise, t, names: ["x0", "noise"] });
  }

  /** What a network that predicts `type` is trained to give for x_t = addNoise(x0, t, noise). x0 and noise [N, ...]. */
  target(type: PredictionType, x0: Tensor, t: Tensor | StepNumber, noise: Tensor, options?: PredictionOptions): Tensor {
    const table = this.table(`target ${type} ${options?.sigmaData}`, () => {
      const weights = this.levels((level) => predictionWeights(type, level, options));
      return [Float64Array.from(weights, ({ x0: w }) => w), Float64Array.from(weights, ({ epsilon: w }) => w)];
    });
    return table.mix("target", { a: x0, b: noise, t, names: ["x0", "noise"] });
  }

  /**
   * A prediction as another one, such as the x0 that a predicted epsilon means; see `convertPrediction`. prediction and x
   * [N, ...]. An error if any step of the path does not determine it, such as one where signal_t is 0.
   */
  convert(prediction: Tensor, x: Tensor, t: Tensor | StepNumber, options: ConvertOptions): Tensor {
    const { from, to, sigmaData } = options;
    const table = this.table(`convert ${from} ${to} ${sigmaData}`, () => {
      const factors = this.levels((level) => convertPrediction(from, to, level, options));
      return [Float64Array.from(factors, (f) => f.x), Float64Array.from(factors, (f) => f.prediction)];
    });
    return table.mix("convert", { a: x, b: prediction, t, names: ["x", "prediction"] });
  }

  private levels<T>(of: (level: { signal: number; noise: number }) => T): T[] {
    return Array.from(this.signal, (signal, t) => of({ signal, noise: this.noise[t] }));
  }

  private table(key: string, columns: () => readonly Float64Array[]): StepTable {
    const known = this.tables.get(key);
    if (known) return known;
    const made = new StepTable(columns());
    this.tables.set(key, made);
    return made;
  }
}
