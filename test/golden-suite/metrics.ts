// Cases of metrics: Frechet and kernel distance of features, inception score, PSNR.

import { FeatureStatistics, frechetDistance, inceptionScore, kernelDistance, psnr } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";

const number = (value: number): Numbers => ({ data: Float64Array.of(value), shape: [], dtype: "float32" });

interface DistancesCase {
  readonly inputs: { readonly features1: string; readonly features2: string };
  readonly mu1: string;
  readonly mu2: string;
  readonly sigma1: string;
  readonly sigma2: string;
  readonly frechet: number;
  readonly kid: number;
  readonly frechet_self: number;
  readonly tolerance: { readonly frechet: Tolerance; readonly kid: { readonly rtol: number } };
}

/** The numbers as they are: metrics are in float64, and on no device. */
export async function runDistancesCase(data: DataSet, given: Case): Promise<boolean> {
  const { inputs, tolerance, ...c } = given as unknown as DistancesCase;
  const [first, second] = [data.read(inputs.features1), data.read(inputs.features2)];
  const statistics = await Promise.all([first, second].map((features) => FeatureStatistics.of(features)));
  for (const [i, { mean, covariance }] of statistics.entries()) {
    const expected = i === 0 ? { mu: c.mu1, sigma: c.sigma1 } : { mu: c.mu2, sigma: c.sigma2 };
    const [mu, sigma] = [data.read(expected.mu), data.read(expected.sigma)];
    expectClose(`mean ${i + 1}`, { ...mu, data: mean }, mu, { rtol: 1e-12, atol: 1e-12 });
    expectClose(`covariance ${i + 1}`, { ...sigma, data: covariance }, sigma, { rtol: 1e-12, atol: 1e-12 });
  }
  const { frechet } = tolerance;
  expectClose("frechet", number(await frechetDistance(first, second)), number(c.frechet), frechet);
  expectClose("frechet_self", number(await frechetDistance(first, first)), number(c.frechet_self), frechet);
  const kid = number(await kernelDistance(first, second));
  expectClose("kid", kid, number(c.kid), { ...tolerance.kid, atol: 0 });
  return true;
}

/** Runs the case of the inception score. */
export async function runInceptionScoreCase(data: DataSet, given: Case): Promise<boolean> {
  const { inputs, value, tolerance } = given as unknown as {
    readonly inputs: { readonly probs: string };
    readonly value: number;
    readonly tolerance: { readonly rtol: number };
  };
  const score = number(await inceptionScore(data.read(inputs.probs)));
  expectClose("score", score, number(value), { ...tolerance, atol: 0 });
  return true;
}

/** Runs the case of PSNR. */
export async function runPsnrCase(data: DataSet, given: Case): Promise<boolean> {
  const c = given as unknown as {
    readonly inputs: { readonly a: string; readonly b: string };
    readonly psnr: readonly number[];
    readonly tolerance: { readonly rtol: number };
  };
  const got = await psnr(data.read(c.inputs.a), data.read(c.inputs.b), { range: 1 });
  const numbers = (values: ArrayLike<number>): Numbers => ({
    data: Float64Array.from(values),
    shape: [values.length],
    dtype: "float32",
  });
  expectClose("psnr", numbers(got), numbers(c.psnr), { ...c.tolerance, atol: 0 });
  return true;
}
