// The inception score of a set of pictures, by the classes that a network sees in them.

import { ArgumentError } from "../errors/index.ts";
import type { Features } from "./features.ts";
import { expectEnough, readFeatures } from "./features.ts";

/** Most by which probabilities may miss a sum of 1, as float32 ones of many classes do. */
const slack = 1e-3;

/**
 * The inception score (Salimans et al. 2016): exp(mean KL(p(y | x) || p(y))) of the probabilities [N, C] of C classes for
 * each of N pictures, with p(y) their mean: from 1, where all pictures look alike or like nothing, to C. Throws
 * ArgumentError for rows that are no probabilities, such as logits.
 */
export async function inceptionScore(probabilities: Features): Promise<number> {
  const op = "inceptionScore";
  const { rows, columns, data } = await readFeatures(op, "probabilities", probabilities);
  expectEnough(op, "the probabilities", rows, 1);
  const marginal = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    const row = data.subarray(i * columns, (i + 1) * columns);
    const sum = row.reduce((total, p) => total + p, 0);
    if (!(Math.abs(sum - 1) <= slack) || row.some((p) => p < 0))
      throw new ArgumentError({
        op,
        problem: `row ${i} of the probabilities has the sum ${sum}${row.some((p) => p < 0) ? " and negative ones" : ""}.`,
        advice: "Expected probabilities that add up to 1; of logits take softmax(-1) first.",
      });
    row.forEach((p, j) => (marginal[j] += p / rows));
  }
  let divergence = 0;
  data.forEach((p, i) => {
    if (p > 0) divergence += p * Math.log(p / marginal[i % columns]);
  });
  return Math.exp(divergence / rows);
}
