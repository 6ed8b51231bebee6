// Quantiles of the beta distribution, from the continued fraction of its distribution function.

/** The x at which the beta distribution has probability p to its left (scipy.stats.beta.ppf), to about 13 digits. */
export function betaQuantile(p: number, alpha: number, beta: number): number {
  if (p <= 0 || p >= 1) return p <= 0 ? 0 : 1;
  // By symmetry the smaller tail: near 1 there are no small differences in float64.
  if (p > betaProbability(0.5, alpha, beta)) return 1 - betaQuantile(1 - p, beta, alpha);
  let [low, high] = [0, 0.5];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) return middle;
    if (betaProbability(middle, alpha, beta) < p) low = middle;
    else high = middle;
  }
}

/** The regularised incomplete beta function I_x(alpha, beta) (DLMF 8.17), for x up to 1/2 or so. */
function betaProbability(x: number, alpha: number, beta: number): number {
  const logBeta = logGamma(alpha) + logGamma(beta) - logGamma(alpha + beta);
  const front = Math.exp(alpha * Math.log(x) + beta * Math.log1p(-x) - logBeta) / alpha;
  return front / continuedFraction(x, alpha, beta);
}

/** DLMF 8.17.22: 1 + d1 / (1 + d2 / (1 + ...)), evaluated from the far end. */
function continuedFraction(x: number, alpha: number, beta: number): number {
  let value = 1;
  for (let i = 60; i > 0; i--) {
    const m = Math.floor(i / 2);
    const d =
      i % 2 === 0
        ? (m * (beta - m) * x) / ((alpha + 2 * m - 1) * (alpha + 2 * m))
        : (-(alpha + m) * (alpha + beta + m) * x) / ((alpha + 2 * m) * (alpha + 2 * m + 1));
    value = 1 + d / value;
  }
  return value;
}

/** ln Gamma(x) for x > 0: Stirling's series (DLMF 5.11.1) from x + 15 on, brought back by the recurrence. */
function logGamma(x: number): number {
  let product = 1;
  for (let i = 0; i < 15; i++) product *= x + i;
  const z = x + 15;
  const series = 1 / (12 * z) - 1 / (360 * z ** 3) + 1 / (1260 * z ** 5) - 1 / (1680 * z ** 7);
  return (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series - Math.log(product);
}
