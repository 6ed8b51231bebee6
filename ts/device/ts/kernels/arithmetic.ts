// Broadcasting arithmetic and broadcastTo.

import type { BinaryLoop } from "../element-wise.ts";
import { broadcasting, elementWise } from "../element-wise.ts";
import type { Kernel } from "../view.ts";
import { broadcastPath, pathOf, walk } from "../walk.ts";

// An Int32Array stores doubles modulo 2^32, truncated, and Infinity and NaN as 0: just what int32 arithmetic wants.

const addLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] + b[b0 + i * db];
};
const subLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] - b[b0 + i * db];
};
const mulLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] * b[b0 + i * db];
};
/** A product of two int32 may need more digits than a double has. */
const mulIntegersLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = Math.imul(a[a0 + i * da], b[b0 + i * db]);
};
const divLoop: BinaryLoop = (n, y, y0, dy, a, a0, da, b, b0, db) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = a[a0 + i * da] / b[b0 + i * db];
};

export const add = broadcasting(() => addLoop);
export const sub = broadcasting(() => subLoop);
export const mul = broadcasting((y) => (y.dtype === "int32" ? mulIntegersLoop : mulLoop));
export const div = broadcasting(() => divLoop);

export const neg = elementWise((n, y, y0, dy, x, x0, dx) => {
  for (let i = 0; i < n; i++) y[y0 + i * dy] = -x[x0 + i * dx];
});

export const broadcastTo: Kernel<object> = (y, [x]) => {
  walk(y.shape, [pathOf(y), broadcastPath(x!, y.shape)], (n, at, step) => {
    const [from, to] = [x!.data, y.data];
    for (let i = 0; i < n; i++) to[at[0] + i * step[0]] = from[at[1] + i * step[1]];
  });
};
