// Choosing and blending between tensors.

import type { Operable } from "../tensor.ts";
import { Tensor, tensor } from "../tensor.ts";
import { ops } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/**
 * `a` where the int32 condition is not 0, and `b` elsewhere (`torch.where`); all three broadcast. A number takes the
 * other's dtype; two numbers the default one. Throws ShapeError where shapes do not broadcast, and DTypeError where the
 * condition is not int32 or a and b differ.
 */
export function where(condition: Tensor, a: Operable, b: Operable): Tensor {
  const choose = (yes: Tensor, no: Tensor): Tensor => apply(ops.where, [condition, yes, no], {});
  if (a instanceof Tensor)
    return b instanceof Tensor ? choose(a, b) : a.withNumber("where", b, (number) => choose(a, number));
  if (b instanceof Tensor) return b.withNumber("where", a, (number) => choose(number, b));
  expectTensor("where", "condition", condition);
  const { device } = condition;
  return scope(() => choose(tensor(a, { device }), tensor(b, { device })));
}

/**
 * a + weight * (b - a), from the nearer end (`torch.lerp`): exactly a at weight 0 and b at 1. All broadcast.
 */
export function lerp(a: Tensor, b: Tensor, weight: Operable): Tensor {
  expectTensor("lerp", "a", a);
  expectTensor("lerp", "b", b);
  return scope(() => {
    const way = b.sub(a);
    const fromA = (): Tensor => a.add(way.mul(weight));
    if (typeof weight === "number") return weight < 0.5 ? fromA() : b.sub(way.mul(1 - weight));
    return where(weight.less(0.5), fromA(), b.sub(way.mul(weight.neg().add(1))));
  });
}
