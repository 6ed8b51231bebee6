// Metrics: values that are known in closed form, forms in which features are given, and errors.

import { expect } from "chai";
import {
  ArgumentError,
  FeatureStatistics,
  ShapeError,
  frechetDistance,
  inceptionScore,
  kernelDistance,
  psnr,
  tensor,
  zeros,
} from "langevin";
import type { ShapedNumbers } from "langevin";
import { nuclearNorm, transposedProduct } from "../../ts/metrics/matrices.ts";
import { rejection } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";
import { normals } from "./normals.ts";

/** Features [n, d], each column with its own scale and offset. */
function features(n: number, d: number, draw: number, scale = 1, offset = 0): ShapedNumbers {
  return { data: normals(n * d, draw).map((x, i) => x * (scale + (i % d)) + offset), shape: [n, d] };
}

const rowsOf = ({ data, shape: [n, d] }: ShapedNumbers): number[][] =>
  Array.from({ length: n }, (_, i) => Array.from({ length: d }, (_, j) => data[i * d + j]));

async function expectError(promise: Promise<unknown>, kind: typeof ArgumentError, message: string): Promise<void> {
  const error = await rejection(promise);
  expect(error).to.be.instanceOf(kind);
  expect(error.message).to.equal(message);
}

describe("frechetDistance", () => {
  it("of Gaussians whose covariances commute is that of their means and deviations", async () => {
    const gaussian = (mean: number[], deviations: number[]) => ({
      mean,
      covariance: deviations.flatMap((s, i) => deviations.map((_, j) => (i === j ? s * s : 0))),
    });
    const distance = await frechetDistance(gaussian([1, 2, 3], [1, 2, 0]), gaussian([1, 4, 2], [3, 2, 5]));
    expect(distance).to.be.closeTo(4 + 1 + 4 + 0 + 25, 1e-12);
  });

  it("is symmetric, 0 from a set to itself, and grows by the square of a shift", async () => {
    const [a, b] = [features(50, 6, 0), features(40, 6, 1, 2)];
    const distance = await frechetDistance(a, b);
    expect(distance).to.be.greaterThan(1);
    expect(await frechetDistance(b, a)).to.be.closeTo(distance, 1e-10);
    expect(await frechetDistance(a, a)).to.be.within(0, 1e-10);
    const shifted = { ...a, data: Float64Array.from(a.data, (x) => x + 3) };
    expect(await frechetDistance(a, shifted)).to.be.closeTo(6 * 9, 1e-9);
  });

  it("takes fewer pictures than features", async () => {
    // Of few pictures, S = Xᵀ X / (n - 1), and tr (S1 S2)^(1/2) is the nuclear norm of X1 X2ᵀ / sqrt((n1 - 1)(n2 - 1)).
    const [a, b] = [features(5, 30, 0), features(8, 30, 1)];
    const centred = ({ data, shape: [n, d] }: ShapedNumbers) => {
      const columns = Array.from({ length: d * n }, (_, i) => data[(i % n) * d + Math.floor(i / n)]);
      const means = Array.from(
        { length: d },
        (_, j) => columns.slice(j * n, (j + 1) * n).reduce((s, x) => s + x, 0) / n,
      );
      const scaled = columns.map((x, i) => (x - means[Math.floor(i / n)]) / Math.sqrt(n - 1));
      return { means, x: { rows: d, columns: n, data: Float64Array.from(scaled) } };
    };
    const [p, q] = [centred(a), centred(b)];
    const squares = (list: ArrayLike<number>): number => Array.from(list).reduce((s, x) => s + x * x, 0);
    const expected =
      squares(p.means.map((mean, j) => mean - q.means[j])) +
      squares(p.x.data) +
      squares(q.x.data) -
      2 * nuclearNorm(transposedProduct(p.x, q.x));
    expect(await frechetDistance(a, b)).to.be.closeTo(expected, 1e-6 * expected);
    expect(await frechetDistance(a, a)).to.be.within(0, 1e-5);
  });

  it("has statistics from batches of any size, however far from 0 the features are", async () => {
    const all = features(23, 4, 0, 1, 1e4);
    const rows = rowsOf(all);
    const batches = new FeatureStatistics();
    for (const batch of [rows.slice(0, 1), rows.slice(1, 9), [], rows.slice(9)]) await batches.add(batch);
    const whole = await FeatureStatistics.of(all);
    expect([batches.count, whole.count]).to.deep.equal([23, 23]);
    whole.mean.forEach((value, j) => expect(batches.mean[j]).to.be.closeTo(value, 1e-9));
    whole.covariance.forEach((value, j) => expect(batches.covariance[j]).to.be.closeTo(value, 1e-9));
    const other = features(30, 4, 1, 1, 1e4);
    expect(await frechetDistance(batches, other)).to.be.closeTo(await frechetDistance(all, other), 1e-8);
  });

  it("takes half a second for 256 features", async function () {
    this.timeout(20_000);
    const statistics = await FeatureStatistics.of(features(300, 256, 0));
    expect(await frechetDistance(statistics, statistics)).to.be.closeTo(0, 1e-5);
  });

  it("refuses what has no covariance, or another number of features", async () => {
    const a = features(5, 3, 0);
    const one = features(1, 3, 0);
    await expectError(
      frechetDistance(a, one),
      ArgumentError,
      "frechetDistance: the second features are of 1 pictures, expected at least 2.",
    );
    await expectError(
      frechetDistance(a, features(5, 4, 0)),
      ShapeError,
      "frechetDistance: the pictures of one set have 3 features, those of the other 4. Compute both by the same network.",
    );
    await expectError(
      frechetDistance({ mean: [1, 2], covariance: [1, 0, 1] }, a),
      ShapeError,
      "frechetDistance: the mean of the first features is of 2 and the covariance has 3 elements, expected [2, 2].",
    );
    await expectError(
      frechetDistance({ mean: [1, 2], covariance: [1, 0.5, 0, 1] }, a),
      ArgumentError,
      "frechetDistance: the covariance of the first features is 0 at [1, 0] and 0.5 at [0, 1]. A covariance is symmetric.",
    );
    await expectError(
      frechetDistance(a, { mean: [1, 2, 3], covariance: [1, 0, 0, 0, -1, 0, 0, 0, 1] }),
      ArgumentError,
      "frechetDistance: the covariance of the second features is -1 at [1, 1]. Variances, on the diagonal, are at least 0.",
    );
    await expectError(
      frechetDistance(undefined as never, a),
      ArgumentError,
      "FeatureStatistics.add: features is undefined, expected a tensor, an array of rows, or { data, shape }.",
    );
    const statistics = await FeatureStatistics.of(a);
    await expectError(
      statistics.add(features(5, 4, 0)),
      ShapeError,
      "FeatureStatistics.add: the pictures of one set have 3 features, those of the other 4. Compute both by the same network.",
    );
  });

  it("refuses what are no features", async () => {
    const of = (set: unknown): Promise<unknown> => FeatureStatistics.of(set as ShapedNumbers);
    const op = "FeatureStatistics.add";
    await expectError(of([[1, 2], [3]]), ShapeError, `${op}: features[1] has 1 elements, and features[0] 2. Expected an array of rows of one length.`); // prettier-ignore
    await expectError(of([[1, NaN]]), ArgumentError, `${op}: features is NaN at [0, 1], expected finite numbers.`);
    await expectError(
      of(7),
      ArgumentError,
      `${op}: features is 7, expected a tensor, an array of rows, or { data, shape }.`,
    );
    await expectError(
      of({ data: [1, 2], shape: [3, 1] }),
      ShapeError,
      `${op}: features has 2 elements, and shape [3, 1] has 3.`,
    );
    await expectError(of({ data: [1, 2], shape: [2] }), ShapeError, `${op}: features has shape [2], expected [N, D]: a row of features for each picture.`); // prettier-ignore
  });
});

