// What a kernel of the `ts` executor sees of an operand: the typed array under it, and where its rows lie.

import type { DType, Shape } from "../../ops/index.ts";
import type { ElementArray } from "../executor.ts";

/** Row r of the last axis begins at `offset + r * pitch` and has `cols` adjacent elements. */
export interface View {
  readonly data: ElementArray;
  readonly offset: number;
  readonly shape: Shape;
  readonly pitch: number;
  readonly dtype: DType;
  /** Product of all sizes but the last; 1 for a scalar. */
  readonly rows: number;
  /** The last size; 1 for a scalar. */
  readonly cols: number;
}

/** Computes one op. For an in-place op `output` is the first written input. */
export type Kernel<A> = (output: View, inputs: readonly (View | undefined)[], attributes: A) => void;

/** Distance in elements between neighbours along each axis. */
export function stridesOf({ shape, pitch }: View): number[] {
  const strides = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--)
    strides[axis] =
      axis === shape.length - 1 ? 1 : axis === shape.length - 2 ? pitch : strides[axis + 1] * shape[axis + 1];
  return strides;
}

/** A batch as kernels that work image by image walk it: `count` images of `rows` rows of `cols` elements. */
export interface Images {
  readonly count: number;
  readonly rows: number;
  readonly cols: number;
  /** Distance between rows, and between images. */
  readonly pitch: number;
  readonly stride: number;
}

/** Splits along axis 0; the images of a vector are its elements, and a scalar is one image of one element. */
export function imagesOf({ shape, rows, cols, pitch }: View): Images {
  if (shape.length < 2) return { count: cols, rows: 1, cols: 1, pitch: 1, stride: 1 };
  const perImage = shape[0] === 0 ? 0 : rows / shape[0];
  return { count: shape[0], rows: perImage, cols, pitch, stride: perImage * pitch };
}
