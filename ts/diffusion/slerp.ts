// Interpolation between noises along the sphere on which they lie.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { tensor } from "../tensor/tensor.ts";

/** Where the angle's sine is below this, a and b count as parallel, and the way between them as straight. */
const leastSine = 1e-4;

/**
 * Spherical interpolation (Shoemake 1985) from a at weight 0 to b at 1, image by image:
 * sin((1 - w) angle) / sin(angle) a + sin(w angle) / sin(angle) b. a and b [N, ...] are noises: what lies between them
 * on the straight line has less variance than noise, and networks have not seen that. Waits for the values of a and b.
 */
export function slerp(a: Tensor, b: Tensor, weight: number): Tensor {
  if (showShape(a.shape) !== showShape(b.shape) || a.rank < 2)
    throw new ShapeError({
      op: "slerp",
      problem: `a has shape ${showShape(a.shape)} and b has ${showShape(b.shape)}, expected [N, ...] of one shape.`,
    });
  if (!(weight >= 0 && weight <= 1))
    throw new ArgumentError({ op: "slerp", problem: `weight is ${weight}, expected a number from 0 to 1.` });
  return scope(() => {
    const images = a.shape[0];
    const rows = (x: Tensor): Tensor => x.reshape([images, -1]);
    const total = (x: Tensor, y: Tensor): Float64Array =>
      Float64Array.from(rows(x.mul(y)).sum([1]).toArray() as number[]);
    const [lengthsA, lengthsB, products] = [total(a, a), total(b, b), total(a, b)];
    const weights = Array.from(products, (product, image) => {
      const cosine = product / Math.sqrt(lengthsA[image] * lengthsB[image]);
      return shares(Math.acos(Math.min(1, Math.max(-1, cosine))), weight);
    });
    const factor = (k: 0 | 1): Tensor =>
      tensor(
        weights.map((pair) => [pair[k]]),
        { dtype: a.dtype, device: a.device },
      );
    return rows(a)
      .mul(factor(0))
      .add(rows(b).mul(factor(1)))
      .reshape(a.shape);
  });
}

/** What a and b are multiplied by. */
function shares(angle: number, weight: number): [number, number] {
  const sine = Math.sin(angle);
  if (!(sine > leastSine)) return [1 - weight, weight];
  return [Math.sin((1 - weight) * angle) / sine, Math.sin(weight * angle) / sine];
}
