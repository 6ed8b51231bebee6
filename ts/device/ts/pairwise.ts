// Pairwise summation: the rounding error of a long sum grows with the logarithm of its length.

/** Longest sum that is taken one term after the other. */
const block = 1024;

/** Sum of terms from <= k < to; `sumBlock` adds at most 1,024 of them in order. The length alone decides the order. */
export function pairwiseSum(from: number, to: number, sumBlock: (from: number, to: number) => number): number {
  if (to - from <= block) return sumBlock(from, to);
  const middle = from + block * Math.ceil((to - from) / (2 * block));
  return pairwiseSum(from, middle, sumBlock) + pairwiseSum(middle, to, sumBlock);
}
