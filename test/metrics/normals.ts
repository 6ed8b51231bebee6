// Seeded normal numbers in float64.

import { randn, scope } from "langevin";

/** `count` standard normal numbers, others for each draw. */
export function normals(count: number, draw = 0): Float64Array {
  if (count === 0) return new Float64Array(0);
  const noise = { seed: 11, step: draw, dtype: "float64", device: "ts" } as const;
  return Float64Array.from(scope(() => randn([count], noise).toArray() as number[]));
}
