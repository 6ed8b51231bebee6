// Element-wise kernels from their innermost loops: of one operand, of two that broadcast, and fused gradients.

import type { ElementArray } from "../executor.ts";
import type { Kernel, View } from "./view.ts";
import { broadcastPath, pathOf, walk } from "./walk.ts";

/** y[i] = f(x[i]) for n elements, each operand with its first position and step. */
export type UnaryLoop = (
  n: number,
  y: ElementArray,
  y0: number,
  dy: number,
  x: ElementArray,
  x0: number,
  dx: number,
) => void;

/** A kernel that applies a loop to every run of elements that lie evenly in both operands. */
export function elementWise(loop: UnaryLoop): Kernel<object> {
  return (y, [x]) =>
    walk(y.shape, [pathOf(y), pathOf(x!)], (n, at, step) => loop(n, y.data, at[0], step[0], x!.data, at[1], step[1]));
}

/** y[i] = op(a[i], b[i]) for n elements, each operand with its first position and step. */
export type BinaryLoop = (
  n: number,
  y: ElementArray,
  y0: number,
  dy: number,
  a: ElementArray,
  a0: number,
  da: number,
  b: ElementArray,
  b0: number,
  db: number,
) => void;

/** A kernel that applies a loop to the runs of two operands broadcast to the output; the loop may depend on its dtype. */
export function broadcasting(loopFor: (y: View) => BinaryLoop): Kernel<object> {
  return (y, [a, b]) => {
    const loop = loopFor(y);
    walk(y.shape, [pathOf(y), broadcastPath(a!, y.shape), broadcastPath(b!, y.shape)], (n, at, step) =>
      loop(n, y.data, at[0], step[0], a!.data, at[1], step[1], b!.data, at[2], step[2]),
    );
  };
}

/** dx[i] = dy[i] times the derivative at the kept value. */
type GradientLoop = (
  n: number,
  result: ElementArray,
  r0: number,
  dr: number,
  kept: ElementArray,
  k0: number,
  dk: number,
  dy: ElementArray,
  g0: number,
  dg: number,
) => void;

/** A kernel of (kept, dy), all of one shape. */
export function fusedGradient(loop: GradientLoop): Kernel<object> {
  return (result, [kept, dy]) =>
    walk(result.shape, [pathOf(result), pathOf(kept!), pathOf(dy!)], (n, at, step) =>
      loop(n, result.data, at[0], step[0], kept!.data, at[1], step[1], dy!.data, at[2], step[2]),
    );
}
