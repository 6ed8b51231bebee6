// A mixture of Gaussians as data, with the predictions that a perfect network would make: what samplers are measured by.

import type { NoiseLevel, PredictionOptions, PredictionType, Tensor } from "langevin";
import { predictionWeights, tensor } from "langevin";

/** One Gaussian of a mixture, alike in all directions. */
export interface Component {
  /** Its share of the data; shares add up to 1. */
  readonly weight: number;
  /** Its centre: a number for each channel. */
  readonly mean: readonly number[];
  /** Its standard deviation. */
  readonly deviation: number;
}

/** Pixels whose channels are drawn from a mixture of Gaussians, independently of each other pixel. */
export class GaussianMixture {
  readonly components: readonly Component[];

  constructor(components: readonly Component[]) {
    this.components = components;
  }

  /** Number of channels. */
  get channels(): number {
    return this.components[0].mean.length;
  }

  /** The mean of each channel. */
  get mean(): number[] {
    return this.expected((component, i) => component.mean[i]);
  }

  /** The covariance of the channels. */
  get covariance(): number[][] {
    const { mean } = this;
    return mean.map((_, i) =>
      this.expected(
        (component, j) =>
          (component.mean[i] - mean[i]) * (component.mean[j] - mean[j]) + (i === j ? component.deviation ** 2 : 0),
      ),
    );
  }

  /**
   * E[prediction | x] for x = signal x0 + noise epsilon [..., channels], which is what training makes of a network that
   * predicts `type`. Given x, the component k is right with probability r_k = softmax(ln N(x; signal mean_k, variance_k)),
   * variance_k = signal² deviation_k² + noise², and then E[x0] = mean_k + signal deviation_k² / variance_k (x - signal mean_k)
   * and E[epsilon] = noise / variance_k (x - signal mean_k).
   */
  predict(x: Tensor, { signal, noise }: NoiseLevel, type: PredictionType, options?: PredictionOptions): Tensor {
    const { components, channels } = this;
    const count = components.length;
    const constants = (of: (component: Component) => readonly number[], shape: readonly number[]): Tensor =>
      tensor(components.flatMap(of), { shape, dtype: x.dtype, device: x.device });
    const variance = ({ deviation }: Component): number => signal ** 2 * deviation ** 2 + noise ** 2;

    const centres = constants(({ mean }) => mean.map((value) => signal * value), [count, channels]);
    const fromCentre = x.reshape([-1, 1, channels]).sub(centres);
    const responsibilities = fromCentre
      .square()
      .sum(-1)
      .mul(constants((k) => [-0.5 / variance(k)], [count]))
      .add(constants((k) => [Math.log(k.weight) - (channels / 2) * Math.log(variance(k))], [count]))
      .softmax()
      .unsqueeze(-1);

    const weights = predictionWeights(type, { signal, noise }, options);
    const slopes = constants(
      (k) => [(weights.x0 * signal * k.deviation ** 2 + weights.epsilon * noise) / variance(k)],
      [count, 1],
    );
    const offsets = constants(({ mean }) => mean.map((value) => weights.x0 * value), [count, channels]);
    return fromCentre.mul(slopes).add(offsets).mul(responsibilities).sum(1).reshape(x.shape);
  }

  /** The mean over the components of a number for each channel. */
  private expected(of: (component: Component, channel: number) => number): number[] {
    return Array.from({ length: this.channels }, (_, channel) =>
      this.components.reduce((sum, component) => sum + component.weight * of(component, channel), 0),
    );
  }
}