describe("kernelDistance", () => {
  it("is the unbiased estimate, by its definition", async () => {
    const [a, b] = [[[1, 0], [0, 2]], [[1, 1], [0, 0], [2, 0]]]; // prettier-ignore
    const kernel = (x: number[], y: number[]): number => ((x[0] * y[0] + x[1] * y[1]) / 2 + 1) ** 3;
    const withinA = kernel(a[0], a[1]);
    const withinB = (kernel(b[0], b[1]) + kernel(b[0], b[2]) + kernel(b[1], b[2])) / 3;
    const between = a.flatMap((x) => b.map((y) => kernel(x, y))).reduce((sum, k) => sum + k, 0) / 6;
    expect(await kernelDistance(a, b)).to.be.closeTo(withinA + withinB - 2 * between, 1e-12);
  });

  it("of subsets is the same for a seed, the whole where a subset is all, and near it for many", async () => {
    const [a, b] = [features(40, 3, 0), features(30, 3, 1, 1.5)];
    const whole = await kernelDistance(a, b);
    const of = (subsetSize: number, subsets: number, seed = 0): Promise<number> =>
      kernelDistance(a, b, { subsetSize, subsets, seed });
    expect(await of(20, 3)).to.equal(await of(20, 3));
    expect(await of(20, 3)).not.to.equal(await of(20, 3, 1));
    expect(await kernelDistance(b, b, { subsetSize: 30, subsets: 2 })).to.be.closeTo(await kernelDistance(b, b), 1e-9);
    expect(await of(25, 400)).to.be.closeTo(whole, 0.15 * Math.abs(whole));
  });

  it("refuses sets that are too small, and options out of range", async () => {
    const a = features(5, 3, 0);
    await expectError(
      kernelDistance(a, features(1, 3, 0)),
      ArgumentError,
      "kernelDistance: the second features are of 1 pictures, expected at least 2.",
    );
    await expectError(
      kernelDistance(a, a, { subsetSize: 6 }),
      ArgumentError,
      "kernelDistance: the first features are of 5 pictures, expected at least 6.",
    );
    await expectError(
      kernelDistance(a, a, { subsetSize: 1 }),
      ArgumentError,
      "kernelDistance: subsetSize is 1, expected an integer >= 2.",
    );
  });
});

