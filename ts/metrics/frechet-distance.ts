// The Frechet distance of two sets of pictures, by their features.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { Tensor } from "../tensor/tensor.ts";
import { FeatureStatistics } from "./feature-statistics.ts";
import type { GaussianStatistics } from "./feature-statistics.ts";
import type { Features } from "./features.ts";
import { expectEnough, expectSameWidth } from "./features.ts";
import type { Matrix } from "./matrices.ts";
import { nuclearNorm, semidefiniteFactor, transposedProduct } from "./matrices.ts";

/**
 * The (squared) Frechet distance of two Gaussians (Dowson and Landau 1982; with the features of an Inception network the FID
 * of Heusel et al. 2017): |mean1 - mean2|² + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), with S the covariances.
 *
 * Each set is given by its features [N, D] of at least two pictures, or by a mean and a covariance, such as those of
 * `FeatureStatistics`. Computed in float64; covariances may be singular, as they are for fewer pictures than features. With
 * D = 2048 it takes about half a minute, and the covariance of 10,000 pictures as long again.
 */
export async function frechetDistance(
  first: Features | GaussianStatistics,
  second: Features | GaussianStatistics,
): Promise<number> {
  const a = await gaussianOf("the first features", first);
  const b = await gaussianOf("the second features", second);
  expectSameWidth("frechetDistance", a.mean.length, b.mean.length);
  const between = a.mean.reduce((sum, value, j) => sum + (value - b.mean[j]) ** 2, 0);
  // With S = L Lᵀ, the eigenvalues of S1 S2 are the squares of the singular values of L1ᵀ L2.
  const common = nuclearNorm(transposedProduct(semidefiniteFactor(a.covariance), semidefiniteFactor(b.covariance)));
  return Math.max(0, between + trace(a.covariance) + trace(b.covariance) - 2 * common);
}

interface Gaussian {
  readonly mean: Float64Array;
  readonly covariance: Matrix;
}

async function gaussianOf(name: string, set: Features | GaussianStatistics): Promise<Gaussian> {
  if (!isGaussian(set)) {
    const statistics = await FeatureStatistics.of(set);
    expectEnough("frechetDistance", name, statistics.count, 2);
    return gaussianOf(name, statistics);
  }
  const mean = Float64Array.from(set.mean);
  const covariance = { rows: mean.length, columns: mean.length, data: Float64Array.from(set.covariance) };
  expectCovariance(name, covariance);
  return { mean, covariance };
}

function isGaussian(set: Features | GaussianStatistics): set is GaussianStatistics {
  return typeof set === "object" && set !== null && !(set instanceof Tensor) && "mean" in set && "covariance" in set;
}

function expectCovariance(name: string, { rows: n, data }: Matrix): void {
  const op = "frechetDistance";
  if (data.length !== n * n)
    throw new ShapeError({
      op,
      problem: `the mean of ${name} is of ${n} and the covariance has ${data.length} elements, expected ${showShape([n, n])}.`,
    });
  const size = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < n; i++) {
    if (data[i * n + i] < -1e-6 * size)
      throw new ArgumentError({
        op,
        problem: `the covariance of ${name} is ${data[i * n + i]} at [${i}, ${i}].`,
        advice: "Variances, on the diagonal, are at least 0.",
      });
    for (let j = 0; j <= i; j++)
      if (!(Math.abs(data[i * n + j] - data[j * n + i]) <= 1e-6 * size))
        throw new ArgumentError({
          op,
          problem: `the covariance of ${name} is ${data[i * n + j]} at [${i}, ${j}] and ${data[j * n + i]} at [${j}, ${i}].`,
          advice: "A covariance is symmetric.",
        });
  }
}

function trace({ rows, data }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < rows; i++) sum += data[i * rows + i];
  return sum;
}
