// What a network may predict about x_t = signal x0 + noise epsilon, and how one prediction is had from another.

import { ArgumentError } from "../errors/index.ts";

/**
 * What a network predicts; the first four are diffusers' values of `prediction_type`.
 *
 * - `epsilon`: the noise (Ho et al. 2020).
 * - `sample`: x0 itself.
 * - `v_prediction`: the velocity, v = (signal epsilon - noise x0) / sqrt(signal² + noise²) (Salimans & Ho 2022).
 * - `flow_prediction`: the velocity of a flow, epsilon - x0 (Lipman et al. 2023; Esser et al. 2024).
 * - `edm`: the raw network F of x0 = cSkip x + cOut F (Karras et al. 2022, eq. 7).
 */
export type PredictionType = "epsilon" | "sample" | "v_prediction" | "flow_prediction" | "edm";

/** How much of x0 and of unit noise is in x_t = signal x0 + noise epsilon. */
export interface NoiseLevel {
  /** Factor of x0: sqrt(alphaBar_t) in DDPM, 1 in EDM, 1 - sigma in flow matching. */
  readonly signal: number;
  /** Factor of the noise: sqrt(1 - alphaBar_t) in DDPM, sigma in EDM and in flow matching. */
  readonly noise: number;
}

/** What a prediction depends on beside its type. */
export interface PredictionOptions {
  /**
   * Standard deviation of the data: of `edm`, where the default is 0.5, and of `v_prediction`, where it is 1 except in
   * diffusers' EDM schedulers, whose v is -F.
   */
  readonly sigmaData?: number;
}

/** A prediction as a sum: x0Weight x0 + epsilonWeight epsilon. */
export interface PredictionWeights {
  /** Factor of x0. */
  readonly x0: number;
  /** Factor of the noise. */
  readonly epsilon: number;
}

/** The definition of each prediction as a sum of x0 and epsilon; this is also what it is trained to give. */
export function predictionWeights(
  type: PredictionType,
  { signal, noise }: NoiseLevel,
  { sigmaData }: PredictionOptions = {},
): PredictionWeights {
  switch (type) {
    case "epsilon":
      return { x0: 0, epsilon: 1 };
    case "sample":
      return { x0: 1, epsilon: 0 };
    case "flow_prediction":
      return { x0: -1, epsilon: 1 };
    case "v_prediction":
      return velocity(signal, noise, sigmaData ?? 1);
    case "edm": {
      const { x0, epsilon } = velocity(signal, noise, sigmaData ?? 0.5);
      return { x0: -x0, epsilon: -epsilon };
    }
    default:
      throw new ArgumentError({
        op: "predictionWeights",
        problem: `the prediction type is ${JSON.stringify(type)}.`,
        advice: `Expected "epsilon", "sample", "v_prediction", "flow_prediction" or "edm".`,
      });
  }
}

/** -F of EDM: F = (x0 - cSkip x) / cOut, with cSkip and cOut for sigma = noise / signal, written without that quotient. */
function velocity(signal: number, noise: number, sigmaData: number): PredictionWeights {
  const deviation = Math.hypot(noise, sigmaData * signal);
  return { x0: -noise / (sigmaData * deviation), epsilon: (sigmaData * signal) / deviation };
}

/** A prediction had from another one: x x_t + prediction p. */
export interface Conversion {
  /** Factor of x_t. */
  readonly x: number;
  /** Factor of the prediction that is given. */
  readonly prediction: number;
}

/**
 * The prediction `to` from x_t and the prediction `from`. Two equations, x_t = signal x0 + noise epsilon and
 * p = x0Weight x0 + epsilonWeight epsilon, are solved for x0 and epsilon, and put into the definition of `to`.
 *
 * `{ from: "epsilon", to: "sample" }` is eq. 15 of Ho et al. 2020, x0 = (x_t - noise epsilon) / signal. Where the two
 * equations do not determine the answer (epsilon at signal 0, sample at noise 0) this is an error.
 */
export function convertPrediction(
  from: PredictionType,
  to: PredictionType,
  level: NoiseLevel,
  options: PredictionOptions = {},
): Conversion {
  const given = predictionWeights(from, level, options);
  const wanted = predictionWeights(to, level, options);
  if (given.x0 === wanted.x0 && given.epsilon === wanted.epsilon) return { x: 0, prediction: 1 };
  const { signal, noise } = level;
  const determinant = signal * given.epsilon - noise * given.x0;
  if (determinant === 0)
    throw new ArgumentError({
      op: "convertPrediction",
      problem: `x_t and ${from} do not determine ${to} where signal is ${signal} and noise is ${noise}.`,
      advice:
        signal === 0
          ? `x_t is noise alone there: a model for such a schedule predicts "v_prediction" or "sample".`
          : undefined,
    });
  return {
    x: (wanted.x0 * given.epsilon - wanted.epsilon * given.x0) / determinant,
    prediction: (wanted.epsilon * signal - wanted.x0 * noise) / determinant,
  };
}
