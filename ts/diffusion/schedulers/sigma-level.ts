// Noise levels of samplers that step through sigmas, by how x is scaled.

import type { NoiseLevel } from "../predictions.ts";

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
