// What a rule is: a golden operation written with this library.

import type { Tensor } from "langevin";

/** Inputs by PyTorch's names, and the parameters of the case. */
export interface Given {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly params: Readonly<Record<string, never>>;
}

/** An operation on PyTorch layouts; undefined where this library does not have it (then the case is skipped). */
export type Rule = (given: Given) => Tensor | Record<string, Tensor> | undefined;

/** Rules by the name of the operation in the golden data. */
export type Rules = Readonly<Record<string, Rule>>;

/** A method without arguments. */
export const unary =
  (method: { [K in keyof Tensor]: Tensor[K] extends () => Tensor ? K : never }[keyof Tensor]): Rule =>
  ({ inputs: { x } }) =>
    x[method]();
