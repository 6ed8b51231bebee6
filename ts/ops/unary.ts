// What records of functions of one operand have in common, and those of fused gradients.

import { expectDType, expectSameDType, expectShape, floating } from "./checks.ts";
import type {
  AttributeSignature,
  AttributesOf,
  DType,
  GradientContext,
  Op,
  OpBuilder,
  Sample,
  TensorType,
} from "./types.ts";
import { defineOp } from "./types.ts";

export type NoAttributes = Record<never, never>;

/** The gradient of x from that of the output. */
type Rule<S extends AttributeSignature> = <V>(b: OpBuilder<V>, context: GradientContext<V, AttributesOf<S>>) => V;

interface UnaryOptions {
  /** Which of x and y the gradient reads. */
  readonly keeps?: "x" | "y";
  /** Where samples are drawn: away from poles and kinks. */
  readonly range?: readonly [number, number];
  readonly dtypes?: readonly DType[];
  readonly exact?: boolean;
}

/** Attributes of an op, and their values in its samples. */
export interface Attributes<S extends AttributeSignature> {
  readonly signature: S;
  readonly sample: AttributesOf<S>;
  /** Throws the clear error for values that mean nothing, or nothing for this x. */
  readonly check?: (attributes: AttributesOf<S>, x: TensorType) => void;
}

const none: Attributes<NoAttributes> = { signature: {}, sample: {} };

/** y = f(x), element by element, with attributes. */
export function unaryWith<S extends AttributeSignature>(
  name: string,
  { signature, sample, check }: Attributes<S>,
  rule: Rule<S>,
  options: UnaryOptions = {},
): Op<S> {
  const range = options.range ?? [-3, 3];
  const samples: Sample<AttributesOf<S>>[] = [
    { name: "image", inputs: [{ shape: [2, 3, 5, 7], range }], attributes: sample },
    { name: "scalar", inputs: [{ shape: [], range }], attributes: sample },
    { name: "long", inputs: [{ shape: [3001], range }], attributes: sample },
  ];
  return defineOp<S>({
    name,
    inputs: ["x"],
    attributes: signature,
    exact: options.exact ?? false,
    infer([x], attributes) {
      expectDType(name, "x", x!, options.dtypes ?? floating);
      check?.(attributes, x!);
      return x!;
    },
    keeps: { inputs: options.keeps === "x" ? [0] : [], output: options.keeps === "y" },
    inPlace: [0],
    parts: ["element"],
    cheap: true,
    gradient: (b, context) => [rule(b, context)],
    samples,
  });
}

/** y = f(x), element by element. */
export function unary(name: string, rule: Rule<NoAttributes>, options: UnaryOptions = {}): Op<NoAttributes> {
  return unaryWith(name, none, rule, options);
}

/** gradientOf(kept, dy): the gradient of a function in one pass; `kept` is x or y as the function says. */
export function fusedGradientWith<S extends AttributeSignature>(
  name: string,
  { signature, sample }: Attributes<S>,
  kept: "x" | "y",
  range: readonly [number, number],
  exact = false,
): Op<S> {
  return defineOp<S>({
    name,
    inputs: [kept, "dy"],
    attributes: signature,
    exact,
    inPlace: [0, 1],
    parts: ["element"],
    infer([value, dy]) {
      expectDType(name, kept, value!, floating);
      expectSameDType(name, [kept, "dy"], value!, dy!);
      expectShape(name, "dy", dy!, value!.shape, `as ${kept}`);
      return dy!;
    },
    samples: [
      { name: "image", inputs: [{ shape: [2, 3, 3, 5], range }, { shape: [2, 3, 3, 5] }], attributes: sample },
      { name: "long", inputs: [{ shape: [2003], range }, { shape: [2003] }], attributes: sample },
    ],
  });
}

/** The same without attributes. */
export function fusedGradient(
  name: string,
  kept: "x" | "y",
  range: readonly [number, number],
  exact = false,
): Op<NoAttributes> {
  return fusedGradientWith(name, none, kept, range, exact);
}
