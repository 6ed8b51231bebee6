// Elements picked along an axis by index, and added up by index.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { expectDType, expectIntegers, expectShape, expectSizes, resolveAxis } from "./checks.ts";
import type { Op, Shape, TensorType } from "./types.ts";
import { defineOp, sizeOf } from "./types.ts";

/** Refuses an index whose sizes, but for that of `axis`, exceed those of what it points into. */
function expectIndex(op: string, index: TensorType, target: string, shape: Shape, axis: number): void {
  expectDType(op, "index", index, ["int32"]);
  const along = resolveAxis(op, axis, shape.length);
  if (index.shape.length !== shape.length || index.shape.some((n, i) => i !== along && n > shape[i]))
    throw new ShapeError({
      op,
      problem: `index has shape ${showShape(index.shape)}, ${target} ${showShape(shape)}.`,
      advice: `Ranks must be equal, and no size of index but that of axis ${along} may exceed ${target}'s.`,
    });
}

/** Refuses a position outside axis 0, which has `rows` places. */
function expectRow(op: string, index: number, rows: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= rows)
    throw new ArgumentError({
      op,
      problem: `index is ${index}, expected an integer from 0 to ${rows - 1}.`,
    });
}

/** y = x[index] along axis 0: what one step of a plan takes from a table. */
export const row: Op<{ readonly index: "int" }> = defineOp({
  name: "row",
  inputs: ["x"],
  exact: true,
  attributes: { index: "int" },
  perStep: ["index"],
  infer([x], { index }) {
    if (x!.shape.length === 0)
      throw new ShapeError({ op: "row", problem: "x is a scalar, expected a table [rows, ...]." });
    expectRow("row", index, x!.shape[0]);
    return { shape: x!.shape.slice(1), dtype: x!.dtype };
  },
  viewOffset: ([x], { index }) => index * sizeOf(x!.shape.slice(1)),
  gradient: (b, c) => [
    b.apply(rowGradient, [c.gradient], { rows: c.inputTypes[0]!.shape[0], index: c.attributes.index }),
  ],
  samples: [
    { name: "images", inputs: [{ shape: [5, 2, 3, 7] }], attributes: { index: 3 } },
    { name: "scalars", inputs: [{ shape: [9] }], attributes: { index: 8 } },
    { name: "int32", inputs: [{ shape: [4, 33], dtype: "int32", range: [-9, 9] }], attributes: { index: 0 } },
  ],
});

/** Zeros [rows, ...] with x at `index` of axis 0: the gradient of row, as row is its own. */
export const rowGradient: Op<{ readonly rows: "int"; readonly index: "int" }> = defineOp({
  name: "rowGradient",
  inputs: ["x"],
  exact: true,
  attributes: { rows: "int", index: "int" },
  perStep: ["index"],
  infer([x], { rows, index }) {
    expectIntegers("rowGradient", "rows", [rows], 1, 1);
    expectRow("rowGradient", index, rows);
    const shape = [rows, ...x!.shape];
    expectSizes("rowGradient", shape);
    return { shape, dtype: x!.dtype };
  },
  gradient: (b, c) => [b.apply(row, [c.gradient], { index: c.attributes.index })],
  samples: [
    { name: "images", inputs: [{ shape: [2, 3, 7] }], attributes: { rows: 5, index: 3 } },
    { name: "scalars", inputs: [{ shape: [] }], attributes: { rows: 9, index: 8 } },
    { name: "int32", inputs: [{ shape: [33], dtype: "int32", range: [-9, 9] }], attributes: { rows: 4, index: 0 } },
  ],
});

/**
 * y[i, j, k] = x[i, index[i, j, k], k] for axis 1, and so on. An index outside 0..n-1 gives NaN (in int32 the smallest
 * integer): indexes live on the device, so the error cannot be thrown where the op is called.
 */
export const gather: Op<{ readonly axis: "int" }> = defineOp({
  name: "gather",
  inputs: ["x", "index"],
  exact: true,
  attributes: { axis: "int" },
  infer([x, index], { axis }) {
    expectIndex("gather", index!, "x", x!.shape, axis);
    return { shape: index!.shape, dtype: x!.dtype };
  },
  keeps: { inputs: [1] },
  gradient: (b, c) => [
    b.apply(scatterAdd, [c.input(1), c.gradient], { axis: c.attributes.axis, shape: c.inputTypes[0]!.shape }),
    undefined,
  ],
  samples: [
    {
      name: "last",
      inputs: [{ shape: [5, 9] }, { shape: [4, 13], dtype: "int32", range: [0, 9] }],
      attributes: { axis: -1 },
    },
    {
      name: "middle",
      inputs: [{ shape: [3, 7, 2, 5] }, { shape: [3, 4, 2, 3], dtype: "int32", range: [0, 7] }],
      attributes: { axis: 1 },
    },
    {
      name: "first, wide",
      inputs: [{ shape: [9, 700] }, { shape: [30, 700], dtype: "int32", range: [0, 9] }],
      attributes: { axis: 0 },
    },
    {
      name: "vector",
      inputs: [{ shape: [20] }, { shape: [33], dtype: "int32", range: [0, 20] }],
      attributes: { axis: 0 },
    },
    {
      name: "int32",
      inputs: [
        { shape: [4, 6], dtype: "int32", range: [-99, 99] },
        { shape: [4, 5], dtype: "int32", range: [0, 6] },
      ],
      attributes: { axis: 1 },
    },
  ],
});

/**
 * Zeros of `shape`, to which y[i, index[i, j, k], k] += x[i, j, k] adds for axis 1, and so on, in the order of j. An
 * index out of range adds to nothing. The gradient of gather, as gather is its own.
 */
export const scatterAdd: Op<{ readonly axis: "int"; readonly shape: "ints" }> = defineOp({
  name: "scatterAdd",
  inputs: ["index", "x"],
  attributes: { axis: "int", shape: "ints" },
  infer([index, x], { axis, shape }) {
    expectSizes("scatterAdd", shape);
    expectIndex("scatterAdd", index!, "the result", shape, axis);
    expectShape("scatterAdd", "x", x!, index!.shape, "as index");
    return { shape, dtype: x!.dtype };
  },
  terms: ([index]) => Math.max(1, sizeOf(index!.shape)),
  keeps: { inputs: [0] },
  gradient: (b, c) => [undefined, b.apply(gather, [c.gradient, c.input(0)], { axis: c.attributes.axis })],
  samples: [
    {
      name: "last",
      inputs: [{ shape: [4, 13], dtype: "int32", range: [0, 9] }, { shape: [4, 13] }],
      attributes: { axis: -1, shape: [5, 9] },
    },
    {
      name: "middle",
      inputs: [{ shape: [3, 4, 2, 3], dtype: "int32", range: [0, 7] }, { shape: [3, 4, 2, 3] }],
      attributes: { axis: 1, shape: [3, 7, 2, 5] },
    },
    {
      name: "first, wide",
      inputs: [{ shape: [30, 700], dtype: "int32", range: [0, 9] }, { shape: [30, 700] }],
      attributes: { axis: 0, shape: [9, 700] },
    },
    {
      name: "int32",
      inputs: [
        { shape: [50], dtype: "int32", range: [0, 6] },
        { shape: [50], dtype: "int32", range: [-99, 99] },
      ],
      attributes: { axis: 0, shape: [6] },
    },
  ],
});
