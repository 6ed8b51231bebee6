// Comparisons, and what chooses between values: where, maximum, minimum, clamp.

import { ArgumentError } from "../errors/index.ts";
import { binary, binarySamples, mul, sumToShape } from "./arithmetic.ts";
import { broadcastShapes, expectDType, expectSameDType } from "./checks.ts";
import { scalar } from "./create.ts";
import type { Op, Sample, SampleInput } from "./types.ts";
import { defineOp } from "./types.ts";
import type { Attributes, NoAttributes } from "./unary.ts";
import { fusedGradientWith, unaryWith } from "./unary.ts";

const digit = { dtype: "int32", range: [0, 3] } as const;
const comparisonSamples: Sample<NoAttributes>[] = [
  ...binarySamples([-1, 1]),
  {
    name: "ties",
    inputs: [
      { shape: [7, 5], ...digit },
      { shape: [5], ...digit },
    ],
    attributes: {},
  },
  { name: "long", inputs: [{ shape: [20001] }, { shape: [20001] }], attributes: {} },
];

/** 1 where the comparison holds and 0 elsewhere, as int32 and so without a gradient; false with NaN unless it says otherwise. */
function comparison(name: string): Op<NoAttributes> {
  return defineOp<NoAttributes>({
    name,
    inputs: ["a", "b"],
    attributes: {},
    parts: ["element"],
    infer([a, b]) {
      expectSameDType(name, ["a", "b"], a!, b!);
      return { shape: broadcastShapes(name, a!.shape, b!.shape), dtype: "int32" };
    },
    samples: comparisonSamples,
  });
}

/** a = b. */
export const equal: Op<NoAttributes> = comparison("equal");
/** Not a = b: true with NaN. */
export const notEqual: Op<NoAttributes> = comparison("notEqual");
/** a < b. */
export const less: Op<NoAttributes> = comparison("less");
/** a <= b. */
export const lessEqual: Op<NoAttributes> = comparison("lessEqual");
/** a > b. */
export const greater: Op<NoAttributes> = comparison("greater");
/** a >= b. */
export const greaterEqual: Op<NoAttributes> = comparison("greaterEqual");

function whereSample(name: string, condition: readonly number[], a: SampleInput, b: SampleInput): Sample<NoAttributes> {
  return { name, inputs: [{ shape: condition, dtype: "int32", range: [0, 2] }, a, b], attributes: {} };
}

/** a where the int32 condition is not 0, b elsewhere; all three broadcast. */
export const where: Op<NoAttributes> = defineOp<NoAttributes>({
  name: "where",
  inputs: ["condition", "a", "b"],
  attributes: {},
  exact: true,
  inPlace: [0, 1, 2],
  parts: ["element"],
  infer([condition, a, b]) {
    expectDType("where", "condition", condition!, ["int32"]);
    expectSameDType("where", ["a", "b"], a!, b!);
    const shape = broadcastShapes("where", condition!.shape, broadcastShapes("where", a!.shape, b!.shape));
    return { shape, dtype: a!.dtype };
  },
  keeps: { inputs: [0] },
  gradient(b, c) {
    const zero = scalar(b, c.outputType.dtype, 0);
    const masked = (values: readonly [typeof zero, typeof zero], index: number) =>
      c.needs(index)
        ? sumToShape(b, b.apply(where, [c.input(0), ...values], {}), c.inputTypes[index]!.shape)
        : undefined;
    return [undefined, masked([c.gradient, zero], 1), masked([zero, c.gradient], 2)];
  },
  samples: [
    whereSample("same", [3, 5, 7], { shape: [3, 5, 7] }, { shape: [3, 5, 7] }),
    whereSample("rows", [4, 9], { shape: [9] }, { shape: [4, 1] }),
    whereSample("mask over channels", [2, 3, 3, 1], { shape: [2, 3, 3, 6] }, { shape: [] }),
    whereSample("scalars", [33], { shape: [] }, { shape: [] }),
    whereSample("scalar condition", [], { shape: [5] }, { shape: [2, 5] }),
    whereSample("long", [20001], { shape: [20001] }, { shape: [20001] }),
    whereSample("int32", [3, 4], { shape: [4], dtype: "int32", range: [-9, 9] }, { shape: [3, 4], dtype: "int32" }),
  ],
});

/** The larger or the smaller operand; `loses(x, y)` is the comparison by which x is not chosen. */
function extremum(name: string, loses: <V>(x: V, y: V) => readonly [V, V]): Op<NoAttributes> {
  return binary(
    name,
    { inputs: [0, 1] },
    (b, c) => {
      const share = (x: typeof c.gradient, y: typeof c.gradient) => {
        const { dtype } = c.outputType;
        const half = b.apply(mul, [c.gradient, scalar(b, dtype, 0.5)], {});
        const won = b.apply(where, [b.apply(equal, [x, y], {}), half, c.gradient], {});
        return b.apply(where, [b.apply(less, loses(x, y), {}), scalar(b, dtype, 0), won], {});
      };
      return [() => share(c.input(0), c.input(1)), () => share(c.input(1), c.input(0))];
    },
    { exact: true },
  );
}

/** The larger of a and b; NaN wins. Equal operands get half of the gradient each. */
export const maximum: Op<NoAttributes> = extremum("maximum", (x, y) => [x, y]);
/** The smaller of a and b; NaN wins. Equal operands get half of the gradient each. */
export const minimum: Op<NoAttributes> = extremum("minimum", (x, y) => [y, x]);

type Bounds = { readonly min: "float"; readonly max: "float" };
const bounds: Attributes<Bounds> = {
  signature: { min: "float", max: "float" },
  sample: { min: -0.5, max: 0.75 },
  check({ min, max }, { dtype }) {
    if (!(min <= max))
      throw new ArgumentError({
        op: "clamp",
        problem: `min is ${min} and max is ${max}.`,
        advice: "min must not be larger than max.",
      });
    const isBound = (value: number) => Number.isInteger(value) || !Number.isFinite(value);
    if (dtype === "int32" && !(isBound(min) && isBound(max)))
      throw new ArgumentError({ op: "clamp", problem: `min is ${min} and max is ${max} for an int32 tensor.` });
  },
};

/** min(max(x, min), max); NaN stays NaN. The gradient passes where min <= x <= max. */
export const clamp: Op<Bounds> = unaryWith(
  "clamp",
  bounds,
  (b, c) => b.apply(clampGradient, [c.input(0), c.gradient], c.attributes),
  { keeps: "x", range: [-2, 2], exact: true, dtypes: ["float32", "float64", "int32"] },
);
/** dy where min <= x <= max, else 0. */
export const clampGradient: Op<Bounds> = fusedGradientWith("clampGradient", bounds, "x", [-2, 2], true);