describe("inceptionScore", () => {
  it("is 1 where all pictures look alike, and the number of classes where each looks like one of them", async () => {
    expect(await inceptionScore([[0.2, 0.8], [0.2, 0.8]])).to.be.closeTo(1, 1e-15); // prettier-ignore
    expect(await inceptionScore([[1, 0, 0], [0, 1, 0], [0, 0, 1]])).to.be.closeTo(3, 1e-14); // prettier-ignore
  });

  it("refuses logits", async () => {
    await expectError(
      inceptionScore([[0.5, 0.5], [2, -1]]), // prettier-ignore
      ArgumentError,
      "inceptionScore: row 1 of the probabilities has the sum 1 and negative ones. " +
        "Expected probabilities that add up to 1; of logits take softmax(-1) first.",
    );
    expect((await rejection(inceptionScore([[2, 3]]))).message).to.match(/row 0 of the probabilities has the sum 5\./);
    expect((await rejection(inceptionScore([]))).message).to.match(/of 0 pictures, expected at least 1\./);
  });
});

onEveryDevice("metrics of tensors", () => {
  it("are those of the numbers in them, in float64", async () => {
    const [a, b] = [features(12, 3, 0), features(15, 3, 1)].map((x) => ({ ...x, data: Float32Array.from(x.data) }));
    const [s, t] = [a, b].map(({ data, shape }) => tensor(data, { shape }));
    expect(await frechetDistance(s, t)).to.equal(await frechetDistance(a, b));
    expect(await kernelDistance(s, b)).to.equal(await kernelDistance(a, b));
  });

  it("psnr is in decibels, for each picture", async () => {
    const [a, b] = [
      zeros([3, 2, 2, 1]),
      tensor([0, 0, 0, 0, 2, 2, 2, 2, 0.1, -0.1, 0.1, 0.1], { shape: [3, 2, 2, 1] }),
    ];
    const [same, worst, close] = await psnr(a, b, { range: 2 });
    expect([same, worst]).to.deep.equal([Infinity, 0]);
    expect(close).to.be.closeTo(20 * Math.log10(20), 1e-6);
  });

  it("psnr refuses pictures of different shapes, one without a batch, and no range", async () => {
    const a = zeros([2, 3]);
    await expectError(
      psnr(a, zeros([2, 4]), { range: 1 }),
      ShapeError,
      "psnr: a has shape [2, 3] and b [2, 4], expected one shape.",
    );
    await expectError(
      psnr(zeros([2]), zeros([2]), { range: 1 }),
      ShapeError,
      "psnr: the pictures have shape [2], expected [N, ...].",
    );
    await expectError(
      psnr(a, a, { range: 0 }),
      ArgumentError,
      "psnr: range is 0, expected a number > 0. It is 2 for pictures from -1 to 1.",
    );
  });
});
