// Rows of a table picked by index, and the dense gradient of the table.

import { expectDType, expectIntegers, expectRank, expectShape, floating } from "./checks.ts";
import type { Op } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

/**
 * table [rows, D], index int32 [...] -> [..., D]. An index outside 0..rows-1 gives a row of NaN: indexes live on the
 * device, so the error cannot be thrown where the op is called.
 */
export const embedding: Op<Record<never, never>> = defineOp({
  name: "embedding",
  inputs: ["table", "index"],
  exact: true,
  attributes: {},
  infer([table, index]) {
    expectRank("embedding", "table", table!, 2, "[rows, D]");
    expectDType("embedding", "table", table!, floating);
    expectDType("embedding", "index", index!, ["int32"]);
    return { shape: [...index!.shape, table!.shape[1]], dtype: table!.dtype };
  },
  keeps: { inputs: [1] },
  gradient: (b, c) => [
    b.apply(embeddingGradient, [c.input(1), c.gradient], { rows: c.inputTypes[0]!.shape[0] }),
    undefined,
  ],
  samples: [
    {
      name: "timesteps",
      inputs: [{ shape: [100, 16] }, { shape: [40], dtype: "int32", range: [0, 100] }],
      attributes: {},
    },
    { name: "grid", inputs: [{ shape: [5, 3] }, { shape: [4, 6], dtype: "int32", range: [0, 5] }], attributes: {} },
    { name: "one", inputs: [{ shape: [9, 4] }, { shape: [], dtype: "int32", range: [0, 9] }], attributes: {} },
  ],
});

/** dtable[r] = sum of dy over the places where index == r, in their order; indexes out of range are left out. */
export const embeddingGradient: Op<{ readonly rows: "int" }> = defineOp({
  name: "embeddingGradient",
  inputs: ["index", "dy"],
  terms: ([index]) => sizeOf(index!.shape),
  attributes: { rows: "int" },
  infer([index, dy], { rows }) {
    expectIntegers("embeddingGradient", "rows", [rows], 1, 1);
    expectDType("embeddingGradient", "index", index!, ["int32"]);
    expectDType("embeddingGradient", "dy", dy!, floating);
    const width = dy!.shape[dy!.shape.length - 1];
    expectShape("embeddingGradient", "dy", dy!, [...index!.shape, width], "(index's shape and the row width)");
    return { shape: [rows, width], dtype: dy!.dtype };
  },
  keeps: { inputs: [0] },
  gradient: (b, c) => [undefined, b.apply(embedding, [c.gradient, c.input(0)], {})],
  samples: [
    {
      name: "repeated",
      inputs: [{ shape: [50], dtype: "int32", range: [0, 7] }, { shape: [50, 16] }],
      attributes: { rows: 9 },
    },
    {
      name: "wide",
      inputs: [{ shape: [40], dtype: "int32", range: [0, 60] }, { shape: [40, 70] }],
      attributes: { rows: 60 },
    },
    {
      name: "grid",
      inputs: [{ shape: [3, 4], dtype: "int32", range: [0, 5] }, { shape: [3, 4, 3] }],
      attributes: { rows: 5 },
    },
  ],
});
