// Padding: more elements around a tensor, constant or made of its own.

import { ArgumentError, ShapeError, showShape } from "../../errors/index.ts";
import { expectHolds, expectSizes } from "../../ops/checks.ts";
import { ops } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";
import { expectTensor } from "../value.ts";
import type { Padding } from "./window.ts";
import { sides } from "./window.ts";

/** What lies in the margin. */
export interface PadOptions {
  /**
   * "constant" (the default): `value`. "reflect": the elements inside the border mirrored, the border itself not
   * repeated. "replicate": the element at the border. "circular": the elements of the other end.
   */
  readonly mode?: "constant" | "reflect" | "replicate" | "circular";
  /** Of the constant margin, default 0; the dtype must hold it. */
  readonly value?: number;
}

/** Elements added before and after each axis. */
export type Margins = readonly (readonly [before: number, after: number])[];

/**
 * Adds a margin around x (`torch.nn.functional.pad`). `padding` is either that of images [..., H, W, C] (one number for
 * all sides, [y, x], or [top, bottom, left, right]), or a list with [before, after] for every axis. Throws ShapeError
 * where the mode has not enough elements: "reflect" needs more than the margin, "circular" as many, "replicate" one.
 */
export function pad(x: Tensor, padding: Padding | Margins, options: PadOptions = {}): Tensor {
  expectTensor("pad", "x", x);
  const { mode = "constant", value = 0 } = options;
  const margins = marginsOf(x, padding);
  const shape = x.shape.map((n, axis) => n + margins[axis][0] + margins[axis][1]);
  expectSizes("pad", shape);
  expectHolds("pad", x.dtype, value);
  if (mode === "constant")
    return apply(ops.place, [x], {
      shape,
      starts: margins.map(([before]) => before),
      steps: margins.map(() => 1),
      value,
    });
  const source = sources[mode] as Source | undefined;
  if (!source)
    throw new ArgumentError({
      op: "pad",
      problem: `mode is ${String(mode)}.`,
      advice: 'Choose "constant", "reflect", "replicate" or "circular".',
    });
  return scope(() =>
    margins.reduce((y, [before, after], axis) => {
      if (before === 0 && after === 0) return y;
      const n = x.shape[axis];
      if (Math.max(before, after) > source.reach(n))
        throw new ShapeError({
          op: "pad",
          problem: `axis ${axis} of ${showShape(x.shape)} is too short for a ${mode} margin of [${before}, ${after}].`,
        });
      const places = Array.from({ length: before + n + after }, (_, i) => source.place(i - before, n));
      return y.indexSelect(axis, places);
    }, x.reshape(x.shape)),
  );
}

interface Source {
  /** Where the element comes from that a margin has at position i of an axis of size n; inside, i itself. */
  place(i: number, n: number): number;
  /** The widest margin of an axis of size n. */
  reach(n: number): number;
}

const sources: Readonly<Record<"reflect" | "replicate" | "circular", Source>> = {
  reflect: { place: (i, n) => (i < 0 ? -i : i < n ? i : 2 * (n - 1) - i), reach: (n) => n - 1 },
  replicate: { place: (i, n) => Math.min(Math.max(i, 0), n - 1), reach: (n) => (n > 0 ? Infinity : 0) },
  circular: { place: (i, n) => (i + n) % n, reach: (n) => n },
};

/** The margins of every axis, checked. */
function marginsOf(x: Tensor, padding: Padding | Margins): Margins {
  const margins = isMargins(padding) ? padding : imageMargins(x, padding);
  const wrong = margins.some((margin) => margin.length !== 2 || margin.some((n) => !Number.isInteger(n) || n < 0));
  if (margins.length !== x.rank || wrong)
    throw new ArgumentError({
      op: "pad",
      problem: `padding is ${JSON.stringify(padding)} for a tensor of shape ${showShape(x.shape)}.`,
      advice:
        "Give [before, after] >= 0 for every axis; for images also a number, [y, x] or [top, bottom, left, right].",
    });
  return margins;
}

function isMargins(padding: Padding | Margins): padding is Margins {
  return Array.isArray(padding) && (padding as readonly unknown[]).every(Array.isArray);
}

function imageMargins(x: Tensor, padding: Padding): Margins {
  if (x.rank < 3)
    throw new ShapeError({
      op: "pad",
      problem: `x has shape ${showShape(x.shape)}, expected images [..., H, W, C].`,
      advice: "Give [before, after] for every axis of other tensors.",
    });
  const [top, bottom, left, right] = sides("pad", padding);
  return x.shape.map((_, axis) => {
    if (axis === x.rank - 3) return [top, bottom];
    return axis === x.rank - 2 ? [left, right] : [0, 0];
  });
}
