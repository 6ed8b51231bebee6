// Gaussians of independent elements, as diffusion models are made of: their divergence, and how likely pictures are under them.

import { expectSameDType } from "../ops/checks.ts";
import { where } from "../tensor/functional/selection.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A Gaussian for each element. */
export interface Gaussian {
  /** Its mean [N, ...]. */
  readonly mean: Tensor;
  /** log sigma², of the same shape or one that broadcasts to it. */
  readonly logVariance: Tensor;
}

/** KL(p || q) of each element in nats: (log q.sigma² - log p.sigma² - 1 + (p.sigma² + (p.mean - q.mean)²) / q.sigma²) / 2. */
export function gaussianKl(p: Gaussian, q: Gaussian): Tensor {
  expectSameDType("gaussianKl", ["p.mean", "q.mean"], p.mean, q.mean);
  return scope(() => {
    const logRatio = p.logVariance.sub(q.logVariance);
    const distance = p.mean.sub(q.mean).square().mul(q.logVariance.neg().exp());
    return logRatio.exp().sub(logRatio).sub(1).add(distance).div(2);
  });
}

/** Half the distance of two of the 256 levels of a picture from -1 to 1. */
const halfLevel = 1 / 255;
/** Least probability that a logarithm is taken of. */
const leastProbability = 1e-12;

/**
 * The log likelihood in nats of each element of a picture whose 256 levels go from -1 to 1, as the Gaussian's probability
 * of its level, the outermost ones reaching to infinity (Ho et al. 2020, eq. 13). The normal distribution function is that
 * of guided-diffusion, (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2.
 */
export function discretizedLogLikelihood(x: Tensor, { mean, logVariance }: Gaussian): Tensor {
  expectSameDType("discretizedLogLikelihood", ["x", "mean"], x, mean);
  return scope(() => {
    const centred = x.sub(mean);
    const precision = logVariance.div(-2).exp();
    const above = normalCdf(centred.add(halfLevel).mul(precision));
    const below = normalCdf(centred.sub(halfLevel).mul(precision));
    const log = (probability: Tensor): Tensor => probability.clamp({ min: leastProbability }).log();
    const inner = where(x.greater(0.999), log(below.neg().add(1)), log(above.sub(below)));
    return where(x.less(-0.999), log(above), inner);
  });
}

function normalCdf(x: Tensor): Tensor {
  const cubic = x.add(x.square().mul(x).mul(0.044715));
  return cubic
    .mul(Math.sqrt(2 / Math.PI))
    .tanh()
    .add(1)
    .div(2);
}
