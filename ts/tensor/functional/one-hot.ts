// Classes as rows of zeros with a one.

import { expectDType, expectIntegers, expectSizes } from "../../ops/checks.ts";
import { arange } from "../creation.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/**
 * 1 at the place of each class, and 0 elsewhere (`torch.nn.functional.one_hot`): int32 [...] -> int32 [..., classes]. A
 * class outside 0..classes-1 gives zeros, where PyTorch throws: indexes live on the device.
 */
export function oneHot(index: Tensor, classes: number): Tensor {
  expectTensor("oneHot", "index", index);
  expectDType("oneHot", "index", index, ["int32"]);
  expectIntegers("oneHot", "classes", [classes], 1, 1);
  expectSizes("oneHot", [...index.shape, classes]);
  return scope(() => index.unsqueeze(-1).equal(arange(classes, { device: index.device })));
}
