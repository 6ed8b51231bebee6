// How the axes of an array lie here and in PyTorch, by the layout's name: the one place that knows both.

import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";

/**
 * For each of PyTorch's layouts, the axis of ours that each of its axes is:
 * - `OIHW`: weights of conv2d; ours are [KH, KW, I, O];
 * - `IOHW`: weights of conv_transpose2d, in x out x KH x KW; ours are [KH, KW, out, in];
 * - `OI`: weights of linear; ours are [in, out];
 * - `NCHW`: images; ours are NHWC;
 * - `plain`: everything that lies the same in both (biases, embeddings, scalars).
 */
const axesOfOurs = {
  OIHW: [3, 2, 0, 1],
  IOHW: [3, 2, 0, 1],
  OI: [1, 0],
  NCHW: [0, 3, 1, 2],
  plain: undefined,
} as const satisfies Record<string, readonly number[] | undefined>;

/** Names of PyTorch's layouts. */
export type TorchLayout = keyof typeof axesOfOurs;

/** For each axis of PyTorch's layout the axis of ours, where ours has `rank` axes. */
export function axesOfTorch(layout: TorchLayout, rank: number): readonly number[] {
  return axesOfOurs[layout] ?? Array.from({ length: rank }, (_, axis) => axis);
}

/** Arrays whose elements can be moved about. */
export type LayoutArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | BigInt64Array
  | BigUint64Array;

/** An array and the sizes of its axes, outermost first. */
export interface Laid<A extends LayoutArray> {
  readonly data: A;
  readonly shape: number[];
}

/** Brings an array of ours into PyTorch's layout. The data is a new array, except for `plain`. */
export function toTorch<A extends LayoutArray>(layout: TorchLayout, data: A, shape: readonly number[]): Laid<A> {
  const axes = axesFor("toTorch", layout, data, shape);
  return axes === undefined ? { data, shape: [...shape] } : permute(data, shape, axes);
}

/** Brings an array that lies as PyTorch has it into our layout. The data is a new array, except for `plain`. */
export function fromTorch<A extends LayoutArray>(layout: TorchLayout, data: A, shape: readonly number[]): Laid<A> {
  const axes = axesFor("fromTorch", layout, data, shape);
  if (axes === undefined) return { data, shape: [...shape] };
  return permute(
    data,
    shape,
    axes.map((_, axis) => axes.indexOf(axis)),
  );
}

function axesFor(
  op: string,
  layout: TorchLayout,
  data: LayoutArray,
  shape: readonly number[],
): readonly number[] | undefined {
  if (!Object.hasOwn(axesOfOurs, layout))
    throw new ArgumentError({
      op,
      problem: `there is no layout "${String(layout)}".`,
      advice: `Known are ${Object.keys(axesOfOurs).join(", ")}.`,
    });
  const axes = axesOfOurs[layout];
  if (axes !== undefined && axes.length !== shape.length)
    throw new ShapeError({ op, problem: `${layout} has ${axes.length} axes, the shape is ${showShape(shape)}.` });
  const size = shape.reduce((product, n) => product * n, 1);
  if (data.length !== size)
    throw new ShapeError({ op, problem: `${data.length} elements do not fill the shape ${showShape(shape)}.` });
  return axes;
}

/** A copy with the axes in another order: axis k of the result is axis `axes[k]` of the source. */
export function permute<A extends LayoutArray>(data: A, shape: readonly number[], axes: readonly number[]): Laid<A> {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * n, 1));
  const sizes = axes.map((axis) => shape[axis]);
  const steps = axes.map((axis) => strides[axis]);
  const result = data.slice() as A;
  const index = sizes.map(() => 0);
  let source = 0;
  for (let target = 0; target < result.length; target++) {
    result[target] = data[source];
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      source += steps[axis];
      if (++index[axis] < sizes[axis]) break;
      source -= steps[axis] * sizes[axis];
      index[axis] = 0;
    }
  }
  return { data: result, shape: sizes };
}
