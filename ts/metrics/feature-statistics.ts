// Mean and covariance of features, gathered batch by batch.

import { ArgumentError } from "../errors/index.ts";
import type { Features } from "./features.ts";
import { expectEnough, expectSameWidth, readFeatures } from "./features.ts";
import type { Matrix } from "./matrices.ts";
import { addTransposedProduct, zeroMatrix } from "./matrices.ts";

/** A Gaussian that stands for a set of pictures. */
export interface GaussianStatistics {
  /** Mean of each of D features. */
  readonly mean: ArrayLike<number>;
  /** Their covariance [D, D], row after row. */
  readonly covariance: ArrayLike<number>;
}

/**
 * Mean and covariance of features that come in batches, in float64: what `frechetDistance` needs of a set of pictures, in
 * memory that does not grow with it.
 *
 * ```ts
 * const real = new FeatureStatistics();
 * for (const batch of batches) await real.add(network.forward(batch));
 * ```
 */
export class FeatureStatistics implements GaussianStatistics {
  private seen = 0;
  private average = new Float64Array(0);
  /** The sum of (x - mean) (x - mean)ᵀ. */
  private scatter: Matrix = zeroMatrix(0, 0);

  /** The statistics of all features [N, D] at once. */
  static async of(features: Features): Promise<FeatureStatistics> {
    const statistics = new FeatureStatistics();
    await statistics.add(features);
    return statistics;
  }

  /** Number of pictures so far. */
  get count(): number {
    return this.seen;
  }

  /** The mean of the features. */
  get mean(): Float64Array {
    return this.average;
  }

  /** The covariance with N - 1 in the denominator (`numpy.cov`), row after row. Throws ArgumentError for less than two pictures. */
  get covariance(): Float64Array {
    expectEnough("FeatureStatistics.covariance", "the features", this.seen, 2);
    return this.scatter.data.map((sum) => sum / (this.seen - 1));
  }

  /** Takes in features [N, D]; D is the same for all batches. */
  async add(features: Features): Promise<this> {
    const batch = await readFeatures("FeatureStatistics.add", "features", features);
    const { rows, columns } = batch;
    if (rows === 0) return this;
    if (columns === 0)
      throw new ArgumentError({ op: "FeatureStatistics.add", problem: "the pictures have no features." });
    if (this.seen === 0) {
      this.average = new Float64Array(columns);
      this.scatter = zeroMatrix(columns, columns);
    }
    expectSameWidth("FeatureStatistics.add", this.average.length, columns);
    const mean = columnMeans(batch);
    const centred = { ...batch, data: batch.data.map((value, i) => value - mean[i % columns]) };
    addTransposedProduct(this.scatter, centred, centred);
    // Chan, Golub and LeVeque 1979, eq. 2.1: the scatter of two sets from those of each, without cancellation.
    const between = Math.sqrt((this.seen * rows) / (this.seen + rows));
    const shift = { rows: 1, columns, data: mean.map((value, j) => (value - this.average[j]) * between) };
    addTransposedProduct(this.scatter, shift, shift);
    const share = rows / (this.seen + rows);
    this.average = this.average.map((value, j) => value + share * (mean[j] - value));
    this.seen += rows;
    return this;
  }
}

function columnMeans({ rows, columns, data }: Matrix): Float64Array {
  const sums = new Float64Array(columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) sums[j] += data[i * columns + j];
  return sums.map((sum) => sum / rows);
}
