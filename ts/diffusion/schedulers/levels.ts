// Noise levels of what samplers step through, by how x is scaled, and how networks are given x.

import type { NoiseLevel } from "../predictions.ts";

/** x = sqrt(alphaBar) x0 + sqrt(1 - alphaBar) epsilon. */
export function alphaBarLevel(alphaBar: number): NoiseLevel {
  return { signal: Math.sqrt(alphaBar), noise: Math.sqrt(1 - alphaBar) };
}

/** x = (x0 + sigma epsilon) / sqrt(1 + sigma^2): the variance is preserved. */
export function preservingLevel(sigma: number): NoiseLevel {
  const deviation = Math.hypot(1, sigma);
  return { signal: 1 / deviation, noise: sigma / deviation };
}

/** x = x0 + sigma epsilon: the variance explodes. */
export function explodingLevel(sigma: number): NoiseLevel {
  return { signal: 1, noise: sigma };
}

/** x = (1 - sigma) x0 + sigma epsilon: flow matching. */
export function flowLevel(sigma: number): NoiseLevel {
  return { signal: 1 - sigma, noise: sigma };
}

/** What x = x0 + sigma epsilon is scaled by for a network that was trained with the variance preserved. */
export function inputScaleOf(sigma: number): number {
  return 1 / Math.hypot(sigma, 1);
}
