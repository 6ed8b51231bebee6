// Vectors by their direction: at unit length, and how much two of them agree.

import { broadcastShapes, expectDType, expectSameDType, floating, resolveAxis } from "../../ops/checks.ts";
import type { NormOptions } from "../arguments.ts";
import { sameShape } from "../elements.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/** Along which axis vectors lie. */
export interface DirectionOptions {
  /** Default -1: the last, which are the channels (in PyTorch axis 1, where its channels are). */
  readonly axis?: number;
  /** The least that is divided by. */
  readonly epsilon?: number;
}

/**
 * x divided by its norm along an axis, or by `epsilon`, default 1e-12, where that is larger
 * (`torch.nn.functional.normalize`): vectors of length 1, zeros staying zeros. `p` is the norm's: 1, 2 (the default) or
 * Infinity.
 */
export function normalize(x: Tensor, options: DirectionOptions & Pick<NormOptions, "p"> = {}): Tensor {
  expectTensor("normalize", "x", x);
  expectDType("normalize", "x", x, floating);
  const { axis = -1, epsilon = 1e-12, p = 2 } = options;
  resolveAxis("normalize", axis, x.rank);
  return scope(() => x.div(x.norm(axis, { p, keepDims: true }).clamp({ min: epsilon })));
}

/**
 * Cosine of the angle between vectors along an axis (`torch.nn.functional.cosine_similarity`), which goes: the sum of
 * products divided by both norms, each at least `epsilon`, default 1e-8. a and b broadcast.
 */
export function cosineSimilarity(a: Tensor, b: Tensor, options: DirectionOptions = {}): Tensor {
  const op = "cosineSimilarity";
  expectTensor(op, "a", a);
  expectTensor(op, "b", b);
  expectDType(op, "a", a, floating);
  expectSameDType(op, ["a", "b"], a, b);
  const { axis = -1, epsilon = 1e-8 } = options;
  const shape = broadcastShapes(op, a.shape, b.shape);
  resolveAxis(op, axis, shape.length);
  return scope(() => {
    const [x, y] = [a, b].map((vectors) => (sameShape(vectors.shape, shape) ? vectors : vectors.broadcastTo(shape)));
    const lengths = [x, y].map((vectors) => vectors.norm(axis).clamp({ min: epsilon }));
    return x.mul(y).sum(axis).div(lengths[0].mul(lengths[1]));
  });
}
