// Products with weights: linear layers and embeddings.

import { ShapeError, showShape } from "../../errors/index.ts";
import { ops } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";

/** x W + b (`torch.nn.functional.linear`): x [..., I], weight [I, O], bias [O] -> [..., O]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  expectTensor("linear", "x", x);
  expectTensor("linear", "weight", weight);
  const width = x.shape[x.rank - 1];
  if (x.rank === 0 || weight.rank !== 2 || width !== weight.shape[0])
    throw new ShapeError({
      op: "linear",
      problem: `expected ${weight.shape[0]} input features, got ${width ?? "a scalar"} (x ${showShape(x.shape)}, weight ${showShape(weight.shape)}).`,
    });
  const product = (rows: Tensor): Tensor =>
    apply(ops.matmul, [rows, weight, bias], { transposeA: false, transposeB: false });
  if (x.rank >= 2) return product(x);
  return scope(() => product(x.reshape([1, width])).reshape([weight.shape[1]]));
}

/** Rows of `table` [rows, D] picked by int32 `index` [...] (`torch.nn.functional.embedding`) -> [..., D]. */
export function embedding(table: Tensor, index: Tensor): Tensor {
  return apply(ops.embedding, [table, index], {});
}
